# Charts as PNG and sheets with names; what librsvg draws is compared with the SVG in tests/svg_png.c.
setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 24 8 8 3 3
    "$TOOL" "$BATS_FILE_TMPDIR/plain" 24 8 8 3
    "$DDPM" train "$BATS_FILE_TMPDIR/images" $NET -q -o "$BATS_FILE_TMPDIR/run" --steps 2 --log_interval 1 --class_cond true --diffusion_steps 30
    "$DDPM" train "$BATS_FILE_TMPDIR/plain" $NET -q -o "$BATS_FILE_TMPDIR/free" --steps 2 --log_interval 1 --diffusion_steps 30
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    RUN=$BATS_FILE_TMPDIR/run FREE=$BATS_FILE_TMPDIR/free IMAGES=$BATS_FILE_TMPDIR/images
}

draw() { "$DDPM" sample "$RUN" -q --steps 2 --precision f32 "$@"; }

# A library and a font that are not there.
without_librsvg() { mkdir -p none; : >none/librsvg-2.so.2; LD_LIBRARY_PATH=$PWD/none "$@"; }
without_fonts() { echo '<?xml version="1.0"?><fontconfig></fontconfig>' >none.conf; FONTCONFIG_FILE=$PWD/none.conf "$@"; }

# From here on the tests need what `make check` installs.
need_librsvg() { "$DDPM" plot "$RUN" -o need.png 2>need.txt || skip "$(cat need.txt)"; }

is_png() { [ "$(od -An -tx1 -N 4 "$1" | tr -d ' ')" = 89504e47 ]; }
wide() { "$DDPM" info "$1" | sed -n 's/^size *\([0-9]*\)x\([0-9]*\),.*/\2 \1/p'; }       # info says the height first
twice() { sed -n "s/^<svg.* width='\([0-9]*\)' height='\([0-9]*\)' viewBox.*/\1 \2/p" "$1" | awk '{ print 2 * $1, 2 * $2 }'; }

@test "every chart is also a PNG, of twice the size" {
    need_librsvg
    "$DDPM" plot "$RUN" -o a.svg
    "$DDPM" plot "$RUN" -o a.png
    [ "$(wide a.png)" = "$(twice a.svg)" ]
    for kind in svg png; do "$DDPM" nll "$RUN" "$IMAGES" -q -n 2 -o terms.$kind; done
    [ "$(wide terms.png)" = "$(twice terms.svg)" ]
    for kind in svg png; do "$DDPM" progressive "$RUN" "$IMAGES" -q -n 2 -o p$kind --charts $kind; done
    [ "$(wide ppng/rate_distortion.png)" = "$(twice psvg/rate_distortion.svg)" ]
    [ ! -e ppng/rate_distortion.svg ]
}

@test "a sheet has a row for each class, with its name" {
    draw -o a.svg --sheet 3
    for name in $(ls "$IMAGES"); do grep -q "class='name'.*>$name</text>" a.svg; done
    [ "$(grep -c "<image" a.svg)" -eq 9 ]
    [ "$(sed -n "s/<image x='[0-9.]*' y='\([0-9.]*\)'.*/\1/p" a.svg | sort -u | wc -l)" -eq 3 ]
    draw -o two.svg --sheet 2 --class "$(ls "$IMAGES" | tail -1),0"
    [ "$(grep -o "class='name'[^<]*<" two.svg | sed 's/.*>\(.*\)</\1/' | tr '\n' ' ')" = "$(ls "$IMAGES" | tail -1) $(ls "$IMAGES" | head -1) " ]
    [ "$(grep -c "<image" two.svg)" -eq 4 ]
}

@test "the images of a sheet are those of the same index and class" {
    draw -o a.svg --sheet 2
    draw -o last.png --index 5 --class "$(ls "$IMAGES" | tail -1)"
    grep "<image" a.svg | tail -1 | sed "s/.*base64,//; s/'.*//" | base64 -d >cell.png
    [ "$(wide cell.png)" = "64 64" ]
    "$TOOL" --cut cell.png 0 0 8 8 corner.png               # 8 pixels for one
    "$TOOL" --cut last.png 0 0 1 1 pixel.png
    for at in 0 7; do "$TOOL" --cut corner.png $at $at 1 1 one.png; cmp one.png pixel.png; done
}

@test "a sheet as PNG, and of a model without classes" {
    "$DDPM" sample "$FREE" -q --steps 2 --sheet 3 -o grid.png
    "$DDPM" sample "$FREE" -q --steps 2 -n 9 -o same.png
    cmp grid.png same.png
    "$DDPM" sample "$FREE" -q --steps 2 --sheet 3 -n 5 -o five.svg
    [ "$(grep -c "<image" five.svg)" -eq 5 ]
    need_librsvg
    draw -o a.svg --sheet 3
    draw -o a.png --sheet 3
    [ "$(wide a.png)" = "$(twice a.svg)" ]
    "$DDPM" info a.png | grep -q "^sampler"
    "$DDPM" plan sample "$RUN" --sheet 3 | grep -q "9 images"
}

@test "a strip as SVG says which times it shows" {
    "$DDPM" sample "$FREE" -q --steps 4 --sampler ddpm -n 2 --film x0 -o a.svg
    "$DDPM" sample "$FREE" -q --steps 4 --sampler ddpm -n 2 --film xt -o b.svg
    times() { sed -n "s/.*class='column'.*>\([0-9]*\)<.*/\1/p" "$1" | tr '\n' ' '; }
    [ "$(times a.svg)" = "30 22 15 0 " ]                     # of the noise that x_0 is predicted from; the last is the image
    [ "$(times b.svg)" = "22 15 8 0 " ]
    [ "$(grep -c "<image" a.svg)" -eq 8 ]
    grep -q "<desc>.*film: xt" b.svg
}

@test "what contradicts a sheet" {
    fails_with 2 "-n and --sheet" draw -o a.png --sheet 3 -n 4
    for other in "--seeds 0-3" "--index 2" "--film x0"; do fails_with 2 "--sheet contradict" draw -o a.png --sheet 3 $other; done
    fails_with 2 "random" draw -o a.svg --sheet 3 --class random
    fails_with 2 "no class of that name" draw -o a.svg --sheet 3 --class 0,nothing
    fails_with 2 "cannot hold a sheet" draw -o a.npz --sheet 3
    fails_with 2 "--sheet" draw -o a.svg
    [ ! -e a.svg ]
}

@test "neighbours in a space of features" {
    "$DDPM" neighbours "$BATS_FILE_TMPDIR/plain" "$IMAGES" -q -o a.png --features pca8 --rows 2 --nearest 3 --json >a.json
    [ "$(json a.json features)" = '"pca8"' ]
    grep -q "Euclidean distance of pca8 features" a.svg
    [ "$(json a.json rows.1.nearest.0.distance | cut -c 1)" = 0 ]
    is_png a.png
    "$DDPM" neighbours "$BATS_FILE_TMPDIR/plain" "$IMAGES" -q -o b.png --features pca8 | grep -q "of pca8 features"
    fails_with 2 "--features nonsense" "$DDPM" neighbours "$IMAGES" "$IMAGES" -o b.png --features nonsense
}

@test "outliers: what lies outside the other set, the farthest first" {
    "$TOOL" some 40 8 8 1
    cp -r some samples
    cp -r some reference
    for rows in 3 5; do "$TOOL" --mask samples/zz$rows.png 8 8 $rows; done           # numbers 40 and 41
    "$TOOL" --mask reference/zz.png 8 8 8
    "$DDPM" eval samples reference -q --features raw --metrics pr --outliers a.svg --rows 2 --json >a.json
    [ "$(json a.json outliers.samples.of)" -eq 42 ]
    [ "$(json a.json outliers.reference.of)" -eq 41 ]
    [ "$(printf '%s\n' "$(json a.json outliers.samples.farthest.0.index)" "$(json a.json outliers.samples.farthest.1.index)" | sort | tr '\n' ' ')" = "40 41 " ]
    awk "BEGIN { exit !($(json a.json outliers.samples.farthest.0.distance) >= $(json a.json outliers.samples.farthest.1.distance)) }"
    [ "$(json a.json outliers.reference.farthest.0.index)" -eq 40 ]
    [ "$(json a.json outliers.samples.outside)" -eq 2 ] && [ "$(json a.json outliers.reference.outside)" -eq 1 ]
    awk "BEGIN { exit !(1 - $(json a.json outliers.samples.outside) / 42 - $(json a.json precision) < 1e-9) }"
    awk "BEGIN { exit !(1 - $(json a.json outliers.reference.outside) / 41 - $(json a.json recall) < 1e-9) }"
    grep -q ">Samples outside the reference: .* of 42<" a.svg
    grep -q ">sample 4[01]<" a.svg
    grep -q ">reference $(json a.json outliers.samples.farthest.0.nearest), distance [0-9.]*<" a.svg
    [ "$(grep -c "<image" a.svg)" -eq 6 ]
    fails_with 2 ".png or .svg" "$DDPM" eval samples reference --outliers a.pdf
    "$DDPM" eval some some -q --features pca4 --save_stats some.npz
    fails_with 2 "shows images" "$DDPM" eval samples some.npz --outliers b.svg
}

@test "without librsvg or fonts a PNG is refused, before the work, and the sentence says what to do" {
    fails_with 1 "librsvg2-2" without_librsvg "$DDPM" plot "$RUN" -o a.png
    fails_with 1 ".svg" without_librsvg draw -o a.png --sheet 3
    fails_with 1 "librsvg2-2" without_librsvg "$DDPM" nll "$RUN" "$IMAGES" -n 2 -o a.png
    fails_with 1 "librsvg2-2" without_librsvg "$DDPM" progressive "$RUN" "$IMAGES" -n 2 -o p --charts png
    fails_with 1 "fonts-dejavu-core" without_fonts "$DDPM" plot "$RUN" -o a.png
    [ ! -e a.png ] && [ ! -e p ]
    without_librsvg "$DDPM" plot "$RUN" -o a.svg
    without_librsvg "$DDPM" neighbours "$IMAGES" "$IMAGES" -o b.png --rows 2 2>said.txt
    grep -q "no words" said.txt
    is_png b.png
}
