# improved-diffusion's command lines with its flags' names and Python's booleans, in small: an image model, and an
# up-sampler from training to samples.

setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 24 16 16 3
    "$TOOL" "$BATS_FILE_TMPDIR/labelled" 24 16 16 3 3
    "$TOOL" "$BATS_FILE_TMPDIR/small" 5 8 8 3
    "$TOOL" "$BATS_FILE_TMPDIR/small_labelled" 6 8 8 3 3
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    IN=$BATS_FILE_TMPDIR
    TINY="--num_channels 8 --num_res_blocks 1 --num_heads 2 --channel_mult 1,2 --norm_groups 4 --precision f32 --max_isa generic"
    MODEL_FLAGS="--image_size 16 --learn_sigma True --dropout 0.3 --use_checkpoint True --num_heads_upsample -1 --attention_resolutions 16,8"
    SR_FLAGS="--large_size 16 --small_size 8 --learn_sigma True --num_heads_upsample -1 --attention_resolutions 8"
    DIFFUSION_FLAGS="--diffusion_steps 40 --noise_schedule linear --rescale_learned_sigmas False --rescale_timesteps False"
    TRAIN_FLAGS="--lr 3e-4 --batch_size 6 --fp16_scale_growth 1e-3 --log_interval 2 --save_interval 3 --microbatch 3 --weight_decay 0.0 --ema_rate 0.9999,0.9"
}

up() { "$DDPM" sample up -q $TINY $SR_FLAGS $DIFFUSION_FLAGS --timestep_respacing 4 "$@"; }

train_up() { OPENAI_LOGDIR=up "$DDPM" train -q --data_dir "$IN/images" $TINY $SR_FLAGS $DIFFUSION_FLAGS $TRAIN_FLAGS --sample_interval 2 "$@"; }

@test "image_train, image_sample, image_nll" {
    export OPENAI_LOGDIR=log
    "$DDPM" train -q --data_dir "$IN/images" $TINY $MODEL_FLAGS $DIFFUSION_FLAGS $TRAIN_FLAGS --use_kl True --schedule_sampler loss-second-moment --lr_anneal_steps 4
    [ -d log/checkpoints/step-00000004 ]
    "$DDPM" sample --json --model_path log $TINY $MODEL_FLAGS $DIFFUSION_FLAGS --num_samples 3 --batch_size 2 --timestep_respacing 5 --clip_denoised True > doc
    [ "$(json doc images)" = 3 ] && [ "$(json doc steps)" = 5 ] && [ -s log/samples.npz ]
    "$DDPM" sample --json --model_path log $TINY $MODEL_FLAGS $DIFFUSION_FLAGS --num_samples 3 --timestep_respacing ddim5 --use_ddim True > doc
    [ "$(json doc steps)" = 5 ]
    "$DDPM" nll --json --model_path log --data_dir "$IN/images" $TINY $MODEL_FLAGS $DIFFUSION_FLAGS --num_samples 2 --batch_size 2 > doc
    [ "$(json doc terms)" = 40 ]
}

@test "training on a shortened chain and unknown flags are refused with what to do" {
    fails_with 2 "--diffusion_steps" "$DDPM" train -q "$IN/images" -o run $TINY --timestep_respacing 10
    fails_with 2 "did you mean --rescale_learned_sigmas?" "$DDPM" train "$IN/images" -o run --rescale_learned_sigma False
    [ ! -e run/config.json ]
}

@test "super_res_train, super_res_sample" {
    train_up --val 4 --val_interval 2 --lr_anneal_steps 4
    [ "$(ls up/samples | wc -l)" -ge 2 ]
    grep -q val_loss up/log.jsonl
    "$DDPM" info up | grep -q "up-sampler of 8x8 images"
    up --base_samples "$IN/small" -o a.npz
    "$DDPM" sample up -q --json $TINY $SR_FLAGS --base_samples "$IN/small" --timestep_respacing 4 -o b/ > doc
    [ "$(json doc images)" = 5 ] && [ "$(ls b | wc -l)" = 5 ]
    up --base_samples "$IN/small" -o few/ --num_samples 7 --batch_size 3           # in turn, as theirs
    cmp few/000003.png b/000003.png
    differ few/000006.png b/000001.png                                             # the same small image, other noise
}

@test "a result depends on its small image, not on the batch" {
    train_up --lr_anneal_steps 3
    up --base_samples "$IN/small" -o a/ --batch_size 4 --threads 2
    up --base_samples "$IN/small" -o one.png --index 3 --threads 1
    cmp a/000003.png one.png
    mkdir -p other/small && cp "$IN"/small/*.png other/small/ && cp "$IN/small/00000.png" other/small/00003.png
    up --base_samples other/small -o b/
    cmp a/000002.png b/000002.png
    differ a/000003.png b/000003.png
}

@test "a run that goes on equals one that was never stopped" {
    train_up --lr_anneal_steps 0 --steps 4
    mv up whole
    train_up --steps 2
    train_up --steps 4
    cmp "$(checkpoint up 4)/training_state.safetensors" "$(checkpoint whole 4)/training_state.safetensors"
    fails_with 2 "small_size (8 there, 4 asked)" train_up --steps 6 --small_size 4
}

@test "an .npz of samples is enlarged, with its classes" {
    "$DDPM" train -q "$IN/small_labelled" $TINY --class_cond True --attention_resolutions 8 --diffusion_steps 40 --batch_size 4 --sample_interval 0 --steps 1 -o base
    "$DDPM" sample base -q --steps 4 -n 6 -o base.npz
    OPENAI_LOGDIR=up "$DDPM" train -q --data_dir "$IN/labelled" $TINY $SR_FLAGS --class_cond True $DIFFUSION_FLAGS $TRAIN_FLAGS --label_dropout 0.2 --sample_interval 0 --lr_anneal_steps 2
    up --base_samples base.npz -o a/
    up --base_samples base.npz -o one/ --class 1
    up --base_samples "$IN/small" -o c/ --class 1
    for i in 1 4; do cmp a/00000$i.png one/00000$i.png; done                       # classes 0 1 2 0 1 2
    differ a/000000.png one/000000.png
    up --base_samples base.npz -o guided.npz --guidance 3
    [ -s guided.npz ]
    up --base_samples "$IN/small" -o without/                                      # no labels: the null class
    up --base_samples "$IN/small" -o none/ --class none
    for i in 0 1 2; do cmp without/00000$i.png none/00000$i.png; done
    differ without/000001.png c/000001.png
}

@test "bits per dimension given the small image" {
    train_up --lr_anneal_steps 3
    "$DDPM" nll up "$IN/images" -q --json -n 4 --batch 4 > a
    "$DDPM" nll up "$IN/images" -q --json -n 4 --batch 3 --threads 1 > b
    [ "$(json a bits_per_dim)" = "$(json b bits_per_dim)" ]
    [ "$(json a terms)" = 40 ]
}

@test "what is missing or does not fit" {
    train_up --lr_anneal_steps 2
    "$DDPM" train -q "$IN/small" $TINY --attention_resolutions 8 --sample_interval 0 --steps 1 --batch_size 4 -o plain
    fails_with 2 "--base_samples" "$DDPM" sample up -o a.npz
    fails_with 2 "no up-sampler" "$DDPM" sample plain --base_samples "$IN/small" -o a.npz
    fails_with 2 "--fit" up --base_samples "$IN/images" -o a.npz
    fails_with 2 "small_size" "$DDPM" train "$IN/images" $TINY --large_size 16 -o run
    fails_with 2 "smaller" "$DDPM" train "$IN/images" $TINY --small_size 16 -o run
    "$DDPM" sample plain -q -n 2 --steps 2 -o base.npz
    up --base_samples base.npz -o a.npz
    "$DDPM" sample up -q --steps 2 --base_samples "$IN/images" --fit -n 3 -o fitted.npz
    up --base_samples "$IN/images" --fit -n 3 -o b.npz
    fails_with 2 "enlarges 8x8x3" up --base_samples b.npz -o c.npz
}

@test "improved-diffusion's own checkpoint of an up-sampler" {
    PT=$BATS_TEST_DIRNAME/../golden_upsampler/conditional.pt
    GIVEN="--norm_groups 2 --num_heads 2 --diffusion_steps 100 --noise_schedule linear --large_size 16"
    fails_with 2 "give --small_size" "$DDPM" sample "$PT" $GIVEN --base_samples "$IN/small_labelled" -o a.npz
    "$DDPM" sample --model_path "$PT" -q $GIVEN --small_size 8 --class_cond True --learn_sigma True --base_samples "$IN/small_labelled" --timestep_respacing 4 -o a.npz
    [ -s a.npz ]
}
