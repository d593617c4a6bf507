setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 12 8 8 3
    "$TOOL" "$BATS_FILE_TMPDIR/classes" 12 8 8 3 4
    train -q -o "$BATS_FILE_TMPDIR/run" --steps 4 --learn_sigma true
    train -q -o "$BATS_FILE_TMPDIR/other" --steps 2 --learn_sigma true --seed 1
    "$DDPM" train "$BATS_FILE_TMPDIR/classes" $NET -q -o "$BATS_FILE_TMPDIR/classes-run" --class_cond true --steps 2
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    FASHION=$BATS_TEST_DIRNAME/../../models/fashion
    IMAGES=$BATS_FILE_TMPDIR/images RUN=$BATS_FILE_TMPDIR/run OTHER=$BATS_FILE_TMPDIR/other
    CLASSES=$BATS_FILE_TMPDIR/classes CLASSES_RUN=$BATS_FILE_TMPDIR/classes-run
}

encode() { "$DDPM" encode "$RUN" "$IMAGES" -q --max_isa generic -n 6 "$@"; }
decode() { "$DDPM" decode "$RUN" "$@" -q --max_isa generic; }
error() { encode -o x.safetensors --json "$@" >x.json && json x.json mse; }
less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a < b) }'; }

@test "images come back, the better the more steps there are" {
    coarse=$(error --steps 10) fine=$(error --steps 40)
    less "$fine" "$coarse"
    [ "$(json x.json schema)" = '"ddpm-encode-1"' ]
    [ "$(json x.json images)" -eq 6 ]
    [ "$(json x.json network_calls)" -eq 80 ]
    [ "$(json x.json precision)" = '"f32"' ]
    [ "$(json x.json clip)" = '"none"' ]
    json x.json per_image.5.max_abs
}

@test "the bundled model's pictures come back" {
    "$DDPM" encode "$FASHION" fashion:test -o x.safetensors -n 2 --steps 50 -q --json >x.json
    less "$(json x.json mse)" 0.01
    "$DDPM" encode "$FASHION" fashion:test -o x.safetensors -n 2 --steps 10 -q --json >y.json
    less "$(json x.json mse)" "$(json y.json mse)"
}

@test "latents depend neither on the batch nor on the company" {
    encode -o a.safetensors --steps 5 --batch 4 --threads 2
    encode -o b.safetensors --steps 5 --batch 6 --threads 1
    cmp a.safetensors b.safetensors
    encode -o c.safetensors --steps 5 --seed 1
    differ a.safetensors c.safetensors
}

@test "decode walks the chain of the file, unless another is asked for" {
    encode -o x.safetensors --steps 7 --spacing leading
    decode x.safetensors -o a.png
    "$DDPM" sample "$RUN" --xT x.safetensors -n 6 --steps 7 --spacing leading --clip none --precision f32 --max_isa generic -q -o b.png
    cmp a.png b.png
    decode x.safetensors -o c.png --steps 6
    differ a.png c.png
    decode x.safetensors -o d/
    [ "$(ls d | wc -l)" -eq 6 ]
    decode x.safetensors -o e/ --index 4
    cmp d/000004.png e/000004.png
    decode x.safetensors -o f.npz -n 3
    [ "$(head -c 2 f.npz)" = PK ]
    encode -o x.safetensors --spacing openai:ddim5
    decode x.safetensors -o a.png --json >a.json
    [ "$(json a.json network_calls)" -eq 5 ]
}

@test "decode walks the chain of the file: the details of diffusers' lists" {
    encode -o x.safetensors --compat diffusers --spacing leading --steps 4 --steps_offset 50 --set_alpha_to_one false
    decode x.safetensors -o a.png
    "$DDPM" sample "$RUN" --xT x.safetensors -n 6 --sampler ddim --compat diffusers --spacing leading --steps 4 --steps_offset 50 --set_alpha_to_one false --clip none \
        --precision f32 --max_isa generic -q -o b.png
    cmp a.png b.png
    for other in "--steps_offset 40" "--set_alpha_to_one true"; do
        decode x.safetensors -o c.png $other
        differ a.png c.png
    done
}

@test "decode says that its f32 is nobody's wish, and when the walk is another one" {
    encode -o x.safetensors --steps 7 --spacing leading
    "$DDPM" decode "$RUN" x.safetensors -o a.png --max_isa generic 2>messages
    grep -q "f32 (the command's choice)" messages
    if grep -q "another walk" messages; then return 1; fi
    "$DDPM" decode "$RUN" x.safetensors -o a.png --max_isa generic --precision f32 --steps 7 2>messages
    grep -q "f32 (as asked)" messages
    if grep -q "another walk" messages; then return 1; fi
    for other in "--steps 6" "--spacing uniform" "--clip rederive"; do
        "$DDPM" decode "$RUN" x.safetensors -o a.png $other 2>messages
        grep -q -- "$other: .*another walk" messages
    done
    "$DDPM" decode "$RUN" x.safetensors -o a.png --spacing openai:5 --json 2>messages >a.json
    grep -q "another walk" messages
    [ "$(json a.json network_calls)" -eq 5 ]
    encode -o x.safetensors --spacing openai:ddim5
    "$DDPM" decode "$RUN" x.safetensors -o a.png --steps 6 --json 2>messages >a.json
    grep -q "another walk" messages
    [ "$(json a.json network_calls)" -eq 6 ]
}

@test "a file whose chain is impossible is told as a file" {
    encode -o x.safetensors --steps 77
    sed 's/"steps":"77"/"steps":"ab"/' x.safetensors >y.safetensors
    differ x.safetensors y.safetensors
    fails_with 65 "y.safetensors" "$DDPM" decode "$RUN" y.safetensors -o a.png
    encode -o x.safetensors --steps 1000 --spacing trailing -n 1
    sed 's/"steps":"1000"/"steps":"5000"/' x.safetensors >y.safetensors
    differ x.safetensors y.safetensors
    fails_with 65 "y.safetensors" "$DDPM" decode "$RUN" y.safetensors -o a.png
    fails_with 2 "1 to 1000" "$DDPM" decode "$RUN" y.safetensors -o a.png --steps 6000
    fails_with 2 "--guidance" "$DDPM" decode "$RUN" x.safetensors -o a.png --guidance 2
}

@test "the image that becomes no number is named" {
    "$DDPM" convert "$RUN" broken -q
    rm broken/ddpm.json                              # another program's pipeline, whose tensors have no checksums
    sed -i 's/ddpm.crc32c/none.crc32c/' broken/unet/*.safetensors
    weights=$(echo broken/unet/*.safetensors)
    for _ in {1..512}; do printf '\377\377\177\177'; done |         # the largest number there is, whose sums are none
        dd of="$weights" bs=1 seek=$(($(stat -c %s "$weights") - 2048)) conv=notrunc status=none
    "$DDPM" encode "$RUN" "$IMAGES" -o x.safetensors -n 6 --steps 2 -q --json >x.json
    first=$(json x.json per_image.0.index)
    [ "$first" -ne 0 ]
    fails_with 1 "image $first of" "$DDPM" encode broken "$IMAGES" -o y.safetensors -n 6 --steps 2
}

@test "each latent keeps its class" {
    "$DDPM" encode "$CLASSES_RUN" "$CLASSES" -o x.safetensors -n 8 --steps 4 -q
    "$DDPM" decode "$CLASSES_RUN" x.safetensors -o a/ -q
    "$DDPM" encode "$CLASSES_RUN" "$CLASSES" -o x.safetensors -n 8 --steps 4 -q --json >x.json
    for k in 0 5; do
        "$DDPM" decode "$CLASSES_RUN" x.safetensors -o b/ --index $k --class "$(json x.json per_image.$k.class)" -q
        cmp a/00000$k.png b/00000$k.png
    done
    encode -o y.safetensors --steps 4                # without classes
    fails_with 2 "--class" "$DDPM" decode "$CLASSES_RUN" y.safetensors -o c.png
    "$DDPM" decode "$CLASSES_RUN" y.safetensors -o c.png -q --class 1
}

@test "clipping is said, and changes the latents" {
    "$DDPM" encode "$RUN" "$IMAGES" -o x.safetensors -n 6 --steps 10 --clip rederive 2>messages >/dev/null
    grep -q "clipped, as asked" messages
    encode -o y.safetensors --steps 10
    differ x.safetensors y.safetensors
}

@test "latents of another model are told, those that do not fit are refused" {
    encode -o x.safetensors --steps 4
    "$DDPM" decode "$OTHER" x.safetensors -o a.png 2>messages
    grep -q "made with the weights" messages
    fails_with 65 "xT" "$DDPM" decode "$FASHION" x.safetensors -o a.png
    fails_with 2 "6 latents" "$DDPM" decode "$RUN" x.safetensors -o a.png -n 7
    head -c 500 x.safetensors >y.safetensors
    fails_with 65 "y.safetensors" "$DDPM" decode "$RUN" y.safetensors -o a.png
}

@test "what is wrong with a call" {
    fails_with 2 "two words" "$DDPM" encode "$RUN" -o x.safetensors
    fails_with 2 "no output" "$DDPM" encode "$RUN" "$IMAGES"
    fails_with 2 ".safetensors" "$DDPM" encode "$RUN" "$IMAGES" -o x.npz
    fails_with 74 "nowhere" "$DDPM" encode "$RUN" "$IMAGES" -o nowhere/x.safetensors
    fails_with 2 "1 to 1000" "$DDPM" encode "$RUN" "$IMAGES" -o x.safetensors --steps 1001
    fails_with 2 "28x28x1" "$DDPM" encode "$RUN" fashion -o x.safetensors
    echo nothing >text.png
    fails_with 65 "text.png: " "$DDPM" encode "$RUN" text.png -o x.safetensors
    "$DDPM" encode "$RUN" fashion -o x.safetensors --fit -n 1 --steps 2 -q
    fails_with 74 "no-file" "$DDPM" decode "$RUN" no-file -o a.png
}
