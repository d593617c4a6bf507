setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 24 8 8 3
    "$TOOL" "$BATS_FILE_TMPDIR/classes" 24 8 8 3 4
    train -q -o "$BATS_FILE_TMPDIR/run" --steps 4 --learn_sigma true --diffusion_steps 60
    "$DDPM" train "$BATS_FILE_TMPDIR/classes" $NET -q -o "$BATS_FILE_TMPDIR/classes-run" --class_cond true --steps 2 --diffusion_steps 40
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    IMAGES=$BATS_FILE_TMPDIR/images RUN=$BATS_FILE_TMPDIR/run CLASSES=$BATS_FILE_TMPDIR/classes CLASSES_RUN=$BATS_FILE_TMPDIR/classes-run
}

nll() { "$DDPM" nll "$RUN" "$IMAGES" -q --max_isa generic "$@"; }

@test "an image's bits depend neither on the batch, the threads nor the other images" {
    nll -n 12 --batch 32 --threads 2 -o a.csv
    nll -n 12 --batch 5 --threads 1 -o b.csv
    nll -n 3 --batch 2 -o c.csv
    cmp a.csv b.csv
    cmp <(head -4 a.csv) c.csv
    nll -n 12 -o d.csv --seed 1
    differ a.csv d.csv
}

@test "the document agrees with itself and with the lines" {
    nll --json -o a.csv >a.json
    [ "$(real schema)" = '"ddpm-nll-1"' ]
    [ "$(real images)" -eq 24 ]
    [ "$(real terms)" -eq 60 ]
    [ "$(real timesteps)" -eq 60 ]
    [ "$(real precision)" = '"f32"' ]
    near "$(awk -F, 'NR > 1 { s += $3 } END { printf "%.9f", s / (NR - 1) }' a.csv)" "$(real bits_per_dim)" 1e-6
    near "$(awk "BEGIN { printf \"%.9f\", $(real prior) + $(real diffusion) + $(real decoder) }")" "$(real bits_per_dim)" 1e-6
    sum=$(json a.json vb | tr -d '[]' | tr , '\n' | awk '{ s += $1 } END { printf "%.9f", s }')
    near "$sum" "$(awk "BEGIN { printf \"%.9f\", $(real bits_per_dim) - $(real prior) }")" 1e-6
    [ "$(json a.json vb.59)" = "$(real decoder)" ]       # the original's order: t = 0 is last
    [ "$(json a.json per_image.23.index)" -eq 23 ]
    near "$(awk -F, 'NR > 1 { s += $3; q += $3 * $3; n++ } END { printf "%.9f", sqrt((q - s * s / n) / (n - 1) / n) }' a.csv)" "$(real standard_error)" 1e-5
    nll | grep -q "bits/dim .* +- "
}

@test "a few terms estimate all, and say how well" {
    nll --json >a.json
    all=$(real bits_per_dim) decoder=$(real decoder)
    nll --json --steps 30 >a.json
    [ "$(real terms)" -eq 30 ]
    [ "$(real decoder)" = "$decoder" ]
    near "$(real bits_per_dim)" "$all" "$(awk "BEGIN { print 5 * $(real choice_error) }")"
    nll --steps 30 | grep -q "30 of 60 terms"
    nll --json --steps 60 >a.json
    [ "$(real bits_per_dim)" = "$all" ]
    fails_with 2 "60 terms" "$DDPM" nll "$RUN" "$IMAGES" --steps 61
    fails_with 2 "at least 3" "$DDPM" nll "$RUN" "$IMAGES" --steps 2
}

@test "chain, clipping and variance are those asked for" {
    nll --json -n 4 >a.json
    all=$(real bits_per_dim)
    for how in "--clip_denoised false" "--variance small" "--variance large" "--timestep_respacing 20" "--weights raw"; do
        nll --json -n 4 $how >a.json
        [ "$(real bits_per_dim)" != "$all" ]
    done
    nll --json -n 4 --timestep_respacing 20 >a.json
    [ "$(real terms)" -eq 20 ]
    fails_with 2 "did not learn" "$DDPM" nll "$CLASSES_RUN" "$CLASSES" --variance range
}

@test "the command line of improved-diffusion, and every term" {
    "$DDPM" nll --model_path "$RUN" --data_dir "$IMAGES" --num_samples 5 --batch_size 3 --clip_denoised True -q -o x.npz
    "$DDPM" nll --model_path "$RUN" "$IMAGES" -n 5 -q -o y.npz
    cmp x.npz y.npz
    for name in total_bpd prior_bpd vb xstart_mse mse index label; do grep -qa "$name.npy" x.npz; done
    nll -n 5 --steps 10 -o z.npz
    grep -qa factor.npy z.npz
}

@test "charts of the terms over t" {
    nll -n 4 --json -o a.svg >a.json
    grep -q ">Terms of the variational bound</text>" a.svg
    grep -q ">Error of the prediction</text>" a.svg
    [ "$(grep -c "<polyline" a.svg)" -eq 3 ]
    points=$(grep "<polyline" a.svg | head -1 | sed "s/.*points='//; s/'.*//")
    [ "$(wc -w <<<"$points")" -eq 60 ]
    # the largest term is the highest point, and t runs from right to left
    top=$(json a.json vb | tr -d '[] ' | tr , '\n' | awk '{ if ($1 > m) { m = $1; at = NR } } END { print at }')
    [ "$(tr ' ' '\n' <<<"$points" | awk -F, 'NR == 1 || $2 < m { m = $2; at = NR } END { print at }')" -eq "$top" ]
    tr ' ' '\n' <<<"$points" | awk -F, 'NR > 1 && $1 >= x { bad = 1 } { x = $1 } END { exit bad }'
    fails_with 2 "all 60 terms" "$DDPM" nll "$RUN" "$IMAGES" --steps 30 -o b.svg
    [ ! -e b.svg ]
}

@test "classes are found by name" {
    "$DDPM" nll "$CLASSES_RUN" "$CLASSES" -q -n 8 --max_isa generic -o a.csv
    mkdir some
    cp -r "$CLASSES/class2" "$CLASSES/class3" some/
    "$DDPM" nll "$CLASSES_RUN" some -q --max_isa generic --json >b.json
    mv some/class2 some/aaa                          # another name: the first class by number
    "$DDPM" nll "$CLASSES_RUN" some --max_isa generic --json >c.json 2>messages
    grep -q "their numbers are used" messages
    [ "$(json b.json bits_per_dim)" != "$(json c.json bits_per_dim)" ]
    fails_with 2 "no labels" "$DDPM" nll "$CLASSES_RUN" "$IMAGES"
}

@test "images of another size, and files that are no images" {
    "$TOOL" big 4 12 10 3
    fails_with 2 "10x12x3" "$DDPM" nll "$RUN" big
    "$DDPM" nll "$RUN" big -q --fit --steps 5
    "$TOOL" grey 4 8 8 1
    fails_with 2 "8x8x1" "$DDPM" nll "$RUN" grey
    cp -r "$IMAGES" damaged
    head -c 100 "$IMAGES/00003.png" >damaged/00003.png
    "$DDPM" nll "$RUN" damaged --steps 5 --json >a.json 2>messages
    grep -q 00003 messages
    [ "$(real images)" -eq 23 ]
    fails_with 65 00003 "$DDPM" nll "$RUN" damaged --steps 5 --strict
}

@test "what is wrong with a call" {
    fails_with 2 "no DATA" "$DDPM" nll "$RUN"
    fails_with 2 "no MODEL" "$DDPM" nll
    fails_with 2 "too many" "$DDPM" nll "$RUN" "$IMAGES" --data_dir "$IMAGES"
    fails_with 2 ".csv" "$DDPM" nll "$RUN" "$IMAGES" -o x.txt
    fails_with 74 "nowhere" "$DDPM" nll "$RUN" "$IMAGES" -o nowhere/x.csv
    fails_with 2 "no-model" "$DDPM" nll no-model "$IMAGES"
    fails_with 74 "no-data" "$DDPM" nll "$RUN" no-data
    "$DDPM" nll "$RUN" no-data --json >a.json 2>/dev/null || true
    [ "$(real error.command)" = '"nll"' ]
}

@test "stopped on request" {
    train -q -o long --steps 1                       # T = 1000: thousands of terms
    "$DDPM" nll long "$IMAGES" 2>messages 3>&- &
    pid=$!
    wait_for grep -q "24 images" messages
    kill -TERM $pid
    status=0
    wait $pid || status=$?
    cat messages
    [ "$status" -eq 143 ]
    grep -q "stopped after" messages
}

@test "a fixed variance's bound is known under the other one too" {
    "$DDPM" nll "$RUN" "$IMAGES" -n 3 -q --variance small -o small.csv >small.txt
    "$DDPM" nll "$RUN" "$IMAGES" -n 3 -q --variance large -o large.csv >/dev/null
    [ "$(cut -d, -f8 small.csv | tail -n +2)" = "$(cut -d, -f3 large.csv | tail -n +2)" ]
    [ "$(cut -d, -f3 small.csv | tail -n +2)" = "$(cut -d, -f8 large.csv | tail -n +2)" ]
    grep -q "with variance large instead of small" small.txt
}
