setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 24 8 8 3
    train -q -o "$BATS_FILE_TMPDIR/run" --steps 4 --learn_sigma true
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    RUN=$BATS_FILE_TMPDIR/run
}

draw() { "$DDPM" sample "$RUN" -q --steps 4 --precision f32 "$@"; }

@test "an image depends on its index, not on the batch or the threads" {
    draw -o a/ -n 40 --batch 32 --threads 2
    draw -o b/ -n 8 --batch 1 --threads 1
    draw -o c/ --index 7
    cmp a/000007.png b/000007.png
    cmp a/000007.png c/000007.png
    [ "$(ls a | wc -l)" -eq 40 ]
    differ a/000007.png a/000008.png
}

@test "the seed changes the images; the same seed gives the same file" {
    draw -o a.png -n 4
    draw -o b.png -n 4
    draw -o c.png -n 4 --seed 1
    cmp a.png b.png
    differ a.png c.png
}

@test "a range of seeds" {
    draw -o s/ --seeds 3-5
    draw -o t/ --index 0 --seed 4
    [ "$(ls s)" = "$(printf '00000%d.png\n' 3 4 5)" ]
    cmp s/000004.png t/000000.png
}

@test "samplers, spacings and the call count" {
    for sampler in ddim ddpm; do
        for spacing in uniform leading linspace trailing; do
            "$DDPM" sample "$RUN" -o x.png -n 1 --steps 5 --sampler $sampler --spacing $spacing --json >out.json 2>/dev/null
            [ "$(json out.json network_calls)" -eq 5 ]
        done
    done
    "$DDPM" sample "$RUN" -o x.png -n 1 --timestep_respacing ddim25 --json >out.json 2>/dev/null
    [ "$(json out.json network_calls)" -eq 25 ]
    "$DDPM" sample "$RUN" -o x.png -n 1 --steps 1 --json >out.json 2>/dev/null
    [ "$(json out.json network_calls)" -eq 1 ]
}

@test "the command lines of improved-diffusion" {
    "$DDPM" sample --model_path "$RUN" --num_samples 3 --batch_size 2 --image_size 8 --num_channels 8 --num_res_blocks 1 \
        --diffusion_steps 1000 --noise_schedule linear --learn_sigma True --timestep_respacing 5 --use_ddim False -q -o x.npz
    [ "$(head -c 2 x.npz)" = PK ]
    OPENAI_LOGDIR=$PWD/logs
    export OPENAI_LOGDIR
    mkdir logs
    "$DDPM" sample --model_path "$RUN" --num_samples 2 --timestep_respacing 5 -q
    [ -s logs/samples.npz ]
}

@test "info of a sample tells where it came from" {
    draw -o a.png -n 1 --seed 5
    "$DDPM" info a.png --json >info.json
    [ "$(json info.json kind)" = '"image"' ]
    [ "$(json info.json seed)" = '"5"' ]
    "$DDPM" info "$RUN" --json >run.json
    [ "$(json info.json model)" = "$(json run.json model.fingerprint)" ]
}

@test "a signal stops in the middle of a batch" {
    "$DDPM" sample "$RUN" -o long.png -n 2000 --batch 2000 --sampler ddpm --steps 1000 2>messages 3>&- &
    pid=$!
    wait_for grep -q "^model" messages
    kill -INT $pid
    status=0
    wait $pid || status=$?
    cat messages
    [ "$status" -eq 130 ]
    grep -q "stopped after 0 of 2000 images" messages
    [ ! -e long.png ]
}

@test "no folder is left where no image was drawn, unless it was there" {
    mkdir there
    for folder in new/er/ there; do
        "$DDPM" sample "$RUN" -o $folder -n 2000 --batch 2000 --sampler ddpm --steps 1000 2>messages 3>&- &
        pid=$!
        wait_for grep -q "^model" messages
        [ -d $folder ]
        kill -INT $pid
        wait $pid || [ $? -eq 130 ]
    done
    [ ! -e new ]
    [ -d there ]
}
