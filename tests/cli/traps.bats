# Mistakes of other programs for these papers, seen from outside; the rest of the list is in tests/traps.c.
setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 12 8 8 3
    "$TOOL" "$BATS_FILE_TMPDIR/classes" 21 8 8 3 7
    "$TOOL" "$BATS_FILE_TMPDIR/wide" 12 16 8 3
    train -q -o "$BATS_FILE_TMPDIR/run" --steps 2
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    IMAGES=$BATS_FILE_TMPDIR/images RUN=$BATS_FILE_TMPDIR/run
}

@test "10: -n N is N images, whatever the batch" {         # 49984 came out of 50000
    for batch in 1 4 5 13 64; do
        "$DDPM" sample "$RUN" --steps 2 -n 13 --batch $batch -o "a$batch/" --json 2>/dev/null >a.json
        [ "$(ls "a$batch" | wc -l)" -eq 13 ]
        [ "$(json a.json images)" -eq 13 ]
        "$DDPM" sample "$RUN" --steps 2 -n 13 --batch $batch -q -o a.npz
        grep -qa "(13, 8, 8, 3)" a.npz
    done
    diff -r a4 a64
}

@test "10: a folder is never emptied" {                    # a log folder was, without a question
    cp -r "$RUN" mine
    echo keep >mine/notes.txt
    train -q -o mine --steps 3
    [ "$(cat mine/notes.txt)" = keep ]
    [ -d "$(checkpoint mine 2)" ]
    fails_with 2 "" "$DDPM" train "$IMAGES" $NET -o mine --steps 4 --lr 0.5
    [ "$(cat mine/notes.txt)" = keep ]
    [ -d "$(checkpoint mine 3)" ]
    mkdir full
    echo keep >full/000001.png.txt
    "$DDPM" sample "$RUN" -q --steps 2 -n 2 -o full/
    [ "$(ls full | wc -l)" -eq 3 ]
}

@test "10: images need not be square, and no device is asked for" {
    "$DDPM" train "$BATS_FILE_TMPDIR/wide" $NET -q -o wide --steps 1
    "$DDPM" info wide --json >info.json
    [ "$(json info.json options.image_size)" = '"8,16"' ]
    "$DDPM" sample wide -q --steps 2 -n 1 -o a.npz
    grep -qa "(1, 8, 16, 3)" a.npz
}

@test "5: annealing and stopping are two options" {
    train -q -o short --steps 2 --lr_anneal_steps 4
    [ -d "$(checkpoint short 2)" ]
    [ ! -d "$(checkpoint short 4)" ]
    train -q -o long --steps 4 --lr_anneal_steps 2
    [ -d "$(checkpoint long 4)" ]
    train -q -o alone --lr_anneal_steps 3
    [ -d "$(checkpoint alone 3)" ]
}

@test "5: classes are those of the data" {
    "$DDPM" train "$BATS_FILE_TMPDIR/classes" $NET -q -o classes --class_cond true --steps 1
    "$DDPM" info classes --json >info.json
    [ "$(json info.json options.num_classes)" = '"7"' ]
    "$DDPM" sample classes -q --steps 2 -n 1 --class 6 -o a.png
    fails_with 2 "classes 0 to 6" "$DDPM" sample classes --steps 2 -n 1 --class 7 -o b.png
}

@test "5: DDIM takes an eta" {
    for eta in 0 0.5 1; do "$DDPM" sample "$RUN" -q --timestep_respacing ddim10 --use_ddim true --eta $eta -n 1 -o $eta.png; done
    differ 0.png 0.5.png
    differ 0.5.png 1.png
}

@test "3, 12: which weights and which variance are used is said" {
    "$DDPM" sample "$RUN" --steps 2 -n 1 -o a.png 2>averaged
    "$DDPM" sample "$RUN" --steps 2 -n 1 -o b.png --weights raw 2>raw
    grep -q "ema 0.9999" averaged
    grep -q "raw" raw
    "$DDPM" sample "$BATS_TEST_DIRNAME/../golden/06_unet/df_cifar" --steps 2 -n 1 -o c.png 2>foreign
    grep -q "unknown weights" foreign
    for variance in small large; do
        train -q -o $variance --steps 1 --variance $variance
        "$DDPM" info $variance --json >info.json
        [ "$(json info.json options.variance)" = "\"$variance\"" ]
        "$DDPM" sample $variance --sampler ddpm --steps 2 -n 1 -q -o $variance.png
        "$DDPM" info $variance.png | grep -q "$variance"
    done
}

@test "14: rounding is to nearest unless truncation is asked for" {
    "$DDPM" sample "$RUN" -q --steps 2 -n 1 -o a.png
    "$DDPM" sample "$RUN" -q --steps 2 -n 1 -o b.png --quantize round
    "$DDPM" sample "$RUN" -q --steps 2 -n 1 -o c.png --quantize truncate
    cmp a.png b.png
    differ a.png c.png
}
