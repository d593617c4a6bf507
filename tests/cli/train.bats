setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 24 8 8 3
    train -q -o "$BATS_FILE_TMPDIR/twelve" --steps 12 --flip true --dropout 0.1
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    IMAGES=$BATS_FILE_TMPDIR/images TWELVE=$BATS_FILE_TMPDIR/twelve
}

same_state() { cmp "$(checkpoint "$1" $3)/training_state.safetensors" "$(checkpoint "$2" $3)/training_state.safetensors"; }
same_weights() { cmp "$(checkpoint "$1" $3)/unet/diffusion_pytorch_model.safetensors" "$(checkpoint "$2" $3)/unet/diffusion_pytorch_model.safetensors"; }

@test "a resumed run equals one that was never stopped" {
    train -q -o r --flip true --dropout 0.1 --steps 5
    train -q -o r --flip true --dropout 0.1 --steps 12
    same_weights r "$TWELVE" 12
    same_state r "$TWELVE" 12
}

@test "bits depend neither on threads nor on the micro-batch" {
    for how in "--threads 1" "--threads 2" "--microbatch 1" "--microbatch 3" "--microbatch -1"; do
        rm -rf r
        train -q -o r --flip true --dropout 0.1 --steps 12 $how
        same_weights r "$TWELVE" 12
    done
}

@test "what backward computes again may change from run to run and changes no bit" {
    train -q -o r --flip true --dropout 0.1 --steps 4 --checkpoint_activations cheap
    train -q -o r --flip true --dropout 0.1 --steps 8 --use_checkpoint
    [ "$(json r/config.json values.checkpoint_activations)" = '"cheap"' ]
    train -q -o r --flip true --dropout 0.1 --steps 12 --checkpoint_activations none
    same_weights r "$TWELVE" 12
    same_state r "$TWELVE" 12
    fails_with 2 "checkpoint_activations blocks" train -o s --steps 1 --use_checkpoint --checkpoint_activations cheap
}

@test "the run folder holds what it should, and the log is one object a line" {
    train -q -o r --steps 20 --save_interval 10 --log_interval 5 --sample_interval 10
    [ -s r/config.json ]
    [ -s r/progress.csv ]
    [ -s r/samples/step-00000010.png ]
    [ "$(wc -l <r/log.jsonl)" -eq 4 ]
    while read -r line; do
        echo "$line" >line.json
        json line.json loss
    done <r/log.jsonl
    [ -d "$(checkpoint r 10)" ]
    [ -d "$(checkpoint r 20)" ]
    [ "$(json r/config.json origins.batch_size)" = '"command line"' ]
    [[ $(json r/config.json command) == *"--steps 20"* ]]
}

@test "only the newest checkpoints are kept" {
    train -q -o r --steps 10 --save_interval 2 --keep 2
    [ "$(ls r/checkpoints)" = "$(printf 'step-000000%02d\n' 8 10)" ]
}

@test "other settings than the run's are refused" {
    cp -r "$TWELVE" r
    fails_with 2 "lr" train -o r --flip true --dropout 0.1 --steps 13 --lr 0.5
    fails_with 2 "fresh" train -o r --fresh --steps 13
}

@test "interrupted by a signal, saved, and gone on" {
    for pair in "INT 130" "TERM 143" "USR1 75"; do
        set -- $pair
        rm -rf r
        "$DDPM" train "$IMAGES" $NET -q -o r --steps 100000 --save_interval 100000 --log_interval 1 3>&- &
        pid=$!
        wait_for test -s r/log.jsonl
        kill -$1 $pid
        status=0
        wait $pid || status=$?
        echo "$1: $status"
        [ "$status" -eq $2 ]
        [ "$(ls r/checkpoints | wc -l)" -eq 1 ]
        step=$((10#$(ls r/checkpoints | tr -dc 0-9)))
        train -o r --steps $((step + 2)) --save_interval 100000 --log_interval 1 2>messages
        grep -q "going on from" messages
        [ -d "$(checkpoint r $((step + 2)))" ]
    done
}

@test "a second interrupt leaves at once" {
    # Steps of seconds: the first interrupt would have to wait.
    "$DDPM" train "$IMAGES" $NET -q -o r --num_channels 128 --norm_groups 32 --batch_size 96 --leaves 1 --steps 9 2>messages 3>&- &
    pid=$!
    wait_for test -e r/config.json
    sleep 0.5
    kill -INT $pid
    wait_for grep -q "again to leave" messages
    kill -INT $pid
    status=0
    wait $pid || status=$?
    [ "$status" -eq 130 ]
    [ ! -d r/checkpoints ]
}

@test "SIGUSR2 saves and goes on" {
    "$DDPM" train "$IMAGES" $NET -q -o r --steps 100000 --save_interval 100000 --log_interval 1 3>&- &
    pid=$!
    wait_for test -s r/log.jsonl
    kill -USR2 $pid
    wait_for test -d r/checkpoints
    kill -0 $pid
    kill -INT $pid
    wait $pid || [ $? -eq 130 ]
    [ "$(ls r/checkpoints | wc -l)" -eq 2 ]
}

@test "a run folder in use is refused with its owner" {
    "$DDPM" train "$IMAGES" $NET -q -o r --steps 100000 --save_interval 100000 --log_interval 1 3>&- &
    pid=$!
    wait_for test -s r/log.jsonl
    run train -o r --steps 5
    kill -INT $pid
    wait $pid || true
    [ "$status" -eq 75 ]
    [[ $output == *"$pid"* ]]
}

@test "--hours stops with the state saved" {
    run train -q -o r --steps 1000000000 --hours 0.0001
    [ "$status" -eq 75 ]
    [ "$(ls r/checkpoints | wc -l)" -eq 1 ]
}

@test "a run that diverges drops steps, gives up and names the last good checkpoint" {
    # A decay of lr times 1000 lets the weights grow without bound once the warm-up has begun.
    run train -o r --steps 200 --lr 1000 --weight_decay 1000 --lr_warmup 1000 --save_interval 1 --log_interval 1 --keep 1000
    echo "$output" | tail -5
    [ "$status" -eq 1 ]
    [ "$(grep -c "the step is dropped" <<<"$output")" -eq 10 ]
    [[ $output == *"10 steps in a row"* ]]
    named=$(grep -oE 'r/checkpoints/step-[0-9]{8}' <<<"${lines[-1]}")
    [ -d "$named" ]
    "$DDPM" info "$named"
}

@test "the command lines of improved-diffusion" {
    OPENAI_LOGDIR=$PWD/logs "$DDPM" train --data_dir "$IMAGES" --image_size 8 --num_channels 8 --norm_groups 4 --num_res_blocks 1 \
        --num_heads 1 --attention_resolutions 4 --learn_sigma True --dropout 0.3 --diffusion_steps 4000 --noise_schedule cosine \
        --lr 1e-4 --batch_size 4 --use_kl False --schedule_sampler uniform --microbatch 2 --ema_rate 0.9,0.99 --save_interval 10 \
        --log_interval 1 --use_fp16 False --use_checkpoint False --lr_anneal_steps 3 --sample_interval 0 -q
    [ -d "$(checkpoint logs 3)" ]
    "$DDPM" info logs --json >info.json
    [ "$(json info.json model.schedule)" = '"cosine, T = 4000"' ]
}

@test "values come from the preset, a file, the environment and the command line, in this order" {
    echo '{"batch_size": 5, "lr": 0.5, "num_res_blocks": 1}' >c.json
    DDPM_LR=0.25 DDPM_DROPOUT=0.2 "$DDPM" train "$IMAGES" -q -o r --preset ddpm-cifar10 --config c.json --num_channels 8 --norm_groups 4 \
        --image_size 8 --channel_mult 1 --attention_resolutions 0 --dropout 0.3 --steps 1 --sample_interval 0
    [ "$(json r/config.json values.batch_size)" = 5 ]
    [ "$(json r/config.json values.lr)" = 0.25 ]
    [ "$(json r/config.json values.dropout)" = 0.3 ]
    [ "$(json r/config.json values.grad_clip)" = 1.0 ]
    [ "$(json r/config.json origins.grad_clip)" = '"preset"' ]
    [ "$(json r/config.json origins.batch_size)" = '"configuration"' ]
    [ "$(json r/config.json origins.lr)" = '"environment"' ]
    [ "$(json r/config.json origins.dropout)" = '"command line"' ]
}

@test "a run says where its time went" {
    train -o r --steps 6 --val 4 --val_interval 2 --save_interval 3 --json >a.json 2>told
    grep -Eq '^[0-9.]+ s: start-up [0-9.]+ %, training steps [0-9.]+ %' told
    sum=$(sed -n 's/.*_share": *\([0-9.e+-]*\).*/\1/p' a.json | awk '{ s += $1; n++ } END { print n, (s > 0.999 && s < 1.001) ? "whole" : s }')
    [ "$sum" = "8 whole" ]
    [ -n "$(json a.json time.save_share)" ]
}
