# Films of the trajectory: they end in the images that are drawn without them.
setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 24 8 8 3
    "$TOOL" "$BATS_FILE_TMPDIR/grey" 12 8 8 1
    train -q -o "$BATS_FILE_TMPDIR/run" --steps 4
    "$DDPM" train "$BATS_FILE_TMPDIR/grey" $NET -q -o "$BATS_FILE_TMPDIR/grey-run" --steps 2
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    RUN=$BATS_FILE_TMPDIR/run GREY=$BATS_FILE_TMPDIR/grey-run
}

draw() { "$DDPM" sample "$RUN" -q --steps 5 --precision f32 "$@"; }

pixels() { "$TOOL" --cut "$@"; }      # FILE X Y WIDTH HEIGHT OUT

@test "the last frame of a GIF is the grid" {
    draw -o grid.png -n 4
    draw -o film.gif -n 4
    draw -o xt.gif -n 4 --film xt --batch 3 --threads 1
    [ "$("$TOOL" --frames film.gif)" -eq 5 ]
    pixels grid.png 0 0 22 22 grid
    pixels film.gif 0 0 22 22 film
    pixels xt.gif 0 0 22 22 xt
    cmp grid film
    cmp grid xt
    differ film.gif xt.gif
    draw -o again.gif -n 4 --batch 1
    cmp film.gif again.gif
}

@test "the last column of a strip is the images" {
    draw -o images/ -n 3
    draw -o x0.png -n 3 --film x0
    draw -o xt.png -n 3 --film xt --batch 2
    for k in 0 1 2; do
        pixels images/00000$k.png 0 0 8 8 image
        for film in x0 xt; do
            pixels $film.png $((2 + 4 * 10)) $((2 + k * 10)) 8 8 last
            cmp image last
        done
    done
    draw -o one.png --index 2 --film x0
    pixels x0.png 2 22 48 8 row
    pixels one.png 2 2 48 8 same
    cmp row same
    # A deterministic step to the image leads to the prediction: x_1 of xt is not yet that of x0.
    pixels x0.png 2 2 8 8 first
    pixels xt.png 2 2 8 8 other
    differ first other
}

@test "a range of seeds, grey images, one step" {
    draw -o s.gif --seeds 3-5
    draw -o s.png --seeds 3-5
    pixels s.gif 0 0 22 22 a
    pixels s.png 0 0 22 22 b
    cmp a b
    "$DDPM" sample "$GREY" -q -o g.gif -n 2 --steps 3
    "$DDPM" sample "$GREY" -q -o g.png -n 2 --steps 3
    pixels g.gif 0 0 22 12 a
    pixels g.png 0 0 22 12 b
    cmp a b
    draw -o one.gif -n 1 --steps 1
    [ "$("$TOOL" --frames one.gif)" -eq 1 ]
}

@test "long chains are shown in part" {
    "$DDPM" sample "$RUN" -o a.gif -n 1 --steps 200 --sampler ddpm --json 2>/dev/null >a.json
    [ "$(json a.json frames)" -eq 60 ]
    [ "$("$TOOL" --frames a.gif)" -eq 60 ]
    "$DDPM" sample "$RUN" -o a.png -n 2 --film xt --steps 200 --json 2>/dev/null >a.json
    [ "$(json a.json frames)" -eq 12 ]
    pixels a.png 0 0 122 22 whole
    run "$TOOL" --cut a.png 0 0 123 22 more
    [ "$status" -ne 0 ]
}

@test "every sampler can be filmed" {
    for sampler in ddpm ddim dpm++2m unipc heun; do
        draw -o film.gif -n 1 --sampler $sampler
        draw -o film.png -n 1 --sampler $sampler
        pixels film.gif 0 0 8 8 a
        pixels film.png 0 0 8 8 b
        cmp a b
    done
}

@test "a film says what it shows" {
    draw -o film.gif -n 2 --seed 5 --film xt
    grep -aq "seed: 5" film.gif
    grep -aq "film: xt" film.gif
}

@test "what cannot be a film is refused before the work" {
    fails_with 2 "cannot hold a film" "$DDPM" sample "$RUN" -o x.npz --film x0
    fails_with 2 "cannot hold a film" "$DDPM" sample "$RUN" -o folder/ --film xt
    [ ! -e folder ]
    fails_with 2 "draw fewer images" "$DDPM" sample "$RUN" -o x.gif -n 20000 --steps 50
    fails_with 2 "one picture" "$DDPM" sample "$RUN" -o x.png -n 200000 --film x0 --steps 50
    fails_with 2 "film" "$DDPM" sample "$RUN" -o x.gif --film x1
    fails_with 74 "absent" "$DDPM" sample "$RUN" -o absent/x.gif
    [ ! -e x.gif ] && [ ! -e x.png ]
}
