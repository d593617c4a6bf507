#!/bin/sh
# Sample from the bundled model, then train the same preset on the real data for some minutes.
#   demo.sh DDPM MINUTES
set -eu
ddpm=$1
minutes=$2
out=demo
mkdir -p "$out"

echo "1. Forty images from the bundled Fashion-MNIST model"
"$ddpm" sample fashion -n 40 -o "$out/samples.png"

echo
echo "2. Training the same preset on the real data for $minutes minutes"
run="$out/run-$(date +%Y%m%d-%H%M%S)"
hours=$(awk "BEGIN { print $minutes / 60 }")
# 75 says: stopped by the clock, saved, can go on.
"$ddpm" train fashion --preset fashion -o "$run" --hours "$hours" || [ $? = 75 ]
"$ddpm" sample "$run" -n 40 -o "$out/trained.png"

echo
echo "Pictures:"
echo "  $out/samples.png        drawn by the bundled model"
echo "  $out/trained.png        drawn by the network just trained"
echo "  $run/samples/   how it learned, step by step"
echo "Go on training it with: $ddpm train fashion -o $run"
