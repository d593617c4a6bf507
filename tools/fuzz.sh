#!/bin/sh
# fuzz.sh SECONDS - every parser under libFuzzer for so long, with the address and undefined-behaviour sanitizers.
# Needs clang-14 and libclang-rt-14-dev. New inputs stay in build-fuzz/work/NAME; a finding ends the run and names its file.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
command -v clang-14 >/dev/null || { echo "fuzzing needs clang: apt-get install clang-14 libclang-rt-14-dev" >&2; exit 1; }
[ -e build-fuzz/build.ninja ] || CC=clang-14 cmake -S . -B build-fuzz -G Ninja -DDDPM_FUZZ=ON >/dev/null
ninja --quiet -C build-fuzz fuzz_all
for corpus in fuzz/corpus/*; do
    name=$(basename "$corpus")
    mkdir -p "build-fuzz/work/$name"
    build-fuzz/fuzz/"$name" -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="build-fuzz/work/$name-" \
        "build-fuzz/work/$name" "$corpus" >"build-fuzz/work/$name.log" 2>&1 || { tail -40 "build-fuzz/work/$name.log"; exit 1; }
    echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "build-fuzz/work/$name.log") inputs"
done
