# Metrics of features: files that numpy wrote, and images. The numbers of tests/data/features/a.npz and b.npz are those of
# torch-fidelity 0.4.0 (kernel distance, precision, recall, inception score), pytorch-fid 0.3.0 and prdc 0.2 (density, coverage).
setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/a" 60 8 8 3
    "$TOOL" "$BATS_FILE_TMPDIR/b" 40 8 8 3
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    FEATURES=$BATS_TEST_DIRNAME/../data/features
    A=$FEATURES/a.npz B=$FEATURES/b.npz
}

eval_() { "$DDPM" eval -q --seed 2020 --kid_subset_size 20 --kid_subsets 10 "$@"; }

@test "features in files: the numbers of the reference programs" {
    eval_ "$A" "$B" --json >a.json
    [ "$(json a.json schema)" = '"ddpm-eval-features-1"' ]
    real_near frechet_distance 0.48311543135838875
    real_near kernel_distance_mean 0.09567779379113328
    real_near kernel_distance_std 0.07302766779307009
    real_near precision 0.81666666666666667
    real_near recall 0.8
    real_near density 1.1233333333333333
    real_near coverage 1
    real_near logits_score_mean 1.740640762081598
    real_near logits_score_std 0.1587745019991463
    [ "$(json a.json n_samples)" -eq 60 ]
    [ "$(json a.json n_reference)" -eq 50 ]
    [ "$(json a.json space)" = null ]
    [[ $(json a.json warnings.0) == *"60 and 50 rows"* ]]
    for key in interval kernel_distance_interval precision_interval recall_interval density_interval coverage_interval logits_score_interval; do
        awk -v low="$(json a.json $key.0)" -v high="$(json a.json $key.1)" 'BEGIN { exit !(low < high) }'
    done
}

@test "threads do not show, and names say FID only of Inception's features" {
    eval_ "$A" "$B" --threads 1 --json >a.json
    eval_ "$A" "$B" --threads 3 --json >b.json
    cmp <(grep -v seconds a.json) <(grep -v seconds b.json)
    [ "$(grep -c inception_ a.json)" -eq 0 ]
    eval_ "$A" "$B" | grep -q "Not an FID"
    eval_ "$FEATURES/inception_a.npz" "$FEATURES/inception_b.npz" --json >a.json
    real_near frechet_inception_distance 0.48311543135838875
    real_near kernel_inception_distance_mean 0.09567779379113328
    real_near inception_score_mean 1.740640762081598
    eval_ "$FEATURES/inception_a.npz" "$FEATURES/inception_b.npz" >text
    grep -q "^FID 0.4831" text
    grep -q "^KID 0.0956" text
}

@test "metrics, numbers of rows and statistics are chosen" {
    eval_ "$A" "$B" --metrics pr --json >a.json
    [ "$(grep -c '"frechet_\|"kernel_\|"coverage\|"logits' a.json)" -eq 0 ]
    real_near recall 0.8
    eval_ "$A" "$B" --metrics fd,is -n 30 --json --save_stats s.npz >a.json
    [ "$(json a.json n_samples)" -eq 30 ]
    [ "$(grep -c 'precision\|kernel_' a.json)" -eq 0 ]
    eval_ "$A" s.npz --json >a.json
    real_near frechet_distance 0.48311543135838875
    [ "$(grep -c precision a.json)" -eq 0 ]
    eval_ "$A" "$B" --bootstrap 0 --metrics fd --json >a.json
    [ "$(json a.json interval)" = null ]
}

@test "metrics go by other programs' words too, and all is all that is possible" {
    for words in FID,ISC,PRDC,kid "Fd,inception_score,precision,coverage,KID"; do
        eval_ "$A" "$B" --metrics "$words" --json | grep -v seconds >a.json
        eval_ "$A" "$B" --metrics fd,is,pr,dc,kid --json | grep -v seconds >b.json
        cmp a.json b.json
    done
    eval_ "$A" "$B" --metrics all --bootstrap 0 --json >a.json
    for key in frechet_distance frechet_infinity kernel_distance_mean recall coverage logits_score_mean; do [ "$(real $key)" != null ]; done
    [ "$(grep -c spatial a.json)" -eq 0 ]
}

@test "statistics keep the name of their features" {
    local named=$FEATURES/inception_a.npz
    eval_ "$named" "$FEATURES/inception_b.npz" --metrics fd --bootstrap 0 -q --save_stats s.npz
    eval_ "$A" "$B" --metrics fd --bootstrap 0 -q --save_stats unnamed.npz
    eval_ "$named" s.npz --json >a.json
    real_near frechet_inception_distance 0.48311543135838875
    eval_ s.npz s.npz --json >a.json
    [ "$(json a.json space)" = '"inception-2015-12-05/pytorch-fid"' ]
    eval_ s.npz s.npz | grep -q "This is an FID."
    eval_ unnamed.npz unnamed.npz --json >a.json
    [ "$(json a.json space)" = null ]
    fails_with 2 "add the array \"space\"" eval_ "$named" unnamed.npz
    fails_with 2 "(not named)" eval_ "$A" s.npz
    fails_with 2 "(not named)" eval_ s.npz unnamed.npz
    fails_with 2 "features first" eval_ s.npz "$named"
    "$DDPM" eval "$A" "$A" --metrics kid --kid_subset_size 50 -q | grep -q "rows in common"
    eval_ "$A" "$B" --metrics kid >text
    [ "$(grep -c "rows in common" text)" -eq 0 ]
}

@test "few rows are warned about" {
    "$DDPM" eval "$FEATURES/few.npz" "$B" --metrics fd,kid --json >a.json 2>messages
    grep -q "span fewer than 6 dimensions" messages
    grep -q "subsets of 3" messages
    "$DDPM" eval "$FEATURES/few.npz" "$B" --metrics fd -q | grep -q "covariance is singular"
    mkdir alike
    for i in 1 2 3 4 5; do cp "$BATS_FILE_TMPDIR/a/00000.png" alike/$i.png; done
    "$DDPM" eval alike "$BATS_FILE_TMPDIR/a" -q --features pca2 --bootstrap 0 | grep -q "all of alike has the same features"
    "$DDPM" eval "$A" "$FEATURES/few.npz" --metrics fd -q --save_stats few.npz >/dev/null
    "$DDPM" eval "$A" "$B" --metrics fd -q --save_stats many.npz >/dev/null
    "$DDPM" eval few.npz many.npz -q | grep -q "covariance is singular"
    "$DDPM" eval many.npz few.npz -q | grep -q "covariance is singular"
}

@test "what is wrong with features" {
    fails_with 65 "row 3 of \"features\" is not finite in column 1" "$DDPM" eval "$FEATURES/nan.npz" "$B"
    fails_with 65 "row 7 of \"logits\"" "$DDPM" eval "$FEATURES/inf_logits.npz" "$B"
    fails_with 2 "at least two" "$DDPM" eval "$FEATURES/one.npz" "$B"
    fails_with 2 "at least two" "$DDPM" eval "$A" "$FEATURES/one.npz"
    fails_with 2 "at least two" "$DDPM" eval "$A" "$B" -n 1
    fails_with 65 "0 rows" "$DDPM" eval "$FEATURES/empty.npz" "$B"
    fails_with 2 "5 columns" "$DDPM" eval "$FEATURES/narrow.npz" "$B"
    fails_with 65 "Python objects that were pickled" "$DDPM" eval "$FEATURES/pickled.npz" "$B"
    fails_with 65 "50 rows" "$DDPM" eval "$FEATURES/rows.npz" "$B"
    fails_with 65 "of 1 dimensions" "$DDPM" eval "$FEATURES/flat.npz" "$B"
    fails_with 2 "(not named)" "$DDPM" eval "$A" "$FEATURES/inception_b.npz"
    fails_with 2 "only within one space" "$DDPM" eval "$A" "$BATS_TEST_DIRNAME/../data/statistics/a.npz"
    fails_with 2 "features of both" "$DDPM" eval "$A" "$BATS_FILE_TMPDIR/a"
    fails_with 2 "features of both" "$DDPM" eval "$BATS_FILE_TMPDIR/a" "$A"
    fails_with 2 "more than 3 rows" "$DDPM" eval "$A" "$B" -n 3 --metrics pr
    fails_with 2 "more than 5 rows" "$DDPM" eval "$A" "$B" -n 5
    head -c 300 "$A" >cut.npz
    fails_with 65 "cut.npz" "$DDPM" eval "$A" cut.npz
    fails_with 65 "cut.npz" "$DDPM" eval cut.npz "$B"
    fails_with 74 "nowhere.npz" "$DDPM" eval "$A" nowhere.npz
}

@test "what is wrong with options" {
    fails_with 2 "did you mean precision?" "$DDPM" eval "$A" "$B" --metrics fd,Precison
    fails_with 2 "the metrics are" "$DDPM" eval "$A" "$B" --metrics fd,
    fails_with 2 "no array" "$DDPM" eval "$B" "$A" --metrics is
    fails_with 2 "for images" "$DDPM" eval "$A" "$B" --features pca4
    fails_with 2 "50 rows" "$DDPM" eval "$A" "$B" --kid_subset_size 51
    fails_with 2 "at least 2" "$DDPM" eval "$A" "$B" --kid_subset_size 1
    fails_with 2 "at least 40" "$DDPM" eval "$A" "$B" --bootstrap 10
    fails_with 74 "nowhere" "$DDPM" eval "$A" "$B" --save_stats nowhere/s.npz
    fails_with 2 "logits" "$DDPM" eval "$BATS_FILE_TMPDIR/a" "$BATS_FILE_TMPDIR/b" --features pca4 --metrics is
    fails_with 2 "raw pixels" "$DDPM" eval "$BATS_FILE_TMPDIR/a" "$BATS_FILE_TMPDIR/b" --features raw --save_stats s.npz
}

@test "images have the same metrics, of pixels and of their components" {
    "$DDPM" eval "$BATS_FILE_TMPDIR/b" "$BATS_FILE_TMPDIR/a" -q --features pca4 --metrics fd,kid,pr,dc --json >a.json
    for key in frechet_pca4 kernel_distance_mean precision recall density coverage; do
        [ "$(json a.json $key)" != null ]
    done
    "$DDPM" eval "$BATS_FILE_TMPDIR/a" "$BATS_FILE_TMPDIR/a" -q --features raw --metrics fd,pr,dc --json >a.json
    [ "$(json a.json features)" = '"raw"' ]
    real_near precision 1
    real_near recall 1
    real_near coverage 1
    awk -v x="$(json a.json frechet_raw)" 'BEGIN { exit !(x < 1e-3) }'
    "$DDPM" eval "$BATS_FILE_TMPDIR/b" "$BATS_FILE_TMPDIR/a" -q --features pca4 --bootstrap 0 --save_stats s.npz
    fails_with 2 "mean and covariance alone" "$DDPM" eval "$BATS_FILE_TMPDIR/b" s.npz --metrics kid
    fails_with 2 "not pixels" "$DDPM" eval "$BATS_FILE_TMPDIR/b" s.npz --features raw
}

# --- `ddpm features` and --merge

values() { json a.json "$1"; }

@test "features of images in a file are those that are measured" {
    local a=$BATS_FILE_TMPDIR/a b=$BATS_FILE_TMPDIR/b
    "$DDPM" eval "$b" "$a" -q --features raw --metrics fd,kid,pr --bootstrap 50 --json >a.json
    for key in frechet_raw kernel_distance_mean recall interval.0; do values $key; done >images
    "$DDPM" features "$a" -q --features raw -o a.npz --json >made.json
    "$DDPM" info a.npz | grep -q "kind  *features"
    [ "$(json made.json schema)" = '"ddpm-features-1"' ]
    [ "$(json made.json rows)" -eq 60 ]
    "$DDPM" features "$b" -q --features raw -o b.npz
    "$DDPM" eval b.npz a.npz -q --metrics fd,kid,pr --bootstrap 50 --json >a.json
    for key in frechet_distance kernel_distance_mean recall interval.0; do values $key; done >files
    cmp images files
    [ "$(values space)" = '"raw"' ]
    "$DDPM" eval "$b" a.npz -q --features raw --metrics fd,kid,pr --bootstrap 50 --json >a.json
    for key in frechet_raw kernel_distance_mean recall interval.0; do values $key; done >mixed
    cmp images mixed
}

@test "features of components are compared with statistics that have the same axes" {
    local a=$BATS_FILE_TMPDIR/a b=$BATS_FILE_TMPDIR/b
    "$DDPM" eval "$b" "$a" -q --features pca3 --metrics fd --bootstrap 0 --save_stats s.npz --json >a.json
    real frechet_pca3 >images
    "$DDPM" features "$b" -q --features pca3 --fit_data "$a" -o b.npz
    "$DDPM" eval b.npz s.npz -q --metrics fd --bootstrap 0 --json >a.json
    real frechet_distance | cmp - images
    "$DDPM" features "$b" -q --features pca3 -o other.npz
    fails_with 2 "only within one space" "$DDPM" eval other.npz s.npz
    "$DDPM" eval "$b" s.npz -q --bootstrap 0 >text
    grep -q "fitted to 60 images, as the file says" text
    "$DDPM" info s.npz --json >a.json
    [[ $(real space) == '"pca3-'* ]]
    [ "$(real features)" = 3 ]
    [ "$(real count)" = 60 ]
    [ "$(real n_fit)" = 60 ]
    "$DDPM" info b.npz --json >a.json
    [[ $(real space) == '"pca3-'* ]]
    [ "$(real rows)" = 40 ]
    [ "$(real features)" = 3 ]
}

@test "parts of a set, in any partition, are the set" {
    local a=$BATS_FILE_TMPDIR/a b=$BATS_FILE_TMPDIR/b i
    for features in raw pca4; do
        "$DDPM" features "$a" -q --features $features -o whole.npz
        "$DDPM" features "$b" -q --features $features --fit_data "$a" -o other.npz
        "$DDPM" eval other.npz whole.npz -q --metrics fd,kid,pr,dc --json | grep -v 'seconds\|reference"\|samples"\|span fewer' >whole.json
        for n in 1 2 7; do
            rm -rf parts
            mkdir parts
            for i in $(seq $n); do "$DDPM" features "$a" -q --features $features --part "$i/$n" --threads "$i" -o "parts/$((n - i)).npz"; done
            "$DDPM" eval other.npz parts --merge -q --metrics fd,kid,pr,dc --json | grep -v 'seconds\|reference"\|samples"\|span fewer' >parts.json
            cmp whole.json parts.json
        done
    done
    [ "$(wc -l <parts.json)" -gt 20 ]
}

@test "a choice of images is the same in parts" {
    local a=$BATS_FILE_TMPDIR/a
    mkdir parts
    "$DDPM" features "$a" -q --features raw -n 20 --seed 3 -o whole.npz
    for i in 1 2 3; do "$DDPM" features "$a" -q --features raw -n 20 --seed 3 --part $i/3 -o parts/$i.npz; done
    "$DDPM" eval whole.npz parts --merge -q --metrics fd --bootstrap 0 --json >a.json
    [ "$(values n_reference)" -eq 20 ]
    awk -v x="$(values frechet_distance)" 'BEGIN { exit !(x < 1e-3) }'
    rm parts/2.npz
    fails_with 2 "images that parts/1.npz says there are, in 2 files" "$DDPM" eval parts parts --merge
}

@test "an image that cannot be read is left out of its part" {
    cp -r "$BATS_FILE_TMPDIR/b" damaged
    head -c 100 damaged/00003.png >cut && mv cut damaged/00003.png
    mkdir parts
    for i in 1 2; do "$DDPM" features damaged -q --features raw --part $i/2 -o parts/$i.npz; done
    "$DDPM" eval parts parts --merge -q --metrics fd --bootstrap 0 --json >a.json
    [ "$(values n_samples)" -eq 39 ]
    fails_with 65 00003 "$DDPM" features damaged --features raw --strict -o strict.npz
    [ ! -e strict.npz ]
}

@test "parts that do not make a set are refused, by their names" {
    local a=$BATS_FILE_TMPDIR/a b=$BATS_FILE_TMPDIR/b
    mkdir parts
    for i in 1 2 3; do "$DDPM" features "$a" -q --features raw --part $i/3 -o parts/$i.npz; done
    mv parts/2.npz .
    fails_with 65 "which --merge reads as features" "$DDPM" eval "$a" parts
    fails_with 2 "neither" "$DDPM" eval "$a" "$b" --merge
    fails_with 2 "none of its 2 files has is 20" "$DDPM" eval parts parts --merge
    cp parts/1.npz parts/again.npz
    fails_with 2 "image 0 is in parts/1.npz and in parts/again.npz" "$DDPM" eval parts parts --merge
    rm parts/again.npz
    "$DDPM" features "$a" -q --features pca3 --part 2/3 -o parts/2.npz
    fails_with 2 "parts/2.npz" "$DDPM" eval parts parts --merge
    "$DDPM" features "$b" -q --features raw --part 2/3 -o parts/2.npz
    fails_with 2 "parts/2.npz of 40" "$DDPM" eval parts parts --merge
    rm parts/*
    cp "$A" parts/2.npz
    fails_with 65 "which images its rows are of" "$DDPM" eval parts parts --merge
    "$DDPM" features "$a" -q --features pca3 -o a.npz
    "$DDPM" features "$b" -q --features pca3 -o b.npz
    fails_with 2 "only within one space" "$DDPM" eval a.npz b.npz             # their axes differ
}

@test "what is wrong with making features" {
    local a=$BATS_FILE_TMPDIR/a
    fails_with 2 "no output" "$DDPM" features "$a"
    fails_with 2 ".npz" "$DDPM" features "$a" -o a.txt
    fails_with 74 "mkdir -p nowhere" "$DDPM" features "$a" -o nowhere/a.npz
    fails_with 2 "1/N to N/N" "$DDPM" features "$a" --features raw -o a.npz --part 0/2
    fails_with 2 "1/N to N/N" "$DDPM" features "$a" --features raw -o a.npz --part 3/2
    fails_with 2 "1/N to N/N" "$DDPM" features "$a" --features raw -o a.npz --part 1/2x
    fails_with 2 "too few for 61" "$DDPM" features "$a" --features raw -o a.npz --part 1/61
    fails_with 2 "inception-tensorflow" "$DDPM" features "$a" --features inception -o a.npz
    fails_with 2 "no DATA" "$DDPM" features -o a.npz
    [ ! -e a.npz ]
}
