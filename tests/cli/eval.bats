setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/a" 60 8 8 3
    "$TOOL" "$BATS_FILE_TMPDIR/b" 40 8 8 3
    "$DDPM" train "$BATS_FILE_TMPDIR/a" $NET -q -o "$BATS_FILE_TMPDIR/run" --steps 1 --diffusion_steps 40
    "$DDPM" sample "$BATS_FILE_TMPDIR/run" -n 30 --steps 2 -q --max_isa generic -o "$BATS_FILE_TMPDIR/s.npz"
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    A=$BATS_FILE_TMPDIR/a B=$BATS_FILE_TMPDIR/b S=$BATS_FILE_TMPDIR/s.npz
}

eval_() { "$DDPM" eval -q --features pca4 "$@"; }

holds() { awk "BEGIN { exit !($1) }"; }

@test "the distance of a set to itself is 0, to others it is not" {
    eval_ "$A" "$A" --json >a.json
    [ "$(real schema)" = '"ddpm-eval-1"' ]
    holds "$(real frechet_pca4) < 1e-3"
    [ "$(real n_samples)" -eq 60 ]
    [ "$(real n_reference)" -eq 60 ]
    [ "$(real n_fit)" -eq 60 ]
    [[ $(real warnings) == *"are the same images"* ]]
    eval_ "$A" "$A" >text
    grep -q "the two sets have the same mean and covariance" text
    [ "$(grep -c "owed\|no more than" text)" -eq 0 ]
    eval_ "$S" "$A" --json >a.json
    [ "$(real n_samples)" -eq 30 ]
    [[ $(real warnings) != *"are the same images"* ]]
    holds "$(real interval.0) <= $(real frechet_pca4) && $(real frechet_pca4) <= $(real interval.1)"
    holds "$(real frechet_pca4) > 1"
    eval_ "$S" "$A" | grep -q "not an FID"
}

@test "threads and the order of options do not show, the seed does" {
    eval_ "$B" "$A" --threads 1 --json >a.json
    eval_ "$B" "$A" --threads 3 --json >b.json
    differ a.json b.json                             # the seconds
    cmp <(grep -v seconds a.json) <(grep -v seconds b.json)
    first=$(real frechet_pca4) interval=$(real interval)
    eval_ "$B" "$A" --seed 1 --json >a.json
    [ "$(real frechet_pca4)" = "$first" ]            # all images, the same axes
    [ "$(real interval)" != "$interval" ]
    eval_ "$B" "$A" -n 20 --json >a.json
    second=$(real frechet_pca4)
    [ "$(real n_samples)" -eq 20 ]
    eval_ "$B" "$A" -n 20 --seed 1 --json >a.json
    [ "$(real frechet_pca4)" != "$second" ]
}

@test "the axes come from where they are asked from" {
    eval_ "$B" "$A" --json >a.json
    [ "$(real fit_data)" = "\"$A\"" ]
    first=$(real frechet_pca4)
    eval_ "$B" "$A" --fit_data "$B" --fit_count 30 --bootstrap 0 --json >a.json
    [ "$(real n_fit)" -eq 30 ]
    [ "$(real interval)" = null ]
    [ "$(real frechet_pca4)" != "$first" ]
}

@test "archives of images by either name, and sets that have classes" {
    local images=$BATS_TEST_DIRNAME/../data/npz/images.npz
    "$DDPM" eval "$images" "$images" --features pca2 --json -q >a.json
    [ "$(real n_samples)" -eq 6 ]
    mkdir -p classes/0 classes/1
    cp "$A"/0000[0-5].png classes/0
    cp "$A"/0001[0-5].png classes/1
    "$DDPM" data pack classes classes.ddpmdata -q --labels folder
    "$DDPM" eval classes.ddpmdata classes --features pca2 >/dev/null 2>messages
    grep -q "packed, 12 images 8x8x3; reference" messages
}

@test "few images are warned about" {
    "$DDPM" eval "$B" "$A" -n 4 --features pca4 --json >a.json 2>messages
    grep -q "4 images of $B span fewer than 4 dimensions" messages
    [[ $(real warnings.0) == *"fewer than 4"* ]]
}

@test "what is wrong with a call" {
    "$TOOL" other 3 6 8 3
    fails_with 2 "inception-tensorflow" "$DDPM" eval "$A" "$B" --features inception
    fails_with 2 "pcaK" "$DDPM" eval "$A" "$B" --features pca0
    fails_with 2 "pcaK" "$DDPM" eval "$A" "$B" --features pca4x
    fails_with 2 "192 values" "$DDPM" eval "$A" "$B" --features pca193
    fails_with 2 "there are 40" "$DDPM" eval "$A" "$B" --features pca60
    fails_with 2 "8x6x3" "$DDPM" eval "$A" other
    fails_with 2 "at least 40" "$DDPM" eval "$A" "$B" --bootstrap 10
    fails_with 2 "at least two" "$DDPM" eval "$A" "$B" --features pca2 -n 1
    fails_with 2 "REFERENCE" "$DDPM" eval "$A"
    fails_with 2 "SAMPLES" "$DDPM" eval
    fails_with 74 "nowhere" "$DDPM" eval "$A" nowhere
    head -c 300 "$S" >cut.npz
    fails_with 65 "cut.npz" "$DDPM" eval cut.npz "$A"
    "$DDPM" nll "$BATS_FILE_TMPDIR/run" "$A" -n 2 -q -o bits.npz
    fails_with 65 "arr_0" "$DDPM" eval bits.npz "$A"
}

@test "a damaged image is left out" {
    cp -r "$B" damaged
    head -c 100 "$B/00003.png" >damaged/00003.png
    "$DDPM" eval damaged "$A" --features pca4 --json >a.json 2>messages
    grep -q 00003 messages
    [ "$(real n_samples)" -eq 39 ]
    [ "$(real bad_images)" -eq 1 ]
    fails_with 65 00003 "$DDPM" eval damaged "$A" --features pca4 --strict
}

@test "neighbours: a picture, a histogram, and copies are found" {
    mkdir some
    for i in 00007 00021; do cp "$A/$i.png" some/; done
    "$DDPM" neighbours some "$A" -q -o out.png --nearest 3 --control "$B" --json >a.json
    [ "$(real schema)" = '"ddpm-neighbours-1"' ]
    [ "$(real samples.copies)" -eq 2 ]
    [ "$(real rows.0.nearest.0.index)" -eq 7 ]
    [ "$(real rows.1.nearest.0.index)" -eq 5 ]       # equal to image 21, and before it
    holds "$(real rows.0.nearest.0.distance) == 0 && $(real rows.0.nearest.1.distance) <= $(real rows.0.nearest.2.distance)"
    [ "$(real control.images)" -eq "$(ls "$B" | wc -l)" ]      # all there are: percentiles of two say nothing
    [ "$(od -An -tx1 -N 4 out.png | tr -d ' ')" = 89504e47 ]
    grep -q "</svg>" out.svg
    "$DDPM" neighbours "$S" "$A" -q -o second.png --rows 2 | grep -q "30 samples of .*: median"
    "$DDPM" neighbours "$S" "$A" -q -o third.png --rows 2 --threads 1
    cmp second.png third.png
    cmp second.svg third.svg
    fails_with 2 ".png" "$DDPM" neighbours "$S" "$A" -o out.jpg
    fails_with 2 "no output" "$DDPM" neighbours "$S" "$A"
    fails_with 74 "nowhere" "$DDPM" neighbours "$S" "$A" -o nowhere/out.png
    fails_with 2 "DATA" "$DDPM" neighbours "$S" -o out.png
}

@test "a distance that is no more than what the number of samples costs says so" {
    eval_ "$A" "$A" -n 20 | grep -q "no more than what 20 samples cost"
    eval_ "$S" "$A" | grep -q "is owed to there being only 30 samples"
}

@test "asking for more images than there are is answered, and bad ones are counted in the report" {
    eval_ "$B" "$A" -n 500 | grep -q "warning: -n 500: .* has only 40 images, all of which are measured"
    cp -r "$B" damaged
    head -c 100 damaged/00003.png >cut && mv cut damaged/00003.png
    eval_ damaged "$A" | grep -q "39 images of damaged; 1 more could not be read"
}

@test "images of several sizes are fitted to one where it is asked for, and the report says so" {
    mkdir mixed
    cp "$A"/0000*.png mixed
    "$TOOL" large 12 16 16 3
    for image in large/*.png; do cp "$image" "mixed/large-${image##*/}"; done
    fails_with 65 "--image_size N" "$DDPM" eval mixed "$A" --features pca4
    eval_ mixed "$A" --image_size 8 --bootstrap 0 | grep -q "22 images of mixed, fitted to 8x8x3"
    eval_ mixed "$A" --image_size 8 --bootstrap 0 --json >a.json
    [ "$(real image_size)" = "[8,8]" ]
    "$DDPM" features mixed --image_size 8 --features raw -q -o f.npz | grep -q "192 features .*fitted to 8x8x3"
    "$DDPM" neighbours mixed "$A" --image_size 8 -q -o n.png | grep -q "fitted to 8x8x3"
    eval_ "$B" "$A" --json >a.json
    [ "$(grep -c image_size a.json)" -eq 0 ]
}

@test "a model as SAMPLES is refused with what draws from it, and a word that is both is told" {
    run="$BATS_FILE_TMPDIR/run"
    for model in "$run" fashion-classifier "$(checkpoint "$run" 1)"; do
        fails_with 2 "ddpm sample $model" "$DDPM" eval "$model" "$A"
        [[ $output == *--sweep* ]]
    done
    "$DDPM" eval fashion fashion:test --features pca2 --bootstrap 0 2>messages
    grep -q "taken as the data set of that name; the bundled model" messages
    "$DDPM" eval fashion:test fashion --features pca2 --bootstrap 0 2>messages
    [ "$(grep -c "bundled model\|the same images" messages)" -eq 0 ]
    "$DDPM" eval fashion:train fashion -n 50 --features pca2 --bootstrap 0 -q | grep -q "are the same images"
}

@test "weights of Inception that are no weights" {
    echo "not found, as a web page says" >junk.pth
    fails_with 65 "neither a PyTorch file nor safetensors" "$DDPM" eval "$A" "$B" --features inception-pytorch --inception_weights junk.pth
}
