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

# What convert says of the flags, in front of the file: for the other commands.
flags_of() { sed -n 's/^.*it holds weights and nothing else; the [a-z ]*: //p' "$1"; }

@test "the flags that go with a PyTorch file open it" {
    "$DDPM" convert "$PT/iddpm_model000000.pt" ours --image_size 8 --num_heads 1 --diffusion_steps 1000 --noise_schedule linear -q
    "$DDPM" convert ours x.pt 2> said
    [[ $(flags_of said) == *"--diffusion_steps 1000 --noise_schedule linear"* ]]
    "$DDPM" info x.pt $(flags_of said) | grep -q "T = 1000"
    "$DDPM" sample x.pt $(flags_of said) --steps 2 -n 1 -q --precision f32 -o a.npz
    "$DDPM" sample ours --steps 2 -n 1 -q --precision f32 -o b.npz
    cmp a.npz b.npz
    "$DDPM" convert ours y.pt -q --json > c.json
    [ "$(json c.json flags)" = "\"$(flags_of said)\"" ]
}

@test "the options that go with a file of ermongroup's form open it" {
    "$TOOL" images 6 8 8 3
    style="--embedding ho --norm_eps 1e-6 --down_padding asymmetric --use_scale_shift_norm false --beta_end 0.03 --sigma_small true --schedule_width f32"
    "$DDPM" train images -q -o run $style --num_channels 64 --num_res_blocks 1 --channel_mult 1,2 --num_heads 1 --attention_resolutions 4 --steps 1 --batch_size 2 --sample_interval 0
    "$DDPM" convert run x.ckpt 2> said
    "$DDPM" info x.ckpt $(flags_of said) --json > a.json
    "$DDPM" info run --json > b.json
    [ "$(json a.json options.beta_end)" = "$(json b.json model.options.beta_end)" ]
    [ "$(json a.json variance)" = '"small"' ]
    "$DDPM" sample x.ckpt $(flags_of said) --steps 2 -n 1 -q --precision f32 --compat none -o a.npz
    "$DDPM" sample run --steps 2 -n 1 -q --precision f32 -o b.npz
    cmp a.npz b.npz
}

@test "a folder is not called like a file" {
    for name in m.onnx m.bin; do fails_with 2 ".safetensors, .pt or .pth" "$DDPM" convert "$GOLDEN/resnet" $name; done
    fails_with 2 "would be a folder" "$DDPM" convert "$GOLDEN/resnet" mm.safetensors --format diffusers
    [ -z "$(ls)" ]
    "$DDPM" convert "$GOLDEN/resnet" v1.25 -q
    "$DDPM" convert "$GOLDEN/resnet" m.ema -q --format folder
    [ -d v1.25 ] && [ -d m.ema ]
}

@test "info says what a file shows that does not say how it was trained" {
    run -0 "$DDPM" info "$PT/iddpm_model000000.pt"
    [[ $output == *"U-Net from 3 to "*"weights"*"unknown"*"give --image_size --diffusion_steps --noise_schedule"* ]]
    "$DDPM" info "$PT/iddpm_model000000.pt" --json > a.json
    "$DDPM" info "$PT/iddpm_model000000.pt" $GIVEN --json > b.json
    [ "$(json a.json parameters)" = "$(json b.json parameters)" ]
    fails_with 2 "contradicts the file" "$DDPM" info "$PT/iddpm_model000000.pt" $GIVEN --num_channels 7
}

@test "a list that is no runner's says what it is" {
    magic='\200\002\212\012\154\374\234\106\371\040\152\250\120\031.'
    printf "$magic"'\200\002M\351\003.\200\002}X\015\000\000\000little_endian\210s.\200\002](K\001K\002e.\200\002].' > list.pt
    fails_with 65 "its list begins with an integer" "$DDPM" info list.pt $GIVEN
}

@test "ermongroup's configuration opens its checkpoint, and what it says of training is left out" {
    printf 'data: { image_size: 8 }\nmodel: { ch: 32, ch_mult: [1], num_res_blocks: 1, attn_resolutions: [8] }\ndiffusion: { beta_schedule: linear, beta_start: 0.0001, beta_end: 0.02, num_diffusion_timesteps: 1000 }\n' > c.yml
    printf 'training: { batch_size: 128, n_iters: 5000000 }\n' >> c.yml
    sed 's/ch: 32/ch: 8/' c.yml > small.yml
    "$DDPM" sample "$PT/ddim_ckpt.pth" --config small.yml --norm_groups 4 --steps 3 -n 2 -q --precision f32 -o a.npz
    "$DDPM" sample "$PT/ddim_ckpt.pth" --image_size 8 --diffusion_steps 1000 --noise_schedule linear --norm_groups 4 --steps 3 -n 2 -q --precision f32 -o b.npz
    cmp a.npz b.npz
    "$DDPM" sample "$PT/ddim_ckpt.pth" --config small.yml --norm_groups 4 -n 1 -q --json -o a.png > a.json
    [ "$(json a.json steps)" -le 1000 ]
    "$DDPM" info "$PT/ddim_ckpt.pth" --config small.yml --norm_groups 4 | grep -q "T = 1000"
    fails_with 2 "contradicts the file" "$DDPM" info "$PT/ddim_ckpt.pth" --config c.yml --norm_groups 4
}
