# `ddpm sample --classifier`: images towards a class.
JUDGE="--classifier_width 8 --norm_groups 4 --classifier_depth 1 --channel_mult 1,2 --classifier_attention_resolutions 4 --num_head_channels 8 \
--batch_size 6 --leaves 3 --ema_rate 0.9 --precision f32 --max_isa generic"

setup_file() {
    load common
    local tmp=$BATS_FILE_TMPDIR
    "$TOOL" "$tmp/images" 24 8 8 3 3
    "$TOOL" "$tmp/plain" 12 8 8 3
    "$DDPM" train "$tmp/plain" $NET -q -o "$tmp/model" --steps 4
    train -q -o "$tmp/classes" --steps 25 --lr 1e-2 --ema_rate 0.5 --class_cond true --label_dropout 0.3
    classify -q -o "$tmp/judge" --steps 30 --lr 3e-3
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    MODEL=$BATS_FILE_TMPDIR/model CLASSES=$BATS_FILE_TMPDIR/classes CLASSIFIER=$BATS_FILE_TMPDIR/judge
}

classify() { "$DDPM" classifier train "$BATS_FILE_TMPDIR/images" $JUDGE "$@"; }

draw() { "$DDPM" sample "$@" -q --steps 5 --precision f32 --max_isa generic; }

guided() { draw "$1" --classifier "$CLASSIFIER" "${@:2}"; }

same_images() { cmp <("$TOOL" --array "$1" arr_0) <("$TOOL" --array "$2" arr_0); }

labels() { "$TOOL" --array "$1" arr_1 | od -An -v -w8 -td8 | tr -d ' ' | paste -sd, ; }

@test "scale 0 changes nothing, other scales do, with every kind of sampler" {
    for how in "--sampler ddim" "--sampler ddpm" "--sampler dpm++2m" "--sampler ddim --eta 0.5"; do
        draw "$MODEL" -n 3 -o free.npz $how
        guided "$MODEL" -n 3 -o none.npz $how --classifier_scale 0 --class 1
        guided "$MODEL" -n 3 -o one.npz $how --class 1
        guided "$MODEL" -n 3 -o same.npz $how --class 1 --classifier_scale 1
        guided "$MODEL" -n 3 -o ten.npz $how --class 1 --classifier_scale 10
        guided "$MODEL" -n 3 -o two.npz $how --class 2 --classifier_scale 10
        same_images free.npz none.npz
        cmp one.npz same.npz
        if same_images free.npz one.npz || same_images one.npz ten.npz || same_images ten.npz two.npz; then return 1; fi
    done
}

@test "the same images on any number of threads and in any batches" {
    for model in "$MODEL" "$CLASSES"; do
        guided "$model" -n 7 -o a.npz --classifier_scale 5 --threads 1 --batch 7
        guided "$model" -n 7 -o b.npz --classifier_scale 5 --threads 3 --batch 3
        cmp a.npz b.npz
    done
    guided "$MODEL" --index 6 -o c.png --classifier_scale 5
    guided "$MODEL" -n 7 -o d/ --classifier_scale 5
    cmp c.png d/000006.png
}

@test "labels are random unless said otherwise, also of a model without classes" {
    guided "$MODEL" -n 12 -o a.npz
    guided "$MODEL" -n 12 -o b.npz --class random
    cmp a.npz b.npz
    [ "$(labels a.npz | tr , '\n' | sort -u | paste -sd,)" = 0,1,2 ]
    [ "$(labels a.npz)" != 0,1,2,0,1,2,0,1,2,0,1,2 ]
    guided "$MODEL" -n 6 -o c.npz --class all
    [ "$(labels c.npz)" = 0,1,2,0,1,2 ]
    guided "$MODEL" -n 2 -o d.npz --class 2
    [ "$(labels d.npz)" = 2,2 ]
    guided "$CLASSES" -n 12 -o e.npz
    [ "$(labels e.npz)" = "$(labels a.npz)" ]
}

@test "with classifier-free guidance both act, and at guidance 0 the classifier alone" {
    guided "$CLASSES" -n 3 -o both.npz --class 1 --guidance 2
    guided "$CLASSES" -n 3 -o one.npz --class 1
    draw "$CLASSES" -n 3 -o free.npz --class 1 --guidance 2
    if same_images both.npz one.npz || same_images both.npz free.npz; then return 1; fi
    draw "$CLASSES" -n 3 -o none.npz --class none
    guided "$CLASSES" -n 3 -o zero.npz --class 1 --guidance 0 --classifier_scale 0
    same_images none.npz zero.npz
}

@test "what was drawn says which classifier led it, and how often it was asked" {
    guided "$MODEL" -n 5 -o a.png --classifier_scale 2.5 --batch 2 --json >a.json
    [ "$(json a.json network_calls)" = 15 ]
    [ "$(json a.json classifier_calls)" = 15 ]
    [ "$(json a.json classifier_scale)" = 2.5 ]
    local print=$(json a.json classifier_fingerprint | tr -d '"')
    [[ $print =~ ^[0-9a-f]{8}$ ]]
    grep -qa "classifier.$print, scale 2.5" a.png
    grep -qa "class.random" a.png
    draw "$MODEL" -o b.png -n 1 --json >b.json
    fails_with 1 "" json b.json classifier_calls
    if grep -qa classifier b.png; then return 1; fi
    "$DDPM" sample "$MODEL" --classifier "$CLASSIFIER" --steps 2 -n 1 -o c.png 2>&1 | grep -q "towards the classes of the classifier"
}

@test "chains that start from images or fill them in are led too" {
    guided "$MODEL" -n 2 -o a.npz --start_image "$BATS_FILE_TMPDIR/plain" --start_step 600 --sampler ddpm --classifier_scale 20 --class 0
    draw "$MODEL" -n 2 -o b.npz --start_image "$BATS_FILE_TMPDIR/plain" --start_step 600 --sampler ddpm
    "$TOOL" --mask mask.png 8 8 4
    guided "$MODEL" -n 2 -o c.npz --inpaint "$BATS_FILE_TMPDIR/plain" --mask mask.png --classifier_scale 20 --class 0
    draw "$MODEL" -n 2 -o d.npz --inpaint "$BATS_FILE_TMPDIR/plain" --mask mask.png
    if same_images a.npz b.npz || same_images c.npz d.npz; then return 1; fi
}

@test "a classifier that does not fit is refused before anything is drawn" {
    classify -q -o cosine --steps 1 --noise_schedule cosine
    classify -q -o short --steps 1 --diffusion_steps 100
    classify -q -o clean --steps 1 --noised false
    "$TOOL" large 6 16 16 3 3
    "$DDPM" classifier train large $JUDGE -q -o wide --steps 1
    "$TOOL" two 6 8 8 3 2
    "$DDPM" classifier train two $JUDGE -q -o two_classes --steps 1
    fails_with 2 "schedule cosine" draw "$MODEL" -o x.png --classifier cosine
    fails_with 2 "T = 100" draw "$MODEL" -o x.png --classifier short
    fails_with 2 "--noised false" draw "$MODEL" -o x.png --classifier clean
    fails_with 2 "images of 16x16 with 3 channels" draw "$MODEL" -o x.png --classifier wide
    fails_with 2 "tells 2 classes apart" draw "$CLASSES" -o x.png --classifier two_classes
    draw "$MODEL" -o two.png -n 1 --classifier two_classes
    fails_with 2 "is no classifier" draw "$MODEL" -o x.png --classifier "$CLASSES"
    fails_with 2 "no model" draw "$MODEL" -o x.png --classifier nowhere/
    [ ! -e x.png ]
}

@test "options that contradict it" {
    fails_with 2 "Give --classifier" draw "$MODEL" -o x.png --classifier_scale 3
    fails_with 2 "--guidance 0" guided "$CLASSES" -o x.png --class none
    fails_with 2 "classes 0 to 2" guided "$MODEL" -o x.png --class 3
    fails_with 2 "--clip x0" guided "$MODEL" -o x.png --clip x0
    guided "$MODEL" -n 1 -o a.npz --clip x0 --sampler ddpm
    guided "$MODEL" -n 1 -o b.npz --clip rederive --sampler ddpm
    cmp a.npz b.npz
    fails_with 2 "--classifier is an option of sample" "$DDPM" progressive "$MODEL" "$BATS_FILE_TMPDIR/plain" -o x --classifier "$CLASSIFIER"
    fails_with 2 "classifier" draw "$CLASSIFIER" -o x.png
    [ ! -e x.png ]
}

@test "plan counts the classifier" {
    "$DDPM" plan sample "$MODEL" -n 6 --steps 3 --json >a.json
    "$DDPM" plan sample "$MODEL" -n 6 --steps 3 --json --classifier "$CLASSIFIER" >b.json
    [ "$(json b.json memory.classifier)" -gt 100000 ]
    [ "$(json b.json memory_bytes)" -gt "$(json a.json memory_bytes)" ]
    fails_with 1 "" json a.json memory.classifier
    fails_with 2 "is no classifier" "$DDPM" plan sample "$MODEL" --classifier "$CLASSES"
}
