setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 6 8 8 3
    "$TOOL" "$BATS_FILE_TMPDIR/classes" 6 8 8 3 2
    "$TOOL" "$BATS_FILE_TMPDIR/big" 1 12 10 3
    "$TOOL" "$BATS_FILE_TMPDIR/grey" 6 8 8 1
    train -q -o "$BATS_FILE_TMPDIR/run" --steps 4 --diffusion_steps 100
    "$DDPM" train "$BATS_FILE_TMPDIR/classes" $NET -q -o "$BATS_FILE_TMPDIR/classes-run" --class_cond true --steps 2
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    FASHION=$BATS_TEST_DIRNAME/../../models/fashion
    RUN=$BATS_FILE_TMPDIR/run CLASSES_RUN=$BATS_FILE_TMPDIR/classes-run
    A=$BATS_FILE_TMPDIR/images/00000.png B=$BATS_FILE_TMPDIR/images/00003.png
}

between() { "$DDPM" interpolate "$RUN" "$@" --max_isa generic --precision f32 -q; }

# Tiles of 8x8 begin 2 pixels from the edge, 10 apart.
tile() { "$TOOL" --cut "$1" $((2 + 10 * $2)) $((2 + 10 * $3)) 8 8 "$4"; }
distance() { "$TOOL" --distance "$1" "$2"; }

@test "the ends of a way between seeds are what sample draws" {
    between seed:3 seed:7 -o a.png --count 4 --steps 5
    "$DDPM" sample "$RUN" -q -o s/ --seeds 3-7 --steps 5 --max_isa generic --precision f32
    tile a.png 0 0 first.png
    tile a.png 3 0 last.png
    tile a.png 1 0 second.png
    [ "$(distance first.png s/000003.png)" = "$(distance first.png first.png)" ]
    [ "$(distance last.png s/000007.png)" = "$(distance first.png first.png)" ]
    [ "$(distance second.png s/000003.png)" != "$(distance first.png first.png)" ]
    between seed:3 seed:7 seed:4 seed:5 -o b.png --count 3 --steps 5
    tile b.png 0 2 corner.png
    [ "$(distance corner.png s/000004.png)" = "$(distance first.png first.png)" ]
    tile b.png 2 2 corner.png
    [ "$(distance corner.png s/000005.png)" = "$(distance first.png first.png)" ]
}

@test "without noise a mixture is the images themselves" {
    between "$A" "$B" -o a.png --count 2 --at 0
    tile a.png 1 0 first.png
    tile a.png 2 0 last.png
    [ "$(distance first.png "$A")" = "$(distance "$A" "$A")" ]
    [ "$(distance last.png "$B")" = "$(distance "$A" "$A")" ]
    tile a.png 0 0 given.png
    [ "$(distance given.png "$A")" = "$(distance "$A" "$A")" ]
}

@test "a row with the images at its ends; seeds have none" {
    between "$A" "$B" -o a.png --count 3 --steps 4 --json >a.json
    [ "$(json a.json schema)" = '"ddpm-interpolate-1"' ]
    [ "$(json a.json columns)" -eq 5 ]
    [ "$(json a.json network_calls)" -eq 12 ]        # two encoded, one batch decoded
    between seed:1 "$B" -o b.png --count 3 --steps 4 --json >b.json
    [ "$(json b.json columns)" -eq 3 ]
    between seed:1 seed:2 -o c.png --count 3 --steps 4 --json >c.json
    [ "$(json c.json network_calls)" -eq 4 ]
}

@test "images do not depend on the batch or the threads" {
    between "$A" "$B" -o a.png --count 5 --steps 4 --batch 2 --threads 2
    between "$A" "$B" -o b.png --count 5 --steps 4 --threads 1
    cmp a.png b.png
    between seed:1 seed:2 -o c.png --count 5 --steps 4
    between seed:1 seed:3 -o d.png --count 5 --steps 4
    differ c.png d.png
}

@test "mixed at a step, a row for each" {
    between "$A" "$B" -o a.png --count 3 --at 0,50,100 --json >a.json
    [ "$(json a.json rows)" -eq 3 ]
    [ "$(json a.json way)" = '"stochastic"' ]
    [ "$(json a.json network_calls)" -eq 150 ]       # 0, 50 and 100 steps
    between "$A" "$B" -o b.png --count 3 --at 0,50,100 --seed 1
    differ a.png b.png
    fails_with 2 "T = 100" "$DDPM" interpolate "$RUN" "$A" "$B" -o a.png --at 101
    fails_with 2 "seed is none" "$DDPM" interpolate "$RUN" seed:1 "$B" -o a.png --at 10
    fails_with 2 "lowest" "$DDPM" interpolate "$RUN" "$A" "$B" -o a.png --at 5 --steps 4
}

@test "four corners, and films" {
    between seed:1 seed:2 seed:3 seed:4 -o a.png --count 3 --steps 3 --json >a.json
    [ "$(json a.json rows)" -eq 3 ]
    between seed:1 seed:2 -o a.gif --count 3 --steps 3
    [ "$("$TOOL" --frames a.gif)" -eq 4 ]            # there and back
    between "$A" "$B" -o b.gif --count 3 --at 20,60
    fails_with 2 "does not move" "$DDPM" interpolate "$RUN" seed:1 seed:2 seed:3 seed:4 -o a.gif
}

@test "classes" {
    fails_with 2 "--class" "$DDPM" interpolate "$CLASSES_RUN" seed:1 seed:2 -o a.png
    fails_with 2 "name it" "$DDPM" interpolate "$CLASSES_RUN" seed:1 seed:2 -o a.png --class all
    "$DDPM" interpolate "$CLASSES_RUN" seed:1 seed:2 -o a.png --class 1 --steps 2 --count 2 -q
    fails_with 2 "not class-conditional" "$DDPM" interpolate "$RUN" seed:1 seed:2 -o a.png --class 1
    "$DDPM" interpolate "$FASHION" seed:1 seed:2 -o b.png --steps 2 --count 2 2>messages     # has a null class
    grep -q "without a class" messages
    fails_with 2 "needs a class" "$DDPM" interpolate "$FASHION" seed:1 seed:2 -o b.png --guidance 2
}

@test "pictures say where they go from and to" {
    between seed:1 seed:22 -o a.png --count 2 --steps 2 --seed 5
    grep -aPq 'A\x00seed:1' a.png
    grep -aPq 'B\x00seed:22' a.png
    grep -aPq 'seed\x005' a.png
    between "$A" "$B" -o a.gif --count 2 --steps 2
    grep -aq "A: 00000.png" a.gif
    grep -aq "B: 00003.png" a.gif
    "$DDPM" interpolate "$CLASSES_RUN" seed:1 seed:2 seed:3 seed:4 -o a.png --class 1 --steps 2 --count 2 -q
    grep -aPq 'D\x00seed:4' a.png
    grep -aPq 'class\x001' a.png
}

@test "colours become grey only when asked for" {
    "$DDPM" train "$BATS_FILE_TMPDIR/grey" $NET -q -o grey --steps 1
    "$DDPM" interpolate grey "$BATS_FILE_TMPDIR/grey/00000.png" "$BATS_FILE_TMPDIR/grey/00001.png" -o a.png --count 2 --steps 2 -q
    fails_with 2 "8x8x3" "$DDPM" interpolate grey "$A" "$BATS_FILE_TMPDIR/grey/00000.png" -o a.png
    "$DDPM" interpolate grey "$A" "$BATS_FILE_TMPDIR/grey/00000.png" -o a.png --count 2 --steps 2 -q --fit
    fails_with 2 "one image file" "$DDPM" interpolate "$RUN" "$A" "$BATS_FILE_TMPDIR/images" -o a.png
}

@test "images of two channels are no image files" {
    "$TOOL" alpha 6 8 8 4
    "$DDPM" train alpha $NET -q -o four --steps 1
    "$DDPM" convert four two -q
    rm two/ddpm.json                                 # another program's pipeline, whose tensors have no checksums:
    sed -i 's/\("\(in\|out\)_channels"\): 4/\1: 2/' two/unet/config.json       # half as many numbers of twice the bytes
    sed -i 's/ddpm.crc32c/none.crc32c/
            s/"F32","shape":\[8,4,3,3\]/"F64","shape":[8,2,3,3]/
            s/"F32","shape":\[4\]/"F64","shape":[2]/
            s/"F32","shape":\[4,8,3,3\]/"F64","shape":[2,8,3,3]/' two/unet/*.safetensors
    "$DDPM" interpolate two seed:1 seed:2 -o a.png --count 2 --steps 2 -q --max_isa generic
    fails_with 2 "8x8x2" "$DDPM" interpolate two "$A" "$B" -o a.png
    fails_with 2 "not 2" "$DDPM" interpolate two "$A" "$B" -o a.png --fit
}

@test "a film is not measured as a row" {
    rows=0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0               # x 10000 columns of 28x28: 144 million pixels
    fails_with 2 "pixels" "$DDPM" interpolate "$FASHION" no-file.png no-file.png -o a.png --at $rows --count 10000
    fails_with 74 "no-file.png" "$DDPM" interpolate "$FASHION" no-file.png no-file.png -o a.gif --at $rows --count 10000
}

@test "what is wrong with a call" {
    fails_with 2 "10x12" "$DDPM" interpolate "$RUN" "$A" "$BATS_FILE_TMPDIR/big/00000.png" -o a.png
    between "$A" "$BATS_FILE_TMPDIR/big/00000.png" -o a.png --fit --count 2 --steps 2
    echo nothing >text
    fails_with 65 "text" "$DDPM" interpolate "$RUN" "$A" text -o a.png
    fails_with 74 "no-file" "$DDPM" interpolate "$RUN" "$A" no-file -o a.png
    fails_with 2 "seed:N" "$DDPM" interpolate "$RUN" seed:x seed:1 -o a.png
    fails_with 2 "count" "$DDPM" interpolate "$RUN" "$A" "$B" -o a.png --count 1
    fails_with 2 ".gif" "$DDPM" interpolate "$RUN" "$A" "$B" -o a.npz
    fails_with 74 "nowhere" "$DDPM" interpolate "$RUN" "$A" "$B" -o nowhere/a.png
    fails_with 2 "words needed" "$DDPM" interpolate "$RUN" "$A" -o a.png
}
