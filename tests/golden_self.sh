#!/bin/sh
# The golden runner must notice what it is there for: golden_self.sh RUNNER FOLDER
# perturbs copies of a golden folder, one value or one file at a time.
set -u
runner=$1
folder=$2
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cp -R "$folder" "$work/set" && chmod -R u+w "$work/set" || exit 1
bad=0

complain() {
    echo "golden_self: $*"
    bad=1
}

run() {
    "$runner" "$work/set" --backend cpu "$@" >"$work/out" 2>"$work/err"
}

# byte_at FILE OFFSET
byte_at() {
    od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' '
}

# Flip the highest mantissa bit of the first element of TENSOR: half as much again, or a third less.
flip() {
    size=$(od -An -tu8 -N 8 "$1" | tr -d ' ')
    header=$(tail -c +9 "$1" | head -c "$size")
    case $header in *"\"$2\":"*) ;; *) complain "$1 has no tensor $2"; return 1 ;; esac
    entry=${header#*"\"$2\":"}
    entry=${entry%%\}*}
    begin=${entry#*data_offsets*[}
    begin=$(echo "${begin%%,*}" | tr -d ' ')
    case $entry in *F64*) place=6 bit=8 ;; *) place=2 bit=64 ;; esac
    at=$((8 + size + begin + place))
    new=$(($(byte_at "$1" "$at") ^ bit))
    printf "\\$(printf %03o "$new")" | dd of="$1" bs=1 seek="$at" conv=notrunc 2>/dev/null
}

# One wrong value in FILE/TENSOR must give status 1 and a line that names it.
perturb() {
    file=$work/set/$1.safetensors
    flip "$file" "$2" || return
    run --only "${1%%_*}"
    status=$?
    [ $status = 1 ] || complain "a wrong $1/$2 gives status $status"
    grep '^not ok' "$work/out" | grep -F -- "- $1/$2 " | grep -q ' got \| relative ' || complain "no line names a wrong $1/$2"
    flip "$file" "$2"
}

# A missing FILE must give status 1 and a failure, not a skipped part.
remove() {
    mv "$work/set/$1" "$work/kept"
    run --only "${1%%_*}"
    status=$?
    [ $status = 1 ] || complain "without $1 the status is $status"
    grep '^not ok' "$work/out" | grep -qF -- "$1" || complain "no failure names the missing $1"
    mv "$work/kept" "$work/set/$1"
}

# One changed byte in FILE, AT bytes before its end (PyTorch files), must give status 1 and a failure that says WHAT.
damage() {
    file=$work/set/$1
    at=$(($(wc -c <"$file") - $2))
    old=$(byte_at "$file" "$at")
    printf "\\$(printf %03o "$((old ^ 64))")" | dd of="$file" bs=1 seek="$at" conv=notrunc 2>/dev/null
    run --only "${1%%_*}"
    status=$?
    [ $status = 1 ] || complain "a changed byte in $1 gives status $status"
    grep '^not ok' "$work/out" | grep -F -- "- $1" | grep -qF -- "$3" || complain "no failure of $1 says $3"
    printf "\\$(printf %03o "$old")" | dd of="$file" bs=1 seek="$at" conv=notrunc 2>/dev/null
}

# FILE with TEXT replaced by ANOTHER of the same meaning elsewhere must give status 1 and a failure that says WHAT.
replace() {
    cp "$work/set/$1" "$work/kept"
    sed "s|$2|$3|" "$work/kept" >"$work/set/$1"
    cmp -s "$work/kept" "$work/set/$1" && complain "$1 has no $2"
    run --only "${1%%_*}"
    status=$?
    [ $status = 1 ] || complain "$2 as $3 in $1 gives status $status"
    grep '^not ok' "$work/out" | grep -qF -- "$4" || complain "no failure about $2 in $1 says $4"
    mv "$work/kept" "$work/set/$1"
}

perturb 01_schedules/schedules iddpm_linear_1000/betas
perturb 02_respacing/respacing space/1/betas
perturb 03_gaussian/gauss q_sample
perturb 04_losses/gauss_losses loss/EPSILON/LEARNED/MSE/vb
perturb 04_losses/bpd_b_range vb
perturb 05_resampler/resampler sample_weights
perturb 06_unet/iddpm_b/io out
perturb 06_unet/iddpm_b/io grad/input_blocks.0.0.weight
perturb 06_unet/ddim_h1/io grad_stat/conv_in.weight
perturb 06_unet/df_cifar_io grad_x
perturb 06_unet/timestep_embedding iddpm/32
perturb 06_unet/pt/pt_io iddpm/out
perturb 06_unet/pt/pt_io ddim/out_model
perturb 06_unet/pt/pt_io ddim/out_ema
damage 06_unet/pt/ddim_ema_plain_legacy.ckpt 2 "has another checksum"
damage 06_unet/pt/misc_legacy.pt 2 "has another checksum"
damage 06_unet/pt/ddim_ckpt.pth 100000 "checksum"
replace 06_unet/pt/index.json '"path": *"shared_slice"' '"path": "shared_part"' "stands where shared_part is expected"
replace 06_unet/pt/index.json '"epoch": *7' '"epoch": 8' "06_unet/pt/ddim_ckpt.pth:epoch"
replace 06_unet/pt/index.json '"misc.pt": *\[' '"misc.pt": [{"path": "one_more"},' "stands where one_more is expected"
perturb 07_samplers/iddpm_ddim b_eta0.5_clip/sample
perturb 07_samplers/diffusers ddim_eta0_leading/model_output
perturb 08_training/A_wd0 losses/loss
perturb 08_training/A_wd0 final/time_embed.0.bias
perturb 08_training/ddim_adam ema/conv_in.bias
perturb 09_metrics/metrics fid/1/fid_exact
perturb 09_metrics/metrics feat/sigma1
perturb 09_metrics/inception big/block2_mean
perturb 09_metrics/inception small/resized_end
perturb 09_metrics/inception small/logits

remove 01_schedules/schedules.safetensors
remove 02_respacing/respacing.json
remove 04_losses/likelihood.safetensors
remove 06_unet/iddpm_b/model.safetensors
remove 06_unet/iddpm_b/info.json
remove 06_unet/ddim_h1/weights.json
remove 06_unet/df_default/unet/config.json
remove 06_unet/pt/index.json
remove 06_unet/pt/pt_io.safetensors
remove 06_unet/pt/misc_legacy.pt
remove 06_unet/pt/ddim_ckpt.pth
remove 07_samplers/diffusers.safetensors
remove 08_training/summary.json
remove 09_metrics/metrics.safetensors
remove 09_metrics/inception_weights.json

# Everything was put back.
run || complain "the untouched folder gives status $?: $(grep '^not ok' "$work/out" | head -n 1)"

mv "$work/set/cases.json" "$work/kept"
run
[ $? = 2 ] || complain "a folder without cases.json must give status 2"
mv "$work/kept" "$work/set/cases.json"
sed 's|"05_resampler"|"05_other"|' "$work/set/cases.json" >"$work/kept"
cp "$work/set/cases.json" "$work/cases" && mv "$work/kept" "$work/set/cases.json"
run
[ $? = 1 ] || complain "a folder that cases.json does not describe must give status 1"
mv "$work/cases" "$work/set/cases.json"
run --only 77
[ $? = 2 ] || complain "a section that the folder lacks must give status 2"
run --backend abacus
[ $? = 2 ] || complain "an unknown backend must give status 2"

[ $bad = 0 ] && echo "golden_self: the runner notices everything"
exit $bad
