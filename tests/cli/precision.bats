# --precision f32x3: what it is called in every report, and that it is f32 without tiles.
setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 24 8 8 3
    train -q -o "$BATS_FILE_TMPDIR/run" --steps 4 --precision f32x3
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    RUN=$BATS_FILE_TMPDIR/run
}

@test "a run keeps f32x3, and without AMX it has the bits of f32" {
    cp -r "$RUN" r
    train -o r --steps 6 --precision auto 2>messages
    grep "f32x3 (as asked; without AMX the same as f32)" messages
    [ "$(json r/config.json values.precision)" = '"f32x3"' ]
    train -q -o f32 --steps 6
    for run in r f32; do "$DDPM" sample $run -q --steps 2 -n 2 --max_isa generic --precision f32 -o $run.npz; done
    cmp r.npz f32.npz
    "$DDPM" info r | grep "precision f32x3, isa generic"
}

@test "images say f32x3 and have the bits of f32" {
    "$DDPM" sample "$RUN" -q --steps 2 -n 2 --max_isa generic --precision f32x3 -o a.npz --json >a.json
    "$DDPM" sample "$RUN" -q --steps 2 -n 2 --max_isa generic --precision f32 -o b.npz
    [ "$(json a.json precision)" = '"f32x3"' ]
    cmp a.npz b.npz
}

@test "doctor and bench take f32x3" {
    "$DDPM" doctor --precision f32x3 --max_isa generic --json >doctor.json
    [ "$(json doctor.json precision)" = '"f32x3"' ]
    [ "$(json doctor.json precision_reason)" = '"as asked; without AMX the same as f32"' ]
    "$DDPM" bench --preset fashion --batch_size 2 --repeats 1 --precision f32x3 --json >bench.json
    [ "$(json bench.json precision)" = '"f32x3"' ]
    "$DDPM" plan sample "$RUN" --precision f32x3 --json >plan.json
    [ "$(json plan.json precision)" = '"f32x3"' ]
}
