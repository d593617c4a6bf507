# The memory that `ddpm plan` predicts is what the command then takes, to 5 %.

setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 64 32 32 3
}

setup() {
    load common
    if nm -D "$DDPM" | grep -q __asan; then skip "sanitizers need memory of their own"; fi
    cd "$BATS_TEST_TMPDIR"
    IMAGES=$BATS_FILE_TMPDIR/images
    UNET="--num_channels 32 --num_res_blocks 1 --channel_mult 1,2,2 --attention_resolutions 8 --threads 2 --seed 1"
}

as_planned() {     # PLAN.json DONE.json
    echo "planned $(json "$1" memory_bytes), taken $(json "$2" peak_rss_bytes)"
    awk -v a="$(json "$1" memory_bytes)" -v b="$(json "$2" peak_rss_bytes)" 'BEGIN { exit !(a > 0.95 * b && a < 1.05 * b) }'
}

@test "memory of training is as planned" {
    for how in "--batch_size 1 --precision f32" "--batch_size 24 --precision f32" "--batch_size 3 --precision bf16" "--batch_size 24 --precision bf16" \
               "--batch_size 24 --precision f32 --checkpoint_activations blocks" "--batch_size 8 --precision f32 --threads 1 --ema_rate 0.9,0.99"; do
        rm -rf r
        "$DDPM" plan train "$IMAGES" $UNET --sample_interval 0 $how --json >a.json
        "$DDPM" train "$IMAGES" -q -o r $UNET --sample_interval 0 --steps 1 $how --json >b.json
        echo "$how"
        as_planned a.json b.json
    done
}

@test "memory of training that draws grids, and of going on, is as planned" {
    "$DDPM" plan train "$IMAGES" $UNET --sample_interval 1 --diffusion_steps 50 --batch_size 8 --json >a.json
    "$DDPM" train "$IMAGES" -q -o r $UNET --sample_interval 1 --diffusion_steps 50 --batch_size 8 --steps 1 --json >b.json
    as_planned a.json b.json
    "$DDPM" plan train "$IMAGES" -o r $UNET --sample_interval 1 --diffusion_steps 50 --batch_size 8 --steps 2 --json >a.json
    "$DDPM" train "$IMAGES" -q -o r --steps 2 --json >b.json
    as_planned a.json b.json
}

@test "memory of sampling is as planned" {
    "$DDPM" train "$IMAGES" -q -o r $UNET --sample_interval 0 --batch_size 8 --steps 1
    for how in "-n 1 --precision f32" "-n 40 --batch_size 16 --precision f32" "-n 40 --batch_size 16 --precision bf16"; do
        "$DDPM" plan sample r --steps 2 --threads 2 $how --json >a.json
        "$DDPM" sample r -q -o a.npz --steps 2 --threads 2 $how --json >b.json
        echo "$how"
        as_planned a.json b.json
    done
}
