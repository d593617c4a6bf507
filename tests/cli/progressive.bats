setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 12 8 8 3
    train -q -o "$BATS_FILE_TMPDIR/run" --steps 4 --learn_sigma true --diffusion_steps 40
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    RUN=$BATS_FILE_TMPDIR/run IMAGES=$BATS_FILE_TMPDIR/images
}

progressive() { "$DDPM" progressive "$RUN" "$IMAGES" -q --max_isa generic -n 3 "$@"; }
value() { json x.json "$1"; }

@test "pictures, curve and totals" {
    progressive -o p --json >x.json
    for file in x0.png x0.gif x0-sheet.svg shared.png shared-sheet.svg rate_distortion.csv rate_distortion.svg; do [ -s p/$file ]; done
    [ "$("$TOOL" --frames p/x0.gif)" -eq 40 ]
    [ "$(value schema)" = '"ddpm-progressive-1"' ]
    [ "$(value images)" -eq 3 ]
    [ "$(value precision)" = '"f32"' ]
    [ "$(value shared.4.rmse)" = 0 ] || near "$(value shared.4.rmse)" 0 0
    near "$(value shared.0.t)" 40 0
    near "$(value shared.4.t)" 0 0
    awk -v noise="$(value shared.0.rmse)" -v late="$(value shared.3.rmse)" 'BEGIN { exit !(late < noise && late > 0) }'
    [ "$(wc -l <p/rate_distortion.csv)" -eq 41 ]
}

@test "the curve is the bound of ddpm nll, added up from the noisy end" {
    progressive -o p --json >x.json
    "$DDPM" nll "$RUN" "$IMAGES" -q --max_isa generic -n 3 --json >nll.json
    near "$(value bits_per_dim)" "$(json nll.json bits_per_dim)" 1e-9
    near "$(value decoder)" "$(json nll.json decoder)" 1e-9
    near "$(value rmse)" "$(json nll.json rmse)" 1e-9
    near "$(tail -1 p/rate_distortion.csv | cut -d, -f3)" "$(value rate)" 1e-6
    near "$(sed -n 2p p/rate_distortion.csv | cut -d, -f3)" "$(value prior)" 1e-6        # x_T costs the prior alone
    near "$(sed -n 3p p/rate_distortion.csv | cut -d, -f3)" "$(awk "BEGIN { printf \"%.9g\", $(value prior) + $(json nll.json vb.0) }")" 1e-6
    sort -t, -k3,3g -c <(tail -n +2 p/rate_distortion.csv)                # rates never fall
    [ "$(value table.9.reverse_steps)" -eq 4 ]
    [ "$(value table.0.reverse_steps)" -eq 40 ]
}

@test "a shorter chain, another seed, no clipping" {
    progressive -o p --timestep_respacing 10 --json >x.json
    [ "$(value timesteps)" -eq 10 ]
    progressive -o q --timestep_respacing 10 --seed 1
    differ p/shared.png q/shared.png
    differ p/x0.png q/x0.png
    progressive -o r --timestep_respacing 10 --clip none --json >x.json
    [ "$(value clip)" = '"none"' ]
    differ p/rate_distortion.csv r/rate_distortion.csv
    progressive -o s --timestep_respacing 10 --batch 2 --threads 1
    for file in x0.png shared.png rate_distortion.csv; do cmp p/$file s/$file; done
}

@test "levels that a short chain has not are levels it has" {
    progressive -o p --timestep_respacing 3 --json >x.json          # skips 0, 0, 1, 2, 3
    [ "$(value shared.0.t)" = "$(value shared.1.t)" ]
    [ "$(value shared.0.rmse)" = "$(value shared.1.rmse)" ]
    "$TOOL" --cut p/shared.png 2 2 88 8 first.png
    "$TOOL" --cut p/shared.png 2 12 88 8 second.png
    cmp first.png second.png
    progressive -o p --timestep_respacing 2 --json >x.json          # 0, 0, 1, 1, 2
    [ "$(value shared.0.rmse)" = "$(value shared.1.rmse)" ]
    [ "$(value shared.2.rmse)" = "$(value shared.3.rmse)" ]
}

@test "the bound clips as the pictures do" {
    train -q -o plain --steps 2
    "$DDPM" convert plain pipeline -q
    rm pipeline/ddpm.json                            # another program's, of which the scheduler says what it is
    sed -i 's/ddpm.crc32c/none.crc32c/' pipeline/unet/*.safetensors
    RUN=pipeline
    progressive -o p --timestep_respacing 10 --json >x.json
    [ "$(value clip)" != '"none"' ]
    progressive -o q --timestep_respacing 10 --clip none
    differ p/rate_distortion.csv q/rate_distortion.csv
    sed -i 's/"clip_sample": true/"clip_sample": false/' pipeline/scheduler/*.json
    progressive -o r --timestep_respacing 10 --json >x.json
    [ "$(value clip)" = '"none"' ]
    cmp q/rate_distortion.csv r/rate_distortion.csv
    cmp q/shared.png r/shared.png
}

@test "pictures say what they were drawn from" {
    progressive -o p --timestep_respacing 3 --seed 41
    grep -aq "seed: 41" p/x0.gif
    for file in x0.png shared.png; do grep -aPq 'seed\x0041' p/$file; done
    FASHION=$BATS_TEST_DIRNAME/../../models/fashion
    "$DDPM" progressive "$FASHION" fashion:test -o q -q -n 1 --timestep_respacing 2 --class 7
    grep -aq "class: 7" q/x0.gif
    for file in x0.png shared.png; do grep -aPq 'class\x007' q/$file; done
}

@test "the table is what people read" {
    progressive -o p >text
    grep -q "reverse steps" text
    grep -q "^rate  *[0-9.]* *bits/dim" text
}

@test "what is wrong with a call" {
    fails_with 2 "two words" "$DDPM" progressive "$RUN" -o p
    fails_with 2 "no output" "$DDPM" progressive "$RUN" "$IMAGES"
    touch file
    fails_with 2 "is a file" "$DDPM" progressive "$RUN" "$IMAGES" -o file
    fails_with 2 "28x28x1" "$DDPM" progressive "$RUN" fashion -o p
    fails_with 2 "not class-conditional" "$DDPM" progressive "$RUN" "$IMAGES" -o p --class 1
    fails_with 74 "no-data" "$DDPM" progressive "$RUN" no-data -o p
    [ ! -e p ]
}
