setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 12 8 8 3
    train -q -o "$BATS_FILE_TMPDIR/plain" --steps 2
    for profile in ho openai ermongroup diffusers; do
        train -q -o "$BATS_FILE_TMPDIR/$profile" --steps 2 --compat $profile --diffusion_steps 200 --save_interval 2
    done
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    TMP=$BATS_FILE_TMPDIR
}

draw() { "$DDPM" sample "$@" -n 2 --precision f32 --max_isa generic -o a.png --json >a.json 2>messages; }
steps() { json a.json steps; }
how() { "$DDPM" info a.png --json >png.json; json png.json sampler; }

@test "a model remembers the profile it was made with" {
    for row in "ho 200 ddpm rederive truncated" "openai 200 ddpm rederive truncated" "ermongroup 50 ddim none rounded" "diffusers 200 ddpm x0 half"; do
        set -- $row
        "$DDPM" info "$TMP/$1" --json >info.json
        [ "$(json info.json model.profile)" = "\"$1\"" ]
        draw "$TMP/$1"
        [ "$(steps)" -eq $2 ]
        [[ $(how) == *"$3, $2 steps"*"clip $4"*"$5"*"profile $1"* ]]
    done
    draw "$TMP/plain"
    [[ $(how) == *"ddim, 50 steps"*"clip rederive"*"rounded\"" ]]
}

@test "the profile of a new model decides what is not given" {
    for row in "ho f64 none borrow false" "openai f64 openai borrow true" "ermongroup f32 none floor false" "diffusers f32_torch none floor false"; do
        set -- $row
        cfg="$TMP/$1/config.json"
        [ "$(json $cfg values.schedule_width)" = "\"$2\"" ]
        [ "$(json $cfg values.beta_scaling)" = "\"$3\"" ]
        [ "$(json $cfg values.posterior_floor)" = "\"$4\"" ]
        [ "$(json $cfg values.rescale_timesteps)" = "$5" ]
    done
    train -q -o r --steps 1 --compat diffusers --schedule_width f64
    [ "$(json r/config.json values.schedule_width)" = '"f64"' ]
    train -q -o r --steps 2 --compat diffusers           # and the run goes on
}

@test "asked for, it wins over the model's; options win over it" {
    draw "$TMP/ho" --compat none
    [[ $(how) == *"ddim, 50 steps"*"rounded\"" ]]
    draw "$TMP/plain" --compat openai --steps 30
    [[ $(how) == *"ddpm, 30 steps"*"truncated, profile openai"* ]]
    draw "$TMP/plain" --compat openai --use_ddim true --steps 50 --quantize even --clip none
    [[ $(how) == *"ddim, 50 steps"*"clip none"*"half to even"* ]]
    grep -q "clipping is none as asked for, not openai's rederive; rounding is even as asked for, not openai's truncate" messages
    draw "$TMP/diffusers" --sampler dpm++2m --steps 5
    grep -q "diffusers has no sampler dpm++2m" messages
    if grep -q ignored messages; then false; fi
}

@test "the original lists, their lengths and their errors" {
    draw "$TMP/plain" --compat ermongroup --steps 30
    [ "$(steps)" -eq 31 ]
    grep -q "ermongroup's uniform list for 30 steps has 31" messages
    draw "$TMP/plain" --steps 30
    [ "$(steps)" -eq 30 ]
    fails_with 2 "ddim60" "$DDPM" sample "$TMP/plain" --compat openai --sampler ddim --steps 60 -o b.png
    fails_with 2 "one step" "$DDPM" sample "$TMP/plain" --compat openai --steps 1 -o b.png
    [ ! -e b.png ]
}

@test "the larger noise of DDIM" {
    draw "$TMP/plain" --steps 10 --eta 1
    cp a.png one.png
    draw "$TMP/plain" --steps 10 --eta 1 --sigma_hat
    differ a.png one.png
    fails_with 2 "--eta 1" "$DDPM" sample "$TMP/plain" --sigma_hat -o b.png
    fails_with 2 "--sampler ddim" "$DDPM" sample "$TMP/plain" --sampler ddpm --sigma_hat -o b.png
}

@test "what a scheduler's file says is kept, there and back" {
    cp -r "$BATS_TEST_DIRNAME/../golden/06_unet/df_cifar" given
    sed -i -e 's/DDPMScheduler/DDIMScheduler/' -e 's/"clip_sample": true/"clip_sample": false/' -e 's/"steps_offset": 0/"steps_offset": 1/' \
        -e 's/"timestep_spacing": "leading"/"timestep_spacing": "linspace", "set_alpha_to_one": false/' given/scheduler/scheduler_config.json
    "$DDPM" convert given once -q
    rm once/ddpm.json
    "$DDPM" convert once twice -q
    for key in _class_name clip_sample steps_offset timestep_spacing set_alpha_to_one num_train_timesteps; do
        want=$(json given/scheduler/scheduler_config.json $key)
        [ "$(json once/scheduler/scheduler_config.json $key)" = "$want" ]
        [ "$(json twice/scheduler/scheduler_config.json $key)" = "$want" ]
    done
    grep -q DDIMPipeline twice/model_index.json
    draw twice --steps 4
    [[ $(how) == *"ddim, 4 steps"*"clip none"* ]]
    sed -i 's/"thresholding": *false/"thresholding": true/' once/scheduler/scheduler_config.json
    fails_with 65 "quantile" "$DDPM" sample once -o b.png
}

@test "a run from before its preset had a profile goes on without one" {
    train -q -o r --steps 1 --preset ddpm-cifar10 --image_size 8
    [ "$(json r/config.json values.compat)" = '"ho"' ]
    sed -i '/"compat"/d' r/config.json
    train -q -o r --steps 2 --preset ddpm-cifar10 --image_size 8
    [ "$(json "$(checkpoint r 2)/ddpm.json" values.compat)" = '"none"' ]
}

@test "files of the code bases have their profiles" {
    pt=$BATS_TEST_DIRNAME/../golden/06_unet/pt
    "$DDPM" info "$pt/iddpm_model000000.pt" --image_size 8 --num_heads 1 --diffusion_steps 100 --noise_schedule linear --json >info.json
    [ "$(json info.json profile)" = '"openai"' ]
    "$DDPM" info "$pt/ddim_ckpt.pth" --image_size 8 --norm_groups 4 --diffusion_steps 1000 --noise_schedule linear --json >info.json
    [ "$(json info.json profile)" = '"ermongroup"' ]
    "$DDPM" sample "$pt/iddpm_model000000.pt" --image_size 8 --num_heads 1 --diffusion_steps 100 --noise_schedule linear -n 1 --compat diffusers --steps 5 -q -o a.png
}

@test "a schedule that ends in pure noise" {
    fails_with 2 "--prediction v or x0" train -o bad --steps 1 --rescale_betas_zero_snr
    for what in v x0; do
        train -q -o $what --steps 2 --rescale_betas_zero_snr --prediction $what --sample_interval 1 --compat diffusers
        [ -s $what/samples/step-00000002.png ]
        draw $what --sampler ddim --steps 5 --spacing trailing
        draw $what --sampler ddpm --steps 5
        "$DDPM" convert $what folder-$what -q
        [ "$(json folder-$what/scheduler/scheduler_config.json rescale_betas_zero_snr)" = true ]
        rm folder-$what/ddpm.json
        "$DDPM" info folder-$what --json >info.json
        [ "$(json info.json options.rescale_betas_zero_snr)" = '"true"' ]
    done
}

@test "combinations without meaning are refused before anything is trained" {
    for row in "mse_sum|--loss mse_sum --learn_sigma" "min_snr|--min_snr_gamma 5 --use_kl --learn_sigma" "min-SNR|--min_snr_gamma 5 --prediction previous" \
               "alpha-bar is 0|--noise_schedule jsd" "without signal|--noise_schedule jsd --prediction v --rescale_betas_zero_snr"; do
        fails_with 2 "${row%%|*}" train -o r --steps 1 ${row#*|}
        fails_with 2 "${row%%|*}" "$DDPM" plan train "$TMP/images" $NET ${row#*|}
        [ ! -e r/config.json ]
    done
    train -q -o r --steps 2 --min_snr_gamma 0.01
    train -q -o plain --steps 2
    differ "$(checkpoint r 2)/unet/diffusion_pytorch_model.safetensors" "$(checkpoint plain 2)/unet/diffusion_pytorch_model.safetensors"
    train -q -o lsm --steps 2 --min_snr_gamma 5 --schedule_sampler loss-second-moment --learn_sigma --prediction v
}
