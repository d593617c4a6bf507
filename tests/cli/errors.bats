setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 24 8 8 3
    "$TOOL" "$BATS_FILE_TMPDIR/classes" 24 8 8 3 4
    train -q -o "$BATS_FILE_TMPDIR/run" --steps 2
    "$DDPM" train "$BATS_FILE_TMPDIR/classes" $NET -q -o "$BATS_FILE_TMPDIR/classes-run" --class_cond true --steps 2
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    IMAGES=$BATS_FILE_TMPDIR/images RUN=$BATS_FILE_TMPDIR/run
}

@test "a folder without images" {
    mkdir empty
    fails_with 65 "image" "$DDPM" train empty $NET -o r
}

@test "DATA that is not there, and no DATA at all" {
    fails_with 74 "nowhere" "$DDPM" train nowhere $NET -o r
    fails_with 2 "DATA" "$DDPM" train $NET -o r
    fails_with 2 "twice" "$DDPM" train a --data_dir b -o r
}

@test "images of several sizes" {
    cp -r "$IMAGES" mixed
    "$TOOL" mixed/other 1 12 10 3
    fails_with 65 "size" "$DDPM" train mixed $NET -o r
    "$DDPM" train mixed $NET -q -o r2 --image_size 8 --steps 1
}

@test "an image size that the levels do not divide" {
    "$TOOL" odd 8 9 9 3
    fails_with 2 "9" "$DDPM" train odd $NET -o r --steps 1
}

@test "a class that the model does not have" {
    fails_with 2 "classes 0 to 3" "$DDPM" sample "$BATS_FILE_TMPDIR/classes-run" -o x.png --class 99
    fails_with 2 "not class-conditional" "$DDPM" sample "$RUN" -o x.png --class 1
    "$DDPM" sample "$BATS_FILE_TMPDIR/classes-run" -q -o x.png -n 2 --steps 2 --class class3
}

@test "a network that cannot see the time step is not trained" {
    fails_with 2 "group" "$DDPM" train "$IMAGES" $NET -o r --steps 1 --norm_groups 8 --use_scale_shift_norm false
}

@test "a refused run leaves nothing behind" {
    mkdir empty mine full
    touch full/note
    fails_with 65 "image" "$DDPM" train empty $NET -o r
    [ ! -e r ]
    fails_with 2 "group" "$DDPM" train "$IMAGES" $NET -o new/r/ --steps 1 --norm_groups 8 --use_scale_shift_norm false
    [ ! -e new ]
    fails_with 2 "norm_groups" "$DDPM" train "$IMAGES" $NET -o r --steps 1 --norm_groups 3
    fails_with 2 "rescale_betas_zero_snr" "$DDPM" train "$IMAGES" $NET -o r --steps 1 --rescale_betas_zero_snr true
    [ ! -e r ]
    fails_with 65 "image" "$DDPM" train empty $NET -o mine
    fails_with 65 "image" "$DDPM" train empty $NET -o full
    [ -d mine ]
    [ -e full/note ]
}

@test "keys and values of a configuration" {
    echo '{"batch_sise": 4}' >c.json
    fails_with 2 "batch_size" "$DDPM" train "$IMAGES" -o r --config c.json
    echo '{"batch_size": "many"}' >c.json
    fails_with 2 "batch_size" "$DDPM" train "$IMAGES" -o r --config c.json
    echo '{"batch_size": 4' >c.json
    fails_with 65 "c.json" "$DDPM" train "$IMAGES" -o r --config c.json
    fails_with 74 "gone.json" "$DDPM" train "$IMAGES" -o r --config gone.json
    fails_with 2 "batch_sise" "$DDPM" train "$IMAGES" -o r --set batch_sise=4
}

@test "numbers out of range" {
    fails_with 2 "num_samples" "$DDPM" sample "$RUN" -o x.png -n 0
    fails_with 2 "steps" "$DDPM" sample "$RUN" -o x.png --steps 0
    fails_with 2 "1 to 1000" "$DDPM" sample "$RUN" -o x.png --steps 1001
    fails_with 2 "steps" "$DDPM" train "$IMAGES" $NET -o r --steps 0
    fails_with 2 "batch_size" "$DDPM" train "$IMAGES" $NET -o r --batch_size -1
    fails_with 2 "lr" "$DDPM" train "$IMAGES" $NET -o r --lr fast
    [ ! -e x.png ]
}

@test "outputs that cannot be written" {
    touch file
    fails_with 2 "file" "$DDPM" train "$IMAGES" $NET -o file
    fails_with 74 "file" "$DDPM" train "$IMAGES" $NET -o file/below
    fails_with 74 "/proc" "$DDPM" train "$IMAGES" $NET -o /proc/run
    fails_with 74 "" "$DDPM" sample "$RUN" -o file/x.png -n 1 --steps 1
    fails_with 2 ".jpg" "$DDPM" sample "$RUN" -o x.jpg -n 1 --steps 1
}

@test "not a model" {
    fails_with 2 "nothing" "$DDPM" sample nothing -o x.png
    [[ $output == *"looked in "*"/models and "*"/share/ddpm/models"* ]]
    mkdir hollow
    run "$DDPM" sample hollow -o x.png
    [ "$status" -eq 65 ] || [ "$status" -eq 2 ]
}

@test "a device and an instruction set that are not there" {
    fails_with 1 "CUDA" "$DDPM" train "$IMAGES" $NET -o r --steps 1 --device cuda
    fails_with 2 "avx1024" "$DDPM" train "$IMAGES" $NET -o r --steps 1 --max_isa avx1024
}

@test "a damaged image is skipped and counted; --strict stops" {
    cp -r "$IMAGES" damaged
    head -c 60 "$IMAGES/00003.png" >damaged/00003.png
    "$DDPM" train damaged $NET -o r --steps 8 --json >out.json 2>messages
    grep -q 00003.png messages
    [ "$(json out.json bad_images)" -eq 1 ]
    fails_with 65 "00003.png" "$DDPM" train damaged $NET -o r2 --steps 8 --strict
}

@test "a truncated checkpoint is refused, and the one before it is used" {
    cp -r "$RUN" two
    train_more() { "$DDPM" train "$IMAGES" $NET -q -o two --steps 4; }
    train_more
    last=$(checkpoint two 4)
    head -c 1000 "$last/unet/diffusion_pytorch_model.safetensors" >short
    mv short "$last/unet/diffusion_pytorch_model.safetensors"
    fails_with 65 "" "$DDPM" sample "$last" -o x.png -n 1 --steps 1
    "$DDPM" sample two -o x.png -n 1 --steps 1 2>messages
    grep -q step-00000002 messages
}

@test "errors as JSON" {
    run --separate-stderr "$DDPM" sample nothing -o x.png --json
    [ "$status" -eq 2 ]
    echo "$output" >error.json
    [ "$(json error.json error.exit_status)" = 2 ]
    [ "$(json error.json error.command)" = '"sample"' ]
    [[ $stderr == "ddpm sample: "* ]]
}

@test "names with control bytes do not reach the terminal" {
    run "$DDPM" info $'bad\e[31mname'
    [ "$status" -ne 0 ]
    [[ $output != *$'\e'* ]]
}

@test "quiet means no messages" {
    run "$DDPM" sample "$RUN" -q -o x.png -n 1 --steps 1
    [ "$status" -eq 0 ]
    [ -z "$output" ]
}

@test "a misspelt variable is told, a right one obeyed" {
    DDPM_NUM_SAMPELS=2 run "$DDPM" info "$RUN"
    [ "$status" -eq 0 ]
    [[ $output == *"DDPM_NUM_SAMPELS is ignored"*"--num_samples"* ]]
    DDPM_NUM_SAMPLES=0 DDPM_LIBRARY=x run "$DDPM" sample "$RUN" -o x.png --steps 1
    [ "$status" -eq 2 ]
    [[ $output == *DDPM_NUM_SAMPLES* && $output != *"is ignored"* ]]
}
