# Every prediction with every variance, and every loss with what it may train.
setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 12 8 8 3
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    SHORT="--diffusion_steps 24 --noise_schedule cosine --steps 2 -q"
}

finite() { [[ $1 =~ ^-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?$ ]]; }

try() {            # PREDICTION VARIANCE: it trains, draws by both of the papers' methods and is measured
    train -o r-$1-$2 $SHORT --prediction $1 --variance $2
    "$DDPM" sample r-$1-$2 -q -n 1 --sampler ddpm --steps 4 -o a.npz
    "$DDPM" sample r-$1-$2 -q -n 1 --sampler ddim --steps 4 --eta 0.5 -o b.npz
    [ -s a.npz ] && [ -s b.npz ]
    "$DDPM" nll r-$1-$2 "$BATS_FILE_TMPDIR/images" -n 1 --json >nll.json 2>/dev/null
    echo "$1 $2 $(json nll.json bits_per_dim)"
    finite "$(json nll.json bits_per_dim)"
}

@test "predicted noise"          { for v in small large learned range; do try eps $v; done; }
@test "predicted image"          { for v in small large learned range; do try x0 $v; done; }
@test "predicted mean"           { for v in small large learned range; do try previous $v; done; }
@test "predicted velocity"       { for v in small large learned range; do try v $v; done; }

@test "losses" {
    for loss in mse rescaled_mse kl rescaled_kl mse_sum; do
        train -o r-$loss $SHORT --loss $loss --variance small
        [ -d "$(checkpoint r-$loss 2)" ]
        [ $loss = mse_sum ] || train -o l-$loss $SHORT --loss $loss --variance range
    done
    for v in learned range; do fails_with 2 "mse_sum" train -o bad $SHORT --loss mse_sum --variance $v; done
    fails_with 2 "--use_kl" train -o bad $SHORT --use_kl --loss mse
    fails_with 2 "--learn_sigma" train -o bad $SHORT --learn_sigma --variance small
    fails_with 2 "--predict_xstart" train -o bad $SHORT --predict_xstart --prediction v
    [ ! -e bad/config.json ]
}

@test "a variance that is not there cannot be asked for" {
    train -o r $SHORT
    fails_with 2 "did not learn" "$DDPM" sample r --variance range -o a.png
    fails_with 2 "did not learn" "$DDPM" nll r "$BATS_FILE_TMPDIR/images" --variance learned
}
