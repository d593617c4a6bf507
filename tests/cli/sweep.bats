setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/a" 60 8 8 3
    "$DDPM" train "$BATS_FILE_TMPDIR/a" $NET -q -o "$BATS_FILE_TMPDIR/run" --steps 2 --diffusion_steps 40
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    A=$BATS_FILE_TMPDIR/a RUN=$BATS_FILE_TMPDIR/run
}

sweep() { "$DDPM" eval "$RUN" "$A" --features pca4 --bootstrap 40 -n 40 --max_isa generic --precision f32 "$@"; }

rows() { grep -v '^model,' "$1"; }
digits() { awk -F, '{ for (i = 8; i < NF; i++) printf "%s,", $i; print "" }' "$1"; }      # all but the marks and the seconds

@test "every cell equals ddpm sample and ddpm eval with its settings" {
    sweep --sweep "steps=3,5 eta=0,1" --metrics fd,kid,pr --seed 5 -q --json >s.json
    [ "$(json s.json schema)" = '"ddpm-sweep-1"' ]
    cell=0
    for steps in 3 5; do
        for eta in 0 1; do
            "$DDPM" sample "$RUN" -n 40 --steps $steps --eta $eta --seed 5 -q --max_isa generic --precision f32 -o $cell.npz
            "$DDPM" eval $cell.npz "$A" --features pca4 --bootstrap 40 --metrics fd,kid,pr --seed 5 -q --json >e.json
            [ "$(json s.json cells.$cell.settings.steps)" = $steps ]
            [ "$(json s.json cells.$cell.network_calls)" = $steps ]
            for key in frechet_pca4 kernel_distance_mean precision recall; do
                [ "$(json s.json cells.$cell.metrics.$key.value)" = "$(json e.json $key)" ]
            done
            [ "$(json s.json cells.$cell.metrics.frechet_pca4.interval)" = "$(json e.json interval)" ]
            [ "$(json s.json cells.$cell.metrics.recall.interval)" = "$(json e.json recall_interval)" ]
            cell=$((cell + 1))
        done
    done
    [ "$(json s.json cells.0.metrics.frechet_pca4.value)" != "$(json s.json cells.3.metrics.frechet_pca4.value)" ]
}

@test "other keys: sampler, clip, spacing; bits depend neither on threads nor on the batch" {
    sweep --sweep "sampler=ddim,ddpm clip=none,x0 steps=4" -q -o t.csv >one.txt
    grep -q "sampler" one.txt
    [ "$(rows t.csv | wc -l)" -eq 4 ]
    [ -s t.svg ]                                             # steps has numbers
    "$DDPM" sample "$RUN" -n 40 --sampler ddpm --clip x0 --steps 4 -q --max_isa generic --precision f32 -o s.npz
    "$DDPM" eval s.npz "$A" --features pca4 --bootstrap 40 -q --json >e.json
    grep -q "ddpm,x0,4,$(json e.json frechet_pca4)," t.csv
    sweep --sweep "sampler=ddim,ddpm clip=none,x0 steps=4" -q -o u.csv --threads 1 --batch_size 7 >/dev/null
    diff <(digits t.csv) <(digits u.csv)
    sweep --sweep "sampler=ddim,ddpm" -q -o v.csv >/dev/null
    [ ! -e v.svg ]
    fails_with 2 "no key of the sweep has numbers" sweep --sweep "sampler=ddim,ddpm" -o v.svg
}

@test "an interrupted sweep goes on, and a larger one keeps what is there" {
    sweep --sweep "steps=2,3,4 eta=0,1" -q -o whole.csv >whole.txt
    sweep --sweep "steps=2,3 eta=1" -q -o t.csv >/dev/null
    sed -i 's/^\(.*,3,1,\)[0-9.]*,/\11234.5,/' t.csv          # a cell that is read is not measured again
    sweep --sweep "steps=2,3,4 eta=0,1" -o t.svg --json >t.json 2>messages
    grep -q "2 of them are in t.csv" messages
    grep -q "6 of 6: steps 4, eta 1: Frechet distance [0-9.]*, [0-9.e-]* s an image$" messages
    [ "$(json t.json cells.3.reused)" = true ]
    [ "$(json t.json cells.3.metrics.frechet_pca4.value)" = 1234.5 ]
    [ "$(json t.json cells.4.reused)" = false ]
    diff <(digits whole.csv | sort) <(digits t.csv | sort) >differ.txt || true
    [ "$(grep -c '^<' differ.txt)" -eq 1 ]
    grep -q "class='subtitle'.* images against " t.svg
    [ "$(grep -c "class='x-tick'" t.svg)" -eq $(( 3 * $(grep -c "class='title'" t.svg) )) ]
    sweep --sweep "steps=2,3,4 eta=0,1" -q -o whole.csv >again.txt       # nothing is left to do
    diff whole.txt again.txt
}

@test "SIGINT leaves a table that goes on" {
    "$DDPM" eval "$RUN" "$A" --features pca4 --bootstrap 40 --max_isa generic --precision f32 --sweep "steps=2,40 eta=0,1" -n 4000 -q -o t.csv 3>&- >/dev/null 2>messages &
    pid=$!
    wait_for test -s t.csv
    kill -INT $pid
    status=0
    wait $pid || status=$?
    [ "$status" -eq 130 ]
    grep -q "of 4 combinations are in t.csv, and the same command goes on" messages
    done=$(rows t.csv | wc -l)
    [ "$done" -ge 1 ] && [ "$done" -lt 4 ]
}

@test "tables of other sweeps, and what is wrong with a call" {
    sweep --sweep "steps=2 eta=1" -q -o t.csv >/dev/null
    cp t.csv kept.csv
    fails_with 2 'images "40", this one is of "50"' sweep --sweep "steps=2 eta=1" -o t.csv -n 50
    fails_with 2 'seed "0", this one is of "1"' sweep --sweep "steps=2 eta=1" -o t.csv --seed 1
    fails_with 2 'features "pca4", this one is of "pca3"' sweep --sweep "steps=2 eta=1" -o t.csv --features pca3
    fails_with 2 'bootstrap=41' sweep --sweep "steps=2 eta=1" -o t.csv --bootstrap 41
    fails_with 2 'sweep of model' sweep --sweep "steps=2 eta=1" -o t.csv --weights raw
    fails_with 2 'clip=none' sweep --sweep "steps=2 eta=1" -o t.csv --clip none
    fails_with 2 "other keys" sweep --sweep "eta=1 steps=2" -o t.csv
    fails_with 2 "other keys" sweep --sweep "steps=2" -o t.csv
    cmp t.csv kept.csv
    fails_with 65 "no table of a sweep" sweep --sweep "steps=2" -o "$(cp "$RUN/config.json" c.csv; echo c.csv)"
    fails_with 2 "did you mean steps?" sweep --sweep "step=2"
    fails_with 2 "is the same for all" sweep --sweep "seed=1,2"
    fails_with 2 "steps 50" sweep --sweep "steps=2,50"
    fails_with 2 "sampler ddpm, eta 0" sweep --sweep "sampler=ddpm eta=0"
    fails_with 2 "so does --eta" sweep --sweep "eta=0,1" --eta 0
    fails_with 2 "--class" sweep --sweep "class=0,1"
    fails_with 2 "must end in .csv" sweep --sweep "eta=0,1" -o t.txt
    fails_with 74 "nowhere" sweep --sweep "eta=0,1" -o nowhere/t.csv
    fails_with 65 "a model, given as SAMPLES" "$DDPM" eval "$A" "$A" --sweep "eta=0,1"
    fails_with 2 "--steps is for --sweep" "$DDPM" eval "$A" "$A" --steps 3
    fails_with 2 "--eta is for --sweep" "$DDPM" eval "$A" "$A" --eta 1
}
