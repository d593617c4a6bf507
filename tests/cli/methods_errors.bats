# Input and options that no method takes: each is refused with a sentence that says what to change.
setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 12 8 8 3
    "$TOOL" "$BATS_FILE_TMPDIR/classes" 12 8 8 3 4
    train -q -o "$BATS_FILE_TMPDIR/run" --steps 1 --diffusion_steps 100
    "$DDPM" train "$BATS_FILE_TMPDIR/classes" $NET -q -o "$BATS_FILE_TMPDIR/classes-run" --class_cond true --steps 1
    "$DDPM" train "$BATS_FILE_TMPDIR/classes" $NET -q -o "$BATS_FILE_TMPDIR/guided-run" --class_cond true --label_dropout 0.2 --learn_sigma true --steps 1
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    IMAGES=$BATS_FILE_TMPDIR/images RUN=$BATS_FILE_TMPDIR/run CLASSES_RUN=$BATS_FILE_TMPDIR/classes-run GUIDED_RUN=$BATS_FILE_TMPDIR/guided-run
    FOREIGN=$BATS_TEST_DIRNAME/../golden/06_unet/df_cifar
}

# STATUS TEXT OPTIONS...: nothing is written
refuses() { local status=$1 text=$2; shift 2; fails_with "$status" "$text" "$DDPM" sample "$@" -n 1 -o out.png; [ ! -e out.png ]; }

train_refuses() { local text=$1; shift; fails_with 2 "$text" "$DDPM" train "$IMAGES" $NET -o new --steps 1 "$@"; [ ! -e new/config.json ]; }

# Every byte after the header of a safetensors file becomes the one given in octal.
overwrite() {
    local header=$(($(od -An -tu8 -N 8 "$1") + 8)) size=$(wc -c <"$1")
    { head -c "$header" "$1"; head -c $((size - header)) /dev/zero | tr '\0' "\\$2"; } >new-bytes
    mv new-bytes "$1"
}

# PATH BYTES: a tensor xT [1,3,8,8] of one float, four octal bytes, over and over.
latents() {
    local header='{"xT":{"dtype":"F32","shape":[1,3,8,8],"data_offsets":[0,768]}} ' i
    { printf "\\$(printf %03o ${#header})\0\0\0\0\0\0\0%s" "$header"; for i in $(seq 192); do printf "$2"; done; } >"$1"
}

@test "lists of steps that the original refuses" {
    refuses 2 "ddim37" "$RUN" --spacing openai:ddim37
    refuses 2 "ddim37" "$RUN" --timestep_respacing ddim37
    refuses 2 "60" "$RUN" --spacing openai:60,60
    refuses 2 "101" "$RUN" --spacing openai:101
    for spec in ddim ddim0 ddim-5 -5 0,0 5,,5 "5 5" abc 1.5 99999999999999999999; do refuses 2 "$spec" "$RUN" "--spacing=openai:$spec"; done
    "$DDPM" sample "$RUN" --spacing openai:10,0 -q -n 1 -o a.png        # an empty section is none
    "$DDPM" sample "$RUN" --spacing openai:10,5,3 -n 1 -o b.png --json 2>/dev/null >b.json
    [ "$(json b.json network_calls)" -eq 18 ]
}

@test "numbers of steps" {
    refuses 2 "1 to 100 steps are possible" "$RUN" --steps 101
    refuses 2 "steps" "$RUN" --steps 0
    refuses 2 "give one of them" "$RUN" --steps 5 --spacing openai:5
    refuses 2 "give one of them" "$RUN" --steps 5 --timestep_respacing ddim5
    refuses 2 "spacing" "$RUN" --spacing even
}

@test "methods and what belongs to them" {
    refuses 2 "use --sampler ddim" "$RUN" --sampler ddpm --eta 0.5
    refuses 2 "use --sampler ddim" "$RUN" --sampler heun --eta 0
    refuses 2 "use --sampler ddim" "$RUN" --timestep_respacing 5 --eta 0
    refuses 2 "give one of them" "$RUN" --sampler ddpm --use_ddim true
    refuses 2 "give one of them" "$RUN" --clip x0 --clip_denoised false
    refuses 2 "eta" "$RUN" --eta -1
    refuses 2 "eta" "$RUN" --eta nan
    refuses 2 "sampler" "$RUN" --sampler ddmi
}

@test "variances that were not learned" {
    refuses 2 "use small or large" "$RUN" --variance range
    refuses 2 "use small or large" "$RUN" --variance learned --sampler ddpm
    fails_with 2 "use small or large" "$DDPM" nll "$RUN" "$IMAGES" --variance range
    "$DDPM" sample "$GUIDED_RUN" -q --variance small --sampler ddpm --steps 2 -n 1 -o a.png
}

@test "training options that contradict each other" {
    train_refuses "give one of them" --learn_sigma true --variance large
    train_refuses "give one of them" --learn_sigma true --variance small
    train_refuses "give one of them" --sigma_small true --variance large
    train_refuses "give one of them" --use_kl true --loss mse
    train_refuses "give one of them" --use_kl true --loss mse_sum
    train_refuses "give one of them" --predict_xstart true --prediction v
    train_refuses "use rescaled_mse or a fixed variance" --learn_sigma true --loss mse_sum
    train_refuses "--class_cond" --label_dropout 0.1
    train_refuses "predicts v or x_0" --noise_schedule jsd
    train_refuses "use more steps" --noise_schedule linear --diffusion_steps 20
    "$DDPM" train "$IMAGES" $NET -q -o jsd --steps 1 --noise_schedule jsd --prediction v
}

@test "classes and guidance" {
    refuses 2 "not class-conditional" "$RUN" --class 1
    refuses 2 "not class-conditional" "$RUN" --class random
    refuses 2 "classes 0 to 3" "$CLASSES_RUN" --class 4
    refuses 2 "classes 0 to 3" "$CLASSES_RUN" --class -1
    refuses 2 "ddpm info" "$CLASSES_RUN" --class class4
    refuses 2 "train with --class_cond and --label_dropout" "$RUN" --guidance 2
    refuses 2 "without label dropout" "$CLASSES_RUN" --guidance 2
    refuses 2 "guidance" "$GUIDED_RUN" --guidance nan
    "$DDPM" sample "$GUIDED_RUN" -q --guidance 2 --steps 2 -n 1 -o a.png
}

@test "images that do not fit the model" {
    "$TOOL" big 2 10 12 3
    "$TOOL" grey 2 8 8 1
    fails_with 2 "--fit" "$DDPM" nll "$RUN" big
    fails_with 2 "8x8x3" "$DDPM" nll "$RUN" grey
    "$TOOL" more 12 8 8 3 6
    fails_with 2 "classes" "$DDPM" nll "$CLASSES_RUN" more
    fails_with 2 "labels" "$DDPM" nll "$CLASSES_RUN" "$IMAGES"
}

@test "weights that are not numbers make no images" {
    cp -r "$FOREIGN" nan
    overwrite nan/unet/diffusion_pytorch_model.safetensors 377
    refuses 65 "is not a finite number" nan --steps 3
    fails_with 65 "is not a finite number" "$DDPM" sample nan --steps 3 -n 3 -o a/
    [ -z "$(ls a 2>/dev/null)" ]
    fails_with 65 "is not a finite number" "$DDPM" nll nan "$IMAGES" --steps 5 -n 2
}

@test "images that are not numbers are not written" {
    cp -r "$FOREIGN" huge
    overwrite huge/unet/diffusion_pytorch_model.safetensors 177        # 3.4e38 everywhere
    for precision in f32 auto; do
        refuses 1 "is not a number everywhere" huge --steps 3 --precision $precision
        fails_with 1 "image 0 of seed 0 is not a number everywhere" "$DDPM" sample huge --steps 3 -n 3 -o a/ --precision $precision
        [ -z "$(ls a)" ]
        fails_with 1 "is not a number everywhere" "$DDPM" sample huge --steps 3 -n 3 -o a.npz --precision $precision
        [ ! -e a.npz ]
    done
    fails_with 1 "not a finite number" "$DDPM" nll huge "$IMAGES" --steps 5 -n 2
    for sampler in ddim ddpm dpm++2m unipc heun; do refuses 1 "is not a number everywhere" huge --sampler $sampler --steps 5; done
}

@test "latents" {
    latents good.safetensors '\0\0\200\77'
    latents nan.safetensors '\377\377\377\377'
    latents inf.safetensors '\0\0\200\177'
    "$DDPM" sample "$RUN" --xT good.safetensors -q --steps 2 -n 1 -o good.png
    refuses 65 "nan.safetensors: latent 0 is not a number everywhere" "$RUN" --xT nan.safetensors --steps 2
    refuses 65 "inf.safetensors: latent 0 is not a number everywhere" "$RUN" --xT inf.safetensors --steps 2
    fails_with 2 "good.safetensors" "$DDPM" sample "$RUN" --xT good.safetensors --steps 2 -n 2 -o out.png
    head -c 700 good.safetensors >short.safetensors
    refuses 65 "short.safetensors" "$RUN" --xT short.safetensors
    refuses 74 "gone.safetensors" "$RUN" --xT gone.safetensors
    sed 's/3,8,8/3,4,16/; s/}} $/}}/' good.safetensors >other.safetensors
    refuses 65 "other.safetensors" "$RUN" --xT other.safetensors
}
