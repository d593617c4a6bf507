# Spaces of networks - a classifier trained here stands for any - and the metrics that need more than rows.
setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/a" 60 8 8 3
    "$TOOL" "$BATS_FILE_TMPDIR/b" 40 8 8 3
    cd "$BATS_FILE_TMPDIR"
    mkdir -p classes/0 classes/1
    cp a/0000*.png a/0001*.png classes/0
    cp a/0002*.png a/0003*.png classes/1
    "$DDPM" classifier train classes ${NET/--sample_interval 0/} --num_head_channels 8 -q -o classifier --steps 3 --diffusion_steps 40
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    A=$BATS_FILE_TMPDIR/a B=$BATS_FILE_TMPDIR/b RUN=$BATS_FILE_TMPDIR/classifier
    FEATURES=$BATS_TEST_DIRNAME/../data/features
}

eval_() { "$DDPM" eval -q --features "$RUN" "$@"; }

@test "a classifier of one's own is a space with every metric, and no FID" {
    eval_ "$B" "$A" --json >a.json
    [ "$(real schema)" = '"ddpm-eval-1"' ]
    [[ $(real space) == '"classifier-'* ]]
    [ "$(real computed_in)" = '"f32"' ]
    for key in frechet_distance kernel_distance_mean precision density logits_score_mean; do [ "$(real $key)" != null ]; done
    [ "$(grep -c 'inception_\|sfid\|infinity' a.json)" -eq 0 ]
    eval_ "$B" "$A" --precision bf16 --metrics fd --json >a.json
    [ "$(real computed_in)" = '"bf16"' ]
    eval_ "$B" "$A" | grep -q "Not an FID"
}

@test "features in bf16 are another space, and a model's precision is not that of what measures it" {
    "$DDPM" features "$A" -q --features "$RUN" --precision bf16 -o half.npz
    fails_with 2 "only within one space" eval_ "$B" half.npz
    eval_ "$B" half.npz --precision bf16 --json >a.json
    [[ $(real space) == '"classifier-'*'-bf16"' ]]
    "$DDPM" train "$A" ${NET/f32/bf16} -q -o r --steps 2 --diffusion_steps 40 --eval_every 2 --eval_samples 8 --eval_steps 2 --features "$RUN" --bootstrap 0
    grep -q '"eval":.*"classifier-[0-9a-f]*"' r/log.jsonl
}

@test "files of features, in parts or whole, and statistics stand for the images" {
    eval_ "$B" "$A" --metrics fd,kid,is --json >a.json
    for key in frechet_distance interval.1 kernel_distance_mean logits_score_mean; do real $key; done >images
    "$DDPM" features "$B" -q --features "$RUN" -o b.npz
    mkdir parts
    for i in 1 2 3; do "$DDPM" features "$A" -q --features "$RUN" --part $i/3 --threads $i -o parts/$i.npz; done
    "$DDPM" eval b.npz parts --merge -q --metrics fd,kid,is --json >a.json
    for key in frechet_distance interval.1 kernel_distance_mean logits_score_mean; do real $key; done >files
    cmp images files
    eval_ "$B" parts --merge --metrics fd,kid,is --json >a.json
    for key in frechet_distance interval.1 kernel_distance_mean logits_score_mean; do real $key; done >mixed
    cmp images mixed
    eval_ "$B" "$A" --metrics fd --save_stats s.npz
    eval_ "$B" s.npz --metrics fd --json >a.json
    real frechet_distance | cmp - <(head -1 images)
    [ "$(real n_reference)" -eq 60 ]
    "$DDPM" eval b.npz s.npz -q --metrics fd --json >a.json
    real frechet_distance | cmp - <(head -1 images)
}

@test "what does not belong to the classifier's features is refused" {
    "$TOOL" other 9 6 8 3
    fails_with 2 "8x8x3, these are 8x6x3" eval_ other "$A"
    fails_with 2 "8x8x3, these are 8x6x3" eval_ "$A" other
    fails_with 2 "only within one space" eval_ "$B" "$BATS_TEST_DIRNAME/../data/statistics/a.npz"
    fails_with 2 "only within one space" eval_ "$B" "$FEATURES/a.npz"
    eval_ "$B" "$A" --metrics fd --save_stats s.npz
    "$DDPM" eval "$B" "$A" -q --features pca16 --bootstrap 0 --save_stats p.npz
    fails_with 2 "asks for" eval_ "$B" p.npz
    "$DDPM" features "$B" -q --features pca16 -o p16.npz
    fails_with 2 "distances exist only within one space" eval_ "$A" p16.npz
    fails_with 2 "is for the axes" eval_ "$B" "$A" --fit_data "$A"
    fails_with 2 "spatial features" eval_ "$B" "$A" --metrics sfid
    fails_with 2 "mean and covariance alone" eval_ "$B" s.npz --metrics kid
    fails_with 2 "at least two" eval_ "$B" "$A" -n 1
    fails_with 65 "is not a model" "$DDPM" eval "$B" "$A" --features "$A"
    fails_with 2 "there are raw" "$DDPM" eval "$B" "$A" --features "$A.missing"
}

@test "the distance of spatial features, from rows and from guided-diffusion's statistics" {
    "$DDPM" eval "$FEATURES/spatial_a.npz" "$FEATURES/spatial_b.npz" -q --json >a.json
    real_near frechet_spatial 4.5524190656127885
    real_near frechet_distance 0.48311543135838875
    "$DDPM" eval "$FEATURES/spatial_a.npz" "$FEATURES/spatial_stats.npz" -q --json >a.json
    real_near frechet_spatial 4.5524190656127885
    "$DDPM" eval "$FEATURES/spatial_a.npz" "$FEATURES/spatial_b.npz" -q --metrics fd,sfid --bootstrap 0 --save_stats s.npz
    "$DDPM" eval s.npz "$FEATURES/spatial_stats.npz" -q --json >a.json
    awk -v x="$(real frechet_spatial)" 'BEGIN { exit !(x < 1e-9) }'
    [ "$(real n_samples)" -eq 50 ]
    fails_with 2 "4 spatial features and the reference 5" "$DDPM" eval "$FEATURES/spatial_narrow.npz" "$FEATURES/spatial_stats.npz" --metrics sfid
    fails_with 2 "only within one space" "$DDPM" eval "$FEATURES/spatial_a.npz" "$FEATURES/spatial_narrow.npz" --metrics sfid
    fails_with 2 "20000 spatial features; a covariance is computed for at most" "$DDPM" eval "$FEATURES/spatial_wide.npz" "$FEATURES/spatial_wide.npz"
    fails_with 2 "a.npz has none" "$DDPM" eval "$FEATURES/spatial_a.npz" "$FEATURES/a.npz" --metrics sfid
}

@test "the interval of the spatial distance is that of the same rows as features" {
    "$DDPM" eval "$FEATURES/spatial_a.npz" "$FEATURES/spatial_b.npz" -q --metrics sfid --json >spatial.json
    "$DDPM" eval "$FEATURES/spatial_rows_a.npz" "$FEATURES/spatial_rows_b.npz" -q --metrics fd --json >rows.json
    [ "$(json spatial.json frechet_spatial)" = "$(json rows.json frechet_distance)" ]
    [ "$(json spatial.json frechet_spatial_interval)" = "$(json rows.json interval)" ]
    [[ $(json rows.json interval) == [[]* ]]
    "$DDPM" eval "$FEATURES/spatial_a.npz" "$FEATURES/spatial_b.npz" -q --metrics sfid --bootstrap 0 --json >none.json
    [ "$(json none.json frechet_spatial_interval)" = null ]
}

@test "the distance of infinitely many samples, only where it is asked for" {
    "$DDPM" eval "$FEATURES/a.npz" "$FEATURES/b.npz" -q --metrics fd,fid_inf --bootstrap 0 --json >a.json
    awk -v fd="$(real frechet_distance)" -v v="$(real frechet_infinity)" -v low="$(real frechet_infinity_interval.0)" -v high="$(real frechet_infinity_interval.1)" \
        'BEGIN { exit !(low < v && v < high && v < fd) }'
    "$DDPM" eval "$FEATURES/a.npz" "$FEATURES/b.npz" -q --metrics fid_inf | grep -q "infinitely many"
    "$DDPM" eval "$FEATURES/inception_a.npz" "$FEATURES/inception_b.npz" -q --json >a.json
    [ "$(grep -c infinity a.json)" -eq 0 ]
    "$DDPM" eval "$FEATURES/inception_a.npz" "$FEATURES/inception_b.npz" -q --metrics fid_inf --json >a.json
    [ "$(real fid_infinity)" != null ]
    "$DDPM" eval "$B" "$A" -q --features raw --metrics fid_inf --json >a.json
    [ "$(real n_samples)" -eq 40 ]
    fails_with 2 "mean and covariance alone" "$DDPM" eval "$FEATURES/spatial_stats.npz" "$FEATURES/spatial_stats.npz" --metrics fid_inf
    fails_with 2 "too few to extrapolate" "$DDPM" eval "$FEATURES/few.npz" "$FEATURES/b.npz" --metrics fid_inf
}

@test "a file's space is named with what makes such features, and a classifier says how often it is right" {
    eval_ "$B" "$A" --metrics fd --save_stats s.npz
    "$DDPM" features "$A" -q --features "$RUN" -o f.npz
    for file in s.npz f.npz; do
        fails_with 2 "--features RUN" "$DDPM" eval "$B" $file
        [[ $output == *'of the space "classifier-'* ]]
        eval_ "$B" $file --metrics fd | grep -q "^Frechet"
    done
    fails_with 2 "--features inception-pytorch" "$DDPM" eval "$B" "$FEATURES/inception_a.npz"
    fails_with 2 "a classifier of your own" "$DDPM" eval "$B" "$A" --features pca4 --metrics is
    "$DDPM" features "$BATS_FILE_TMPDIR/classes" -q --features "$RUN" -o c.npz | grep -q "recognises .* % of them"
    "$DDPM" features "$BATS_FILE_TMPDIR/classes" -q --features "$RUN" -o c.npz --json >a.json
    share=$(real top1)
    [[ $share == 0.* || $share == 1.0 ]]
    "$DDPM" features "$A" -q --features "$RUN" -o f.npz --json >a.json
    [ "$(real top1)" = null ]
}

@test "archives that hold no images" {
    local npz=$BATS_TEST_DIRNAME/../data/npz
    fails_with 65 "arr_0 is <f4 [2,8,8,3]; images are |u1" "$DDPM" eval "$npz/floats.npz" "$A"
    fails_with 65 "arr_0 is <f4" "$DDPM" eval "$A" "$npz/floats.npz"
    fails_with 65 "Python objects that were pickled" "$DDPM" eval "$A" "$npz/pickled.npz"
    mkdir empty
    fails_with 65 "empty holds no images" "$DDPM" eval empty "$A"
}

@test "unequal numbers and too few rows are warned about, in the result too when it is all that is said" {
    "$DDPM" eval "$B" "$A" -q --features pca2 >text
    grep -q "warning: the sets are of 40 and 60 rows" text
    "$DDPM" eval "$B" "$A" --features pca2 2>messages >text
    grep -q "warning: the sets are of 40 and 60 rows" messages
    [ "$(grep -c warning text)" -eq 0 ]
}
