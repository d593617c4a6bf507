setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 60 8 8 3
    train -q -o "$BATS_FILE_TMPDIR/plain" --steps 12 --dropout 0.1 --log_interval 5
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    IMAGES=$BATS_FILE_TMPDIR/images PLAIN=$BATS_FILE_TMPDIR/plain
}

EVAL="--eval_every 4 --eval_samples 40 --eval_steps 3 --features pca4 --bootstrap 40"
measured() { train -o "$1" --dropout 0.1 --log_interval 5 $EVAL "${@:2}"; }

line_of() { grep "^{\"step\":$2,.*\"eval\":" "$1/log.jsonl" >line.json; }      # RUN STEP
same() { cmp "$(checkpoint "$1" $3)/$4" "$(checkpoint "$2" $3)/$4"; }

@test "an evaluation is what ddpm sample and ddpm eval say, and changes no bit of the training" {
    measured r --steps 12 --save_interval 4 2>messages
    [ "$(grep -c '"eval":' r/log.jsonl)" -eq 3 ]
    grep -q "step 8: Frechet distance" messages
    for step in 4 8; do
        "$DDPM" sample "$(checkpoint r $step)" -n 40 --steps 3 -q --max_isa generic --precision f32 -o s.npz
        "$DDPM" eval s.npz "$IMAGES" --features pca4 --bootstrap 40 -q --json >e.json
        line_of r $step
        [ "$(json line.json eval.metrics.0.key)" = '"frechet_pca4"' ]
        [ "$(json line.json eval.metrics.0.value)" = "$(json e.json frechet_pca4)" ]
        [ "$(json line.json eval.metrics.0.interval)" = "$(json e.json interval)" ]
        [ "$(json line.json eval.images)" = 40 ]
        [ "$(json line.json eval.reference_images)" = 60 ]
    done
    same r "$PLAIN" 12 unet/diffusion_pytorch_model.safetensors
    same r "$PLAIN" 12 training_state.safetensors
    [ "$(head -1 r/progress.csv | tr -d -c , | wc -c)" -eq "$(tail -1 r/progress.csv | tr -d -c , | wc -c)" ]
    "$DDPM" plot r --json >p.json
    [ "$(json p.json runs.0.frechet_pca4)" = "$(grep '"eval":' r/log.jsonl | tail -1 >l.json; json l.json eval.metrics.0.value)" ]
    grep -q ">Frechet distance" r/curves.svg
    grep -q "class='y-label'.*>in pca4, lower is better<" r/curves.svg
}

@test "a run that goes on keeps the rhythm" {
    measured whole --steps 12 -q
    measured r --steps 6 -q
    measured r --steps 12 -q
    diff <(grep '"eval":' whole/log.jsonl | sed 's/"seconds.*//') <(grep '"eval":' r/log.jsonl | sed 's/"seconds.*//')
    [ "$(json r/config.json values.eval_every)" = 4 ]
    "$DDPM" train "$IMAGES" -q -o r --steps 16                     # and its own words, when nothing is said
    line_of r 16
}

@test "other references, several metrics, classes in turn" {
    "$TOOL" other 50 8 8 3
    measured r --steps 4 -q --eval_reference other --metrics fd,pr
    line_of r 4
    [ "$(json line.json eval.reference_images)" = 50 ]
    [ "$(json line.json eval.metrics.1.key)" = '"precision"' ]
    [ "$(json line.json eval.metrics.2.key)" = '"recall"' ]
    mkdir -p two/a two/b
    cp "$IMAGES"/000[0-2]*.png two/a
    cp "$IMAGES"/000[3-5]*.png two/b
    "$DDPM" train two $NET -q -o c --labels folder --class_cond true --steps 4 $EVAL
    "$DDPM" sample c -n 40 --steps 3 -q --max_isa generic --precision f32 -o s.npz
    "$DDPM" eval s.npz two --features pca4 --bootstrap 40 -q --json >e.json
    line_of c 4
    [ "$(json line.json eval.metrics.0.value)" = "$(json e.json frechet_pca4)" ]
}

@test "images that training fits to a size are measured at that size" {
    "$TOOL" large 60 16 16 3
    "$DDPM" train large $NET -q -o r --image_size 8 --channels 1 --steps 4 $EVAL
    line_of r 4
    "$DDPM" data pack large small.ddpmdata --image_size 8 --channels 1 -q
    "$DDPM" sample r -n 40 --steps 3 -q --max_isa generic --precision f32 -o s.npz
    "$DDPM" eval s.npz small.ddpmdata --features pca4 --bootstrap 40 -q --json >e.json
    [ "$(json line.json eval.metrics.0.value)" = "$(json e.json frechet_pca4)" ]
}

@test "SIGINT during an evaluation ends the run saved" {
    "$DDPM" train "$IMAGES" $NET -o r --steps 1000 --diffusion_steps 1000 --eval_every 3 --eval_samples 100000 --eval_steps 1000 --features pca4 3>&- 2>messages &
    pid=$!
    wait_for test -s r/config.json
    sleep 1
    kill -INT $pid
    status=0
    wait $pid || status=$?
    [ "$status" -eq 130 ]
    grep -q "the evaluation of step 3 is left out" messages
    [ -d "$(checkpoint r 3)" ]
    "$DDPM" train "$IMAGES" -q -o r --steps 5 --eval_samples 40 --eval_steps 3        # the one of step 3 is made up, the next is due at 6
    [ "$(grep -c '"eval":' r/log.jsonl)" -eq 1 ]
    line_of r 3
    [ -d "$(checkpoint r 5)" ]
}

@test "what is wrong with a call is said before training" {
    fails_with 2 "does nothing without --eval_every" train -o r --steps 1 --eval_steps 3
    fails_with 2 "does nothing without --eval_every" train -o r --steps 1 --metrics kid
    fails_with 2 "values" measured r --steps 1 --features pca500
    fails_with 2 "T = 1000" measured r --steps 1 --eval_steps 2000
    fails_with 74 "nowhere" measured r --steps 1 --eval_reference nowhere
    fails_with 2 "metrics are" measured r --steps 1 --metrics fad
    [ ! -e r ]
}
