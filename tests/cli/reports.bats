setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 24 8 8 3
    "$TOOL" "$BATS_FILE_TMPDIR/classes" 24 8 8 1 3
    train -q -o "$BATS_FILE_TMPDIR/run" --steps 3
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    IMAGES=$BATS_FILE_TMPDIR/images RUN=$BATS_FILE_TMPDIR/run
    BENCH="$(sed 's/--leaves 3//; s/--sample_interval 0//; s/--batch_size 6//' <<<"$NET") --image_size 8 --batch_size 4"
}

@test "info of a run, a checkpoint, a data set and a configuration" {
    "$DDPM" info "$RUN" --json >a.json
    [ "$(json a.json kind)" = '"run"' ]
    [ "$(json a.json model.step)" -eq 3 ]
    [ "$(json a.json last_log.step)" -eq 3 ]
    [ "$(json a.json options.batch_size)" = '"6"' ]
    "$DDPM" info "$(checkpoint "$RUN" 3)" --json >b.json
    [ "$(json a.json model.fingerprint)" = "$(json b.json fingerprint)" ]
    "$DDPM" info "$BATS_FILE_TMPDIR/classes" --json >c.json
    [ "$(json c.json images)" -eq 24 ]
    [ "$(json c.json class_names)" = '["class0","class1","class2"]' ]
    "$DDPM" info "$RUN/config.json" | grep -q 'batch_size=6'
    echo 'lr: 0.125' >a.yml
    "$DDPM" info a.yml | grep -q 'lr=0.125'
    printf 'data:\n  image_size: 16\nmodel:\n  ch: 32\ndiffusion:\n  num_diffusion_timesteps: 200\n' >b.yaml       # Song et al.'s sections
    "$DDPM" info b.yaml --json >e.json
    [ "$(json e.json options.diffusion_steps)" = '"200"' ]
    fails_with 2 "nothing" "$DDPM" info nothing
}

@test "info of the program's other outputs" {
    "$DDPM" sample "$RUN" -q -o a.npz -n 3 --steps 2
    "$DDPM" info a.npz --json >a.json
    [ "$(json a.json kind)" = '"samples"' ]
    [ "$(json a.json images)" -eq 3 ]
    [ "$(json a.json labelled)" = false ]
    [ "$(json a.json arrays.0.dtype)" = '"uint8"' ]
    [ "$(json a.json arrays.0.shape)" = '[3,8,8,3]' ]
    "$DDPM" info a.npz | grep -q 'arr_0 uint8 \[3,8,8,3\]'

    "$DDPM" sample "$RUN" -q -o a.gif -n 2 --steps 5 --seed 7
    "$DDPM" info a.gif --json >b.json
    "$DDPM" info "$RUN" --json >run.json
    [ "$(json b.json kind)" = '"film"' ]
    [ "$(json b.json frames)" -eq 5 ]
    [ "$(json b.json comment.seed)" = '"7"' ]
    [ "$(json b.json comment.model)" = "$(json run.json model.fingerprint)" ]
    "$DDPM" info a.gif | grep -Eq '^seed +7$'

    "$DDPM" encode "$RUN" "$IMAGES" -q -o a.safetensors -n 4 --steps 3 >/dev/null
    "$DDPM" info a.safetensors --json >c.json
    [ "$(json c.json kind)" = '"latents"' ]
    [ "$(json c.json images)" -eq 4 ]
    [ "$(json c.json metadata.steps)" = '"3"' ]
    [ "$(json c.json metadata.fingerprint)" = "$(json run.json model.fingerprint)" ]
    "$DDPM" info a.safetensors | grep -q 'xT F32 \[4,3,8,8\]'
    "$DDPM" info "$(checkpoint "$RUN" 3)/unet/diffusion_pytorch_model.safetensors" --json >d.json
    [ "$(json d.json kind)" = '"tensors"' ]
}

@test "info of damaged outputs" {
    "$DDPM" sample "$RUN" -q -o a.npz -n 3 --steps 2
    "$DDPM" sample "$RUN" -q -o a.gif -n 2 --steps 2
    "$DDPM" encode "$RUN" "$IMAGES" -q -o a.safetensors -n 1 --steps 2 >/dev/null
    for ending in npz gif safetensors; do
        head -c -20 a.$ending >short.$ending
        fails_with 65 "short.$ending" "$DDPM" info short.$ending
        echo nothing >other.$ending
        fails_with 65 "other.$ending" "$DDPM" info other.$ending
    done
}

@test "text of a file cannot command the terminal" {
    printf 'GIF89a\2\0\1\0\200\0\0\0\0\0\377\377\377!\376\6a: \33[m\0,\0\0\0\0\2\0\1\0\0\2\2\104\12\0;' >a.gif
    run "$DDPM" info a.gif
    [ "$status" -eq 0 ]
    [[ $output == *"?[m"* ]]
    [[ $output != *$'\e'* ]]
}

@test "plan says what the command will take" {
    "$DDPM" plan train "$IMAGES" $NET --steps 10 --json >a.json
    [ "$(json a.json parameters)" -gt 1000 ]
    [ "$(json a.json fits)" = true ]
    [ "$(json a.json memory_bytes)" -gt 1000000 ]
    size=$(du -sb "$(checkpoint "$RUN" 3)" | cut -f1) planned=$(json a.json checkpoint_bytes)
    [ $((size * 100)) -lt $((planned * 130)) ]
    "$DDPM" plan train "$IMAGES" $NET --steps 10 --use_checkpoint --json >c.json
    [ "$(json a.json checkpoint_activations)" = '"none"' ]
    [ "$(json c.json checkpoint_activations)" = '"blocks"' ]
    [ "$(json c.json memory.activations)" -eq "$(json a.json activations_by_level.blocks)" ]
    [ "$(json c.json memory.activations)" -lt "$(json a.json memory.activations)" ]
    "$DDPM" plan sample "$RUN" -n 5 --steps 3 --json >b.json
    [ "$(json b.json parameters)" -eq "$(json a.json parameters)" ]
    fails_with 2 "plan train" "$DDPM" plan dance
}

@test "plan says when the memory is not enough" {
    "$DDPM" plan train "$IMAGES" --image_size 8 --num_channels 65536 --channel_mult 1 --num_res_blocks 1 --attention_resolutions 0 --json >a.json
    [ "$(json a.json fits)" = false ]
    [ "$(json a.json seconds_per_step 2>/dev/null)" = "" ]
}

@test "bench measures" {
    "$DDPM" bench $BENCH --ops --repeats 3 -q --json -o out.json >a.json
    for key in forward_images_per_s train_images_per_s forward_ms train_ms peak_rss_bytes forward_percent_of_ceiling train_percent_of_ceiling \
               train_ms_min train_ms_max ceilings.f32_gflops ceilings.copy_gb_per_s ceilings.copies.0.gb_per_s operators.0.share_percent \
               operators.0.ceiling_percent slowest_nodes.0.name values.batch_size; do
        [ -n "$(json a.json $key)" ]
    done
    [ "$(json a.json batch_size)" -eq 4 ]
    [ "$(json a.json repeats)" -eq 3 ]
    cmp a.json out.json
    # the shares are of everything a step does
    share=$(sed -n '/"slowest_nodes"/q; s/.*"share_percent": *\([0-9.e+-]*\).*/\1/p' a.json | awk '{ s += $1 } END { print (s > 99 && s < 101) ? "whole" : s }')
    [ "$share" = whole ]
    fails_with 74 "nowhere" "$DDPM" bench $BENCH -o nowhere/a.json
}

@test "bench compares with an earlier measurement" {
    "$DDPM" bench $BENCH --ops --repeats 3 -q --json >a.json
    # of the same work, with figures that cannot become worse
    sed -E 's/("(train|forward)_percent_of_ceiling[a-z_]*"): [0-9.e+-]+/\1: 0.0001/; s/("ceiling_percent[a-z_]*"): [0-9.e+-]+/\1: 0.0001/;
            s/("(forward_)?peak_rss_bytes"): [0-9]+/\1: 100000000000/' a.json >slow.json
    "$DDPM" bench --compare slow.json -q --json >b.json
    [ "$(json b.json batch_size)" -eq 4 ]
    [ "$(json b.json repeats)" -eq 3 ]
    [ "$(json b.json comparison.worse)" -eq 0 ]
    [ -n "$(json b.json comparison.figures.0.ratio_to_ceiling)" ]
    [ -n "$(json b.json comparison.operators.0.ratio)" ]
    # and with one that must
    sed -E 's/("peak_rss_bytes"): [0-9]+/\1: 1000/' slow.json >small.json
    run -1 "$DDPM" bench --compare small.json --repeats 1 -q
    [[ $output == *"peak memory "*WORSE* ]]
    [[ $output == *"1 of the figures"* ]]
}

@test "bench refuses other work and other files" {
    "$DDPM" bench $BENCH --repeats 1 -q --json >a.json
    fails_with 2 "--batch_size 4, not 5" "$DDPM" bench --compare a.json --batch_size 5
    sed '/"train_ms_min"/d' a.json >b.json
    fails_with 65 '"train_ms_min" is missing' "$DDPM" bench --compare b.json
    sed 's/ddpm-bench-1/ddpm-plan-1/' a.json >c.json
    fails_with 65 '"schema"' "$DDPM" bench --compare c.json
    sed -E 's/("parameters"): [0-9]+/\1: 12/' a.json >d.json
    fails_with 65 '"parameters" is 12' "$DDPM" bench --compare d.json
    echo nothing >e.json
    fails_with 65 "e.json" "$DDPM" bench --compare e.json
    fails_with 74 "none.json" "$DDPM" bench --compare none.json
}

@test "doctor finds nothing wrong here" {
    run "$DDPM" doctor
    [ "$status" -eq 0 ]
    [[ $output == *"GPU"*"not in this build"* ]]
    "$DDPM" doctor --json >a.json
    [ "$(json a.json ok)" = true ]
    [ "$(json a.json tests.0.ok)" = true ]
    [[ $(json a.json bundled_models_places) == *"/share/ddpm/models"* ]]
}
