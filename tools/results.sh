#!/bin/bash
# The runs and numbers of docs/results.md: a few hours on two cores. What exists is not made again.
#   results.sh DDPM FOLDER      DDPM: the program; FOLDER: where runs, samples and tables go
set -eu
ddpm=$(realpath "$1")
mkdir -p "$2"
cd "$2"
model=fashion

train() {    # NAME STEPS OPTION...
    [ -e "$1.done" ] && return
    "$ddpm" train fashion --preset fashion -o "$1" --steps "$2" --lr_schedule cosine --lr_anneal_steps "$2" --sample_interval 0 \
        --save_interval 1000 --log_interval 5 -q "${@:3}"
    touch "$1.done"
}
bound() {    # MODEL OPTION...   the same 256 test images with the same noise for every model
    [ -e "$1.csv" ] || "$ddpm" nll "$1" fashion:test -n 256 --batch 100 -q --json -o "$1.csv" "${@:2}" >"$1.json"
}
draw() {     # NAME MODEL OPTION...
    [ -e "$1.npz" ] || "$ddpm" sample "$2" -n 1000 --batch 100 -q --json -o "$1.npz" "${@:3}" >"$1.sample.json"
    [ -e "$1.eval.json" ] || "$ddpm" eval "$1.npz" fashion:train -q --json >"$1.eval.json"
    [ -e "$1.all.json" ] || "$ddpm" eval "$1.npz" fashion:train -q --json --features pca784 --bootstrap 0 >"$1.all.json"
}
field() { grep -m1 "\"$2\"" "$1" | sed 's/.*: *//; s/,$//'; }
frechet() {  # NAME...   64 components with the interval, all components, seconds
    for f; do
        interval=$(grep -A2 '"interval"' "$f.eval.json" | tail -n 2 | tr -d ' \n')
        echo "$f $(field "$f.eval.json" frechet_pca64) [$interval] $(field "$f.all.json" frechet_pca784) $(field "$f.sample.json" seconds) s"
    done
}
# Mean difference B - A of two columns over the images both files have, and its 95 % interval.
paired() {   # A.csv COLUMN B.csv COLUMN
    awk -F, -v a="$2" -v b="$4" 'FNR == 1 { for (i = 1; i <= NF; i++) c[$i] = i; next }
        FILENAME == ARGV[1] { x[$1] = $c[a]; next }
        $1 in x { d = $c[b] - x[$1]; n++; s += d; q += d * d }
        END { m = s / n; e = sqrt((q / n - m * m) / (n - 1)); printf "%+.4f [%+.4f, %+.4f] of %d images\n", m, m - 1.96 * e, m + 1.96 * e, n }' "$1" "$3"
}
mean() { awk -F, -v a="$2" 'NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i; next } $c[a] != "" { s += $c[a]; n++ }
        END { if (n) printf "%.4f\n", s / n; else print "-" }' "$1"; }

echo "== Three trainings"
train linear-simple 3000 --noise_schedule linear
train cosine-simple 3000
train cosine-hybrid 3000 --learn_sigma true
for m in linear-simple cosine-simple cosine-hybrid; do bound $m; done
for m in linear-simple cosine-simple; do echo "$m large $(mean $m.csv bits_per_dim) small $(mean $m.csv other_variance)"; done
echo "cosine-hybrid $(mean cosine-hybrid.csv bits_per_dim)"
for v in bits_per_dim other_variance; do
    echo "cosine - linear, $v: $(paired linear-simple.csv $v cosine-simple.csv $v)"
    echo "hybrid - cosine simple, $v: $(paired cosine-simple.csv $v cosine-hybrid.csv bits_per_dim)"
done

echo "== Importance sampling of the bound"
train vlb-uniform 600 --learn_sigma true --use_kl true
train vlb-importance 600 --learn_sigma true --use_kl true --schedule_sampler loss-second-moment
"$ddpm" plot vlb-uniform vlb-importance -o noise.svg -q
[ -e terms.svg ] || "$ddpm" nll cosine-hybrid fashion:test -n 16 -q -o terms.svg

echo "== What is predicted, with which loss and variance"
for prediction in eps previous; do
    while read -r name options; do
        # shellcheck disable=SC2086
        train ablation-$prediction-$name 400 --noise_schedule linear --prediction $prediction $options
        bound ablation-$prediction-$name --steps 50
        echo "$prediction $name $(mean ablation-$prediction-$name.csv bits_per_dim) other variance $(mean ablation-$prediction-$name.csv other_variance)"
    done <<'END'
simple-fixed --loss mse --variance small
simple-learned --loss rescaled_mse --variance range
bound-fixed --loss rescaled_kl --variance small
bound-learned --loss rescaled_kl --variance range
END
done

echo "== Steps and eta"
"$ddpm" eval fashion:test fashion:train -n 1000 -q
"$ddpm" eval fashion:test fashion:train -n 1000 -q --features pca784 --bootstrap 0
for steps in 10 20 50 100 1000; do
    for eta in 0 1; do
        draw ddim-$steps-$eta $model --steps $steps --eta $eta
        frechet ddim-$steps-$eta
    done
done

echo "== Variance"
for steps in 25 50 100 200; do
    for variance in learned small large; do
        draw variance-$steps-$variance cosine-hybrid --sampler ddpm --steps $steps --variance $variance
        frechet variance-$steps-$variance
    done
done
