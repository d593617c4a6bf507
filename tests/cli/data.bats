setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 24 8 8 3 4
    "$DDPM" data pack "$BATS_FILE_TMPDIR/images" "$BATS_FILE_TMPDIR/images.ddpmdata" -q
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    IMAGES=$BATS_FILE_TMPDIR/images PACKED=$BATS_FILE_TMPDIR/images.ddpmdata
}

fingerprint() { "$DDPM" info "$1" --json | grep fingerprint; }

@test "training on a packed set is training on its source" {
    for data in "$IMAGES" "$PACKED"; do
        "$DDPM" train "$data" $NET -q -o "run-$(basename "$data")" --steps 5 --class_cond true --flip true --val 4 --seed 3
    done
    [ "$(fingerprint run-images)" = "$(fingerprint run-images.ddpmdata)" ]
    diff <(cut -d, -f1-11 run-images/progress.csv) <(cut -d, -f1-11 run-images.ddpmdata/progress.csv)
    "$DDPM" nll run-images "$IMAGES" -q --steps 10 --max_isa generic -o a.csv
    "$DDPM" nll run-images "$PACKED" -q --steps 10 --max_isa generic -o b.csv
    cmp a.csv b.csv
    "$DDPM" sample run-images --start_image "$IMAGES" -n 4 --steps 4 -q --max_isa generic -o a.npz
    "$DDPM" sample run-images --start_image "$PACKED" -n 4 --steps 4 -q --max_isa generic -o b.npz
    cmp a.npz b.npz
    "$DDPM" eval "$PACKED" "$IMAGES" --features pca4 --json >a.json
    awk -v d="$(json a.json frechet_pca4)" 'BEGIN { exit !(d < 1e-6 && d > -1e-6) }'
}

@test "what a packed set says of itself" {
    "$DDPM" data pack "$IMAGES" a.ddpmdata --json >a.json
    [ "$(json a.json schema)" = '"ddpm-data-1"' ]
    [ "$(json a.json images)" -eq 24 ]
    [ "$(json a.json classes)" -eq 4 ]
    [ "$(json a.json bytes)" -eq "$(stat -c %s a.ddpmdata)" ]
    sum=$(tail -c +129 a.ddpmdata | sha256sum | cut -d' ' -f1)
    [ "$(json a.json sha256)" = "\"$sum\"" ]
    "$DDPM" info a.ddpmdata --json >b.json
    [ "$(json b.json sha256)" = "\"$sum\"" ]
    [ "$(json b.json class_names.1)" = '"class1"' ]
    "$DDPM" info a.ddpmdata | grep -q "packed from *folder, 24 images 8x8x3, 4 classes by folder"
    cmp a.ddpmdata "$PACKED"
    "$DDPM" data verify a.ddpmdata --json >c.json
    [ "$(json c.json images)" -eq 24 ]
}

@test "images are fitted and converted as for training" {
    "$DDPM" data pack "$IMAGES" small.ddpmdata -q --image_size 4,6 --channels 1 --labels none --threads 1
    "$DDPM" info small.ddpmdata | grep -q "packed, 24 images 4x6x1, no labels"
    "$DDPM" data pack "$PACKED" again.ddpmdata -q --image_size 4,6 --channels 1 --labels none
    cmp <(tail -c +129 small.ddpmdata | head -c 576) <(tail -c +129 again.ddpmdata | head -c 576)
    plan() { "$DDPM" plan train "$1" $NET --json >a.json && json a.json memory.data; }
    [ "$(($(plan "$IMAGES") - $(plan "$PACKED")))" -eq $((24 * 8 * 8 * 3)) ]       # nothing is kept decoded
}

@test "damage is noticed, by opening or by verifying" {
    head -c 1000 "$PACKED" >cut.ddpmdata
    fails_with 65 "truncated" "$DDPM" train cut.ddpmdata $NET -o run --steps 1
    cp "$PACKED" changed.ddpmdata
    printf 'x' | dd of=changed.ddpmdata bs=1 seek=777 conv=notrunc status=none
    fails_with 65 "SHA-256" "$DDPM" data verify changed.ddpmdata
    printf 'x' | dd of=changed.ddpmdata bs=1 seek=20 conv=notrunc status=none
    fails_with 65 "header is damaged" "$DDPM" info changed.ddpmdata
    "$DDPM" data verify "$PACKED"
}

@test "bad images are named and counted" {
    cp -r "$IMAGES" bad
    head -c 90 "$IMAGES/class1/00005.png" >bad/class1/00005.png
    "$DDPM" data pack bad bad.ddpmdata --json >a.json 2>messages
    grep -q "class1/00005.png" messages
    [ "$(json a.json images)" -eq 23 ]
    [ "$(json a.json skipped)" -eq 1 ]
    fails_with 65 "00005.png" "$DDPM" data pack bad strict.ddpmdata --strict
    [ ! -e strict.ddpmdata ]
}

@test "a database is packed, never trained on" {
    (cd "$IMAGES" && "$TOOL" --lmdb "$BATS_TEST_TMPDIR/base" class3/*.png class1/*.png class0/*.png class2/*.png)
    fails_with 2 "pack it first: ddpm data pack base" "$DDPM" train base $NET -o run --steps 1
    [ ! -e run ]
    "$DDPM" data pack base base.ddpmdata -q
    "$DDPM" data pack "$IMAGES" folder.ddpmdata -q --labels none
    cmp <(tail -c +129 base.ddpmdata | head -c 4608) <(tail -c +129 folder.ddpmdata | head -c 4608)
    truncate -s 8192 base/data.mdb
    fails_with 65 "the database is damaged at record 0" "$DDPM" data pack base other.ddpmdata
    [ ! -e other.ddpmdata ]
}

@test "the pictures that a run draws are no data" {
    cp -r "$IMAGES" mix
    fails_with 2 "use another folder" "$DDPM" train mix $NET -o mix/../mix --steps 1
    [ ! -e mix/lock ]
    "$DDPM" train mix $NET --sample_interval 1 --steps 1 -q -o mix/run
    [ -n "$(ls mix/run/samples)" ]
    "$DDPM" info mix | grep -q "folder, 24 images 8x8x3, 4 classes by folder"
    fails_with 2 "mix/run is a run" "$DDPM" train mix/run $NET -o other --steps 1
    [ ! -e other ]
}

@test "what is known of a folder depends on how it is read" {
    cp -r "$IMAGES" mixed
    "$TOOL" other 2 6 6 3 1
    mv other/* mixed/other
    fails_with 65 "--image_size N, here or in" "$DDPM" info mixed
    "$DDPM" info mixed --image_size 16 | grep -q "folder, 26 images 16x16x3, 5 classes by folder"
    "$DDPM" info mixed --image_size 4,6 --channels 1 --labels none | grep -q "folder, 26 images 4x6x1, no labels"
    fails_with 2 "no packed data set" "$DDPM" data verify mixed
    fails_with 65 "it is 8x8 (width x height); --crop celeba" "$DDPM" data pack "$IMAGES" a.ddpmdata --crop celeba -q
    [[ $output == *"none of the 24 images can be read; the first: "* ]]
    fails_with 65 "none of the 24 images can be read; the first: " "$DDPM" train "$IMAGES" $NET --crop celeba --image_size 8 -o run --steps 1 -q
}

@test "what is wrong with a call" {
    fails_with 2 "data pack DATA" "$DDPM" data
    fails_with 2 "data pack DATA" "$DDPM" data unpack a b
    fails_with 2 ".ddpmdata" "$DDPM" data pack "$IMAGES" out.zip
    fails_with 74 "nowhere" "$DDPM" data pack "$IMAGES" nowhere/out.ddpmdata
    fails_with 74 "no-data" "$DDPM" data pack no-data out.ddpmdata
    fails_with 2 "no packed data set" "$DDPM" data verify "$IMAGES"
    fails_with 2 "no parts" "$DDPM" data verify "$PACKED:test"
}
