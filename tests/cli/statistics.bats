setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/a" 60 8 8 3
    "$TOOL" "$BATS_FILE_TMPDIR/b" 40 8 8 3
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    A=$BATS_FILE_TMPDIR/a B=$BATS_FILE_TMPDIR/b
    STATISTICS=$BATS_TEST_DIRNAME/../data/statistics
}

@test "statistics of a set stand for its images" {
    "$DDPM" eval "$B" "$A" --features pca4 --bootstrap 0 -q --json --save_stats a.npz > images.json
    "$DDPM" eval "$B" a.npz --bootstrap 0 -q --json > file.json
    for key in frechet_pca4 n_reference n_fit variance_share; do
        [ "$(json images.json $key)" = "$(json file.json $key)" ]
    done
    "$DDPM" eval a.npz a.npz --json > same.json
    [ "$(json same.json features)" -eq 4 ]
    [ "$(json same.json n_samples)" -eq 60 ]
    [ "$(json file.json features)" = '"pca4"' ]
    "$DDPM" eval "$B" a.npz --bootstrap 0 -q | grep -q " in pca4:"
    "$DDPM" info a.npz | grep -q "statistics"
}

@test "statistics that numpy wrote: two Gaussians with a known distance" {
    "$DDPM" eval "$STATISTICS/a.npz" "$STATISTICS/b.npz" --json > a.json
    awk -v x="$(json a.json frechet)" -v y="$(json a.json frechet_spatial)" 'BEGIN { exit !(x > 17.99999 && x < 18.00001 && y > 0.99999 && y < 1.00001) }'
}

@test "a matrix that is no covariance is refused, rounding below 0 is told" {
    fails_with 65 "negative.npz: \"sigma\" has the eigenvalue -1" "$DDPM" eval "$STATISTICS/negative.npz" "$STATISTICS/negative.npz"
    fails_with 65 "negative.npz" "$DDPM" eval "$STATISTICS/a.npz" "$STATISTICS/negative.npz"
    "$DDPM" eval "$STATISTICS/rounding.npz" "$STATISTICS/rounding.npz" --json > a.json
    awk -v x="$(json a.json clamped)" 'BEGIN { exit !(x > 2.9e-6 && x < 3.1e-6) }'
    "$DDPM" eval "$STATISTICS/rounding.npz" "$STATISTICS/rounding.npz" | grep -q "below 0 count as 0"
}

@test "features of different spaces are refused" {
    "$DDPM" eval "$B" "$A" --features pca4 --bootstrap 0 -q --save_stats a.npz
    "$DDPM" eval "$A" "$B" --features pca4 --bootstrap 0 -q --save_stats b.npz
    fails_with 2 "asks for 5" "$DDPM" eval "$B" a.npz --features pca5
    fails_with 2 "different features" "$DDPM" eval a.npz b.npz
    fails_with 2 "of another program" "$DDPM" eval "$A" "$STATISTICS/a.npz"
    fails_with 2 "only within one space" "$DDPM" eval a.npz "$STATISTICS/a.npz"
    fails_with 2 "give images as the first" "$DDPM" eval a.npz "$A"
    fails_with 2 "has its axes already" "$DDPM" eval "$B" a.npz --save_stats c.npz
    fails_with 65 "is not symmetric" "$DDPM" eval "$STATISTICS/skew.npz" "$STATISTICS/a.npz"
    fails_with 2 "mean and covariance alone" "$DDPM" eval "$STATISTICS/a.npz" "$STATISTICS/b.npz" --metrics pr
    head -c 300 a.npz > cut.npz
    fails_with 65 "cut.npz" "$DDPM" eval "$B" cut.npz
}
