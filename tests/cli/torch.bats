setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 24 8 8 3
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    PT=$BATS_TEST_DIRNAME/../golden/06_unet/pt
    GIVEN="--image_size 8 --num_heads 1 --diffusion_steps 100 --noise_schedule linear"
}

@test "images from the authors' checkpoint, under any name" {
    "$DDPM" sample "$PT/iddpm_model000000.pt" $GIVEN -q --steps 4 -n 2 -o a.png
    cp "$PT/iddpm_model000000.pt" model.png
    "$DDPM" sample model.png $GIVEN -q --steps 4 -n 2 -o b.npz
    [ -s a.png ] && [ -s b.npz ]
}

@test "what a checkpoint does not say is asked for" {
    fails_with 2 "--image_size --diffusion_steps --noise_schedule" "$DDPM" sample "$PT/iddpm_model000000.pt" -o a.png
    fails_with 2 "contradicts the file" "$DDPM" sample "$PT/iddpm_model000000.pt" --preset ddpm-cifar10 -o a.png
    [ ! -e a.png ]
}

@test "a checkpoint is described; raw and averaged weights differ" {
    given="--image_size 8 --norm_groups 4 --diffusion_steps 1000 --noise_schedule linear"
    "$DDPM" info "$PT/ddim_ckpt.pth" $given --json > ema.json
    "$DDPM" info "$PT/ddim_ckpt.pth" $given --json --weights raw > raw.json
    "$DDPM" info "$PT/ddim_ema_plain_legacy.ckpt" $given --json > plain.json
    [ "$(json ema.json fingerprint)" = "$(json plain.json fingerprint)" ]
    [ "$(json ema.json fingerprint)" != "$(json raw.json fingerprint)" ]
    [ "$(json raw.json weights)" = '"raw"' ]
}

@test "a file that would run code is refused and runs nothing" {
    magic='\200\002\212\012\154\374\234\106\371\040\152\250\120\031.'
    printf "$magic"'\200\002M\351\003.\200\002}X\015\000\000\000little_endian\210s.\200\002cposix\nsystem\nX\015\000\000\000touch ./owned\205R.' > evil.pt
    fails_with 65 "global posix.system is not allowed (offset" "$DDPM" sample evil.pt $GIVEN -o a.png
    fails_with 65 "global posix.system is not allowed (offset" "$DDPM" info evil.pt
    [ ! -e owned ] && [ ! -e a.png ]
}

@test "training starts from a checkpoint" {
    style="--num_heads 1 --embedding ho --norm_eps 1e-6 --down_padding asymmetric --use_scale_shift_norm false --rescale_timesteps false --beta_scaling none --schedule_width f32"
    shape="--num_channels 8 --num_res_blocks 1 --channel_mult 1 --attention_resolutions 8"
    train() { "$DDPM" train "$BATS_FILE_TMPDIR/images" $style --norm_groups 4 --batch_size 4 --lr 0 --sample_interval 0 --steps 1 -q --precision f32 "$@"; }
    train $shape -o run --init "$PT/ddim_ckpt.pth"
    "$DDPM" sample run -q --steps 4 -n 2 --precision f32 -o a.npz
    "$DDPM" sample "$PT/ddim_ckpt.pth" --image_size 8 --norm_groups 4 --diffusion_steps 1000 --noise_schedule linear -q --steps 4 -n 2 --precision f32 --compat none -o b.npz
    cmp a.npz b.npz
    fails_with 2 "contradicts the file" train $shape --num_channels 16 -o other --init "$PT/ddim_ckpt.pth"
}
