setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    GOLDEN=$BATS_TEST_DIRNAME/../golden_interop
    PT=$BATS_TEST_DIRNAME/../golden/06_unet/pt
    GIVEN="--image_size 8 --num_heads 1 --diffusion_steps 100 --noise_schedule linear"
}

@test "folders of diffusers are opened, in every layout" {
    for folder in resnet sharded sharded_bin flat; do
        "$DDPM" sample "$GOLDEN/$folder" -n 2 --steps 3 -q -o $folder.npz
        [ -s $folder.npz ]
    done
    "$DDPM" sample "$GOLDEN/resnet/unet" -n 2 --steps 3 -q -o again.npz
    cmp again.npz resnet.npz
}

@test "what is damaged or dangerous is refused with status 65" {
    cp -r "$GOLDEN/sharded" model
    index=model/unet/diffusion_pytorch_model.safetensors.index.json
    sed -i 's|: "diffusion_pytorch_model-00001|: "../diffusion_pytorch_model-00001|' $index
    fails_with 65 "must name a file in the same folder" "$DDPM" info model
    head -c 1000 "$GOLDEN/sharded/unet/${index##*/}" > $index
    fails_with 65 "index.json" "$DDPM" sample model -o a.png
    fails_with 65 "state of an optimiser" "$DDPM" info "$GOLDEN/opt000002.pt"
    [ ! -e a.png ]
}

@test "a PyTorch file becomes ours, and a PyTorch file again" {
    "$DDPM" convert "$PT/iddpm_model000000.pt" ours $GIVEN -q
    "$DDPM" convert ours x.pt -q
    "$DDPM" sample ours --steps 3 -n 2 -q --precision f32 -o a.npz
    "$DDPM" sample x.pt $GIVEN --steps 3 -n 2 -q --precision f32 -o b.npz
    cmp a.npz b.npz
    fails_with 2 "--image_size --diffusion_steps --noise_schedule" "$DDPM" convert x.pt other
    fails_with 2 "exists already" "$DDPM" convert ours x.pt
    fails_with 74 "no-such-folder" "$DDPM" convert ours no-such-folder/x.pt
}

@test "what a form cannot represent is refused with the reason" {
    "$DDPM" convert "$GOLDEN/resnet" whole.safetensors -q
    fails_with 2 "always 32 groups" "$DDPM" convert "$GOLDEN/resnet" x.pt
    fails_with 2 "[cos sin]" "$DDPM" convert "$GOLDEN/resnet" x.ckpt
    [ ! -e x.pt ] && [ ! -e x.ckpt ]
    "$DDPM" convert whole.safetensors folder --format diffusers --json -q > a.json
    [ "$(json a.json format)" = '"diffusers"' ]
    cmp "$GOLDEN/resnet/unet/config.json" folder/unet/config.json || grep -q AttnDownBlock2D folder/unet/config.json
}

@test "raw and averaged weights keep their names" {
    "$TOOL" images 12 8 8 3
    "$DDPM" train images $NET -q -o run --steps 2 --batch_size 4 --sample_interval 0
    "$DDPM" convert run a.safetensors -q
    "$DDPM" convert run b.safetensors -q --weights raw
    "$DDPM" info a.safetensors --json > a.json
    "$DDPM" info b.safetensors --json > b.json
    [ "$(json a.json weights)" = '"ema 0.9999"' ]
    [ "$(json b.json weights)" = '"raw"' ]
    fails_with 2 "holds averaged weights" "$DDPM" sample a.safetensors --weights raw -o x.png
    fails_with 2 "holds raw weights" "$DDPM" sample b.safetensors --weights ema -o x.png
}
