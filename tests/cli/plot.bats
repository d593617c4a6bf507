setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 24 8 8 3
    train -q -o "$BATS_FILE_TMPDIR/a" --steps 12 --log_interval 1 --val 6 --val_interval 4
    train -q -o "$BATS_FILE_TMPDIR/b" --steps 8 --log_interval 2 --seed 3 --leaves 1
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    cp -r "$BATS_FILE_TMPDIR/a" "$BATS_FILE_TMPDIR/b" .
}

@test "a run's charts lie in its folder, and the document says what was drawn" {
    "$DDPM" plot a --json >p.json
    [ "$(json p.json schema)" = '"ddpm-plot-1"' ]
    [ "$(json p.json output)" = '"a/curves.svg"' ]
    [ "$(json p.json runs.0.name)" = '"a"' ]
    [ "$(json p.json runs.0.step)" -eq 12 ]
    [ "$(json p.json runs.0.lines)" -eq 12 ]
    tail -1 a/log.jsonl >last.json
    for key in loss lr grad_norm val_loss; do [ "$(json p.json runs.0.$key)" = "$(json last.json $key)" ]; done
    for title in "Training loss" "Loss by timestep" "Validation loss" "Learning rate" "Gradient norm"; do grep -q ">$title" a/curves.svg; done
    grep -q "class='y-label'.*>loss (mean squared error)<" a/curves.svg
    grep -q "<svg xmlns='http://www.w3.org/2000/svg'" a/curves.svg
    [ "$(tail -c 7 a/curves.svg)" = "</svg>" ]
    cp a/curves.svg first.svg
    "$DDPM" plot a/ | grep -q "charts of 1 run"
    cmp first.svg a/curves.svg
}

@test "several runs share the axes" {
    "$DDPM" plot a b -o both.svg --json >p.json
    [ "$(json p.json runs.1.name)" = '"b"' ]
    [ "$(json p.json runs.1.noise_scale)" = null ]           # one leaf
    [ "$(json p.json runs.1.val_loss)" = null ]
    grep -q ">a</text>" both.svg
    grep -q ">b</text>" both.svg
    grep -q "Loss, t &lt; T/4" both.svg
    mkdir deep
    cp -r a deep/a
    "$DDPM" plot a deep/a -o same.svg
    grep -q ">deep/a</text>" same.svg
    fails_with 2 "-o FILE.svg" "$DDPM" plot a b
    fails_with 2 "twice" "$DDPM" plot a a -o x.svg
    fails_with 2 "unexpected argument" "$DDPM" plot a b a b a -o x.svg
}

@test "what is no run, and logs that are damaged" {
    fails_with 2 "no RUN" "$DDPM" plot
    fails_with 2 "not a run" "$DDPM" plot nowhere
    mkdir plain
    fails_with 2 "plain is not a run" "$DDPM" plot plain
    fails_with 2 ".svg or .png" "$DDPM" plot a -o x.pdf
    fails_with 74 "nowhere" "$DDPM" plot a -o nowhere/x.svg
    cp -r a bad
    rm bad/log.jsonl
    fails_with 2 "no log.jsonl yet" "$DDPM" plot bad
    : >bad/log.jsonl
    fails_with 65 "is empty" "$DDPM" plot bad
    for line in '{"step":2' 'null' '{"loss":1}' '{"step":"x"}' '{"step":2,"loss":"x"}' '{"step":2,"loss_quartiles":[1]}' '{"step":1,"loss":1}' '' \
        '{"step":2,"step":3}' '{"step":2,"grad_norm_sq":1}'; do
        { head -1 a/log.jsonl; echo "$line"; tail -3 a/log.jsonl; } >bad/log.jsonl
        fails_with 65 "bad/log.jsonl, line 2" "$DDPM" plot bad
        [ ! -e bad/curves.svg ]
    done
    { cat a/log.jsonl; printf '{"step":13,"lo'; } >bad/log.jsonl
    "$DDPM" plot bad --json >p.json                           # a line that is being written
    [ "$(json p.json runs.0.lines)" -eq 12 ]
}
