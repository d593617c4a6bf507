# `ddpm classifier train`: the same run as any other, with another loss.
setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 24 8 8 3 3
    "$TOOL" "$BATS_FILE_TMPDIR/plain" 6 8 8 3
    classify -q -o "$BATS_FILE_TMPDIR/twelve" --steps 12 --dropout 0.1
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    IMAGES=$BATS_FILE_TMPDIR/images PLAIN=$BATS_FILE_TMPDIR/plain TWELVE=$BATS_FILE_TMPDIR/twelve
}

SMALL="--classifier_width 8 --norm_groups 4 --classifier_depth 1 --channel_mult 1,2 --classifier_attention_resolutions 4 --num_head_channels 8 \
--batch_size 6 --leaves 3 --precision f32 --max_isa generic"

classify() { "$DDPM" classifier train "$BATS_FILE_TMPDIR/images" $SMALL "$@"; }

same() { cmp "$(checkpoint "$1" 12)/$3" "$(checkpoint "$2" 12)/$3"; }

@test "a resumed classifier equals one that was never stopped, on any number of threads" {
    classify -q -o r --dropout 0.1 --steps 5
    classify -q -o r --dropout 0.1 --steps 12
    same r "$TWELVE" training_state.safetensors
    same r "$TWELVE" unet/diffusion_pytorch_model.safetensors
    for how in "--threads 1" "--threads 2" "--microbatch 1"; do
        rm -rf r
        classify -q -o r --dropout 0.1 --steps 12 $how
        same r "$TWELVE" unet/diffusion_pytorch_model.safetensors
    done
}

@test "guided-diffusion's words and ours make the same run" {
    "$DDPM" classifier train --data_dir "$IMAGES" -q -o r --num_channels 8 --norm_groups 4 --num_res_blocks 1 --channel_mult 1,2 --attention_resolutions 4 \
        --num_head_channels 8 --batch_size 6 --leaves 3 --precision f32 --max_isa generic --iterations 12 --dropout 0.1
    same r "$TWELVE" unet/diffusion_pytorch_model.safetensors
    [ "$(json r/config.json values.resblock_updown)" = true ]
    [ "$(json r/config.json values.lr)" = 0.0003 ]
    [ "$(json r/config.json values.classes_out)" = 3 ]
    classify -q -o s --iterations 2 --anneal_lr True --classifier_resblock_updown False
    [ "$(json s/config.json values.lr_anneal_steps)" = 2 ]
    [ "$(json s/config.json values.resblock_updown)" = false ]
    fails_with 2 "two names" classify -o t --steps 3 --iterations 4
    fails_with 2 "only adaptive" classify -o t --classifier_pool attention
    fails_with 2 "--val 0.1" classify -o t --val_data_dir x
    [ ! -e t ]
}

@test "it learns, and the log and the charts say how often it is right" {
    "$TOOL" distinct 9 12 12 3 3
    "$DDPM" classifier train distinct $SMALL -q -o r --steps 150 --lr 5e-3 --noised false --val 3 --val_interval 75 --log_interval 25 --ema_rate 0.9
    head -1 r/log.jsonl >first.json
    tail -1 r/log.jsonl >last.json
    for key in loss top1 top5 top1_quartiles loss_quartiles val_loss val_top1 val_top5 val_clean_top1; do json last.json $key; done
    [ "$(json last.json val_top1)" = "$(json last.json val_clean_top1)" ]
    [ "$(json last.json top5)" = 1.0 ]
    awk -v a="$(json first.json loss)" -v b="$(json last.json loss)" 'BEGIN { exit !(b < 0.5 * a) }'
    fails_with 1 "" json last.json mse
    [[ $(head -1 r/progress.csv) == *,top1,top5,val_top1,val_top5,val_clean_top1* ]]
    "$DDPM" plot r --json >plot.json
    [[ $(json plot.json charts) == *"Validation accuracy"* ]]
    grep -q ">top-1 accuracy<" r/curves.svg && grep -q ">top-5 accuracy<" r/curves.svg
    "$DDPM" info r --json >info.json
    [ "$(json info.json val_clean_top1)" = "$(json last.json val_clean_top1)" ]
    "$DDPM" info r | grep -q "^validation  *top-1"
    "$DDPM" classifier train distinct $SMALL -o r --steps 152 --lr 5e-3 --noised false --val 3 --val_interval 75 --log_interval 1 --ema_rate 0.9 2>messages
    grep -q "top-1 [0-9.]* %" messages
    fails_with 2 "--features RUN" "$DDPM" classifier eval r distinct
    [ ! -e r/samples ]
}

@test "its checkpoint says what it is, and who draws refuses it" {
    "$DDPM" info "$TWELVE" --json >info.json
    [[ $(json info.json model.network) == *"classifier of images 8x8x3"* ]]
    [ "$(json info.json model.classes)" = 3 ]
    [ "$(json info.json model.class_names)" = '["class0","class1","class2"]' ]
    [[ $(json info.json model.diffusers) == *"classifier"* ]]
    for command in "sample TWELVE -o x.png" "nll TWELVE IMAGES" "encode TWELVE IMAGES -o x.safetensors" "progressive TWELVE IMAGES -o x" \
                   "interpolate TWELVE seed:1 seed:2 -o x.png" "plan sample TWELVE"; do
        words=${command//TWELVE/$TWELVE}
        fails_with 2 "is a classifier of 3 classes" "$DDPM" ${words//IMAGES/$IMAGES}
        [ ! -e x ] && [ ! -e x.png ]
    done
    for out in x.pt x.ckpt; do fails_with 2 "classifier" "$DDPM" convert "$TWELVE" $out; done
    "$DDPM" convert "$TWELVE" copy -q
    "$DDPM" convert "$TWELVE" one.safetensors -q
    for copy in copy one.safetensors; do
        "$DDPM" info $copy --json >copy.json
        [ "$(json copy.json classes)" = 3 ]
    done
}

@test "what cannot be a classifier is refused before anything is written" {
    fails_with 2 "has no labels" "$DDPM" classifier train "$PLAIN" $SMALL -o r
    fails_with 2 "has no labels" classify -o r --labels none
    fails_with 2 "--class_cond" classify -o r --class_cond true
    fails_with 2 "--learn_sigma" classify -o r --learn_sigma true
    fails_with 2 "cross entropy" classify -o r --use_kl true
    fails_with 2 "raise --classes_out" classify -o r --classes_out 2
    fails_with 2 "classifier train DATA" "$DDPM" classifier
    fails_with 2 "for classifiers" train -o r --noised false
    for useless in "num_classes 3" "num_heads_upsample 2" "prediction v" "predict_xstart true" "variance small" "sigma_small true" "loss mse" "sample_interval 5"; do
        fails_with 2 "--$useless is for models that draw" classify -o r --$useless
    done
    [ ! -e r ]
    classify -q -o zero --steps 1 --rescale_betas_zero_snr true       # for models that have it; a classifier predicts nothing that it could ruin
    train -q -o other --steps 1
    fails_with 2 "classes_out (0 there, 3 asked)" "$DDPM" classifier train "$IMAGES" -o other
}

@test "its memory is planned" {
    "$DDPM" plan classifier "$IMAGES" $SMALL --json >plan.json
    "$DDPM" info "$TWELVE" --json >info.json
    [ "$(json plan.json parameters)" = "$(json info.json model.parameters)" ]
    fails_with 2 "not known" "$DDPM" plan classifier "$PLAIN" $SMALL --labels none --classes_out -1
}
