setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 24 8 8 3
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    IMAGES=$BATS_FILE_TMPDIR/images
    VLB="--learn_sigma true --use_kl true --schedule_sampler loss-second-moment --diffusion_steps 6 --noise_schedule cosine"
}

@test "a run of the bound with importance sampling goes on as if never stopped" {
    train -q -o whole $VLB --steps 40
    train -q -o r $VLB --steps 7
    train -q -o r $VLB --steps 30 --threads 1
    train -q -o r $VLB --steps 40
    cmp "$(checkpoint r 40)/training_state.safetensors" "$(checkpoint whole 40)/training_state.safetensors"
    cmp "$(checkpoint r 40)/unet/diffusion_pytorch_model.safetensors" "$(checkpoint whole 40)/unet/diffusion_pytorch_model.safetensors"
    "$DDPM" sample r -q -o x.png -n 1
}

@test "it is another run than a uniform one" {
    train -q -o r $VLB --steps 2
    fails_with 2 "schedule_sampler" train -o r --learn_sigma true --use_kl true --diffusion_steps 6 --noise_schedule cosine --schedule_sampler uniform --steps 3
    train -q -o u --learn_sigma true --use_kl true --diffusion_steps 6 --noise_schedule cosine --steps 40
    train -q -o v $VLB --steps 40
    differ "$(checkpoint u 40)/unet/diffusion_pytorch_model.safetensors" "$(checkpoint v 40)/unet/diffusion_pytorch_model.safetensors"
}
