# Chains that start from images, and images of which a part is drawn anew.
setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 6 8 8 3
    "$TOOL" "$BATS_FILE_TMPDIR/classes" 12 8 8 3 4
    "$TOOL" "$BATS_FILE_TMPDIR/large" 2 16 12 3
    train -q -o "$BATS_FILE_TMPDIR/run" --steps 4
    "$DDPM" train "$BATS_FILE_TMPDIR/classes" $NET -q -o "$BATS_FILE_TMPDIR/classes-run" --class_cond true --steps 2
    "$TOOL" --mask "$BATS_FILE_TMPDIR/half.png" 8 8 4
    "$TOOL" --mask "$BATS_FILE_TMPDIR/all.png" 8 8 8
    "$TOOL" --mask "$BATS_FILE_TMPDIR/none.png" 8 8 0
    "$TOOL" --mask "$BATS_FILE_TMPDIR/wide.png" 9 8 4
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    HOME_DIR=$BATS_FILE_TMPDIR
    RUN=$HOME_DIR/run CLASSES_RUN=$HOME_DIR/classes-run IMAGES=$HOME_DIR/images
}

draw() { "$DDPM" sample "$RUN" -q --steps 10 --precision f32 "$@"; }

pixels() { "$TOOL" --cut "$@"; }      # FILE X Y WIDTH HEIGHT OUT

refuses() { local text=$1; shift; fails_with 2 "$text" "$DDPM" sample "$RUN" -o out.png "$@"; [ ! -e out.png ]; }

@test "an image starts from the one of its number, in turn" {
    draw -o a/ -n 9 --start_image "$IMAGES" --start_step 500
    draw -o b/ -n 9 --start_image "$IMAGES" --start_step 500 --batch 2 --threads 1
    draw -o c/ --index 7 --start_image "$IMAGES" --start_step 500
    draw -o d.png -n 1 --start_image "$IMAGES/00000.png" --start_step 500
    for k in 0 4 8; do cmp a/00000$k.png b/00000$k.png; done
    cmp a/000007.png c/000007.png
    pixels a/000000.png 0 0 8 8 folder
    pixels d.png 0 0 8 8 file
    cmp folder file
    differ a/000001.png a/000007.png                  # the same image, other noise
    draw -o e/ -n 1 --start_image "$IMAGES" --start_step 500 --seed 1
    differ a/000000.png e/000000.png
}

@test "a step of noise changes little, all of them everything" {
    for step in 20 1000; do
        "$DDPM" sample "$BATS_TEST_DIRNAME/../../models/fashion" -q -o $step.png --index 3 --start_image fashion:test --start_step $step
    done
    "$TOOL" --mask all.png 28 28 28
    "$DDPM" sample "$BATS_TEST_DIRNAME/../../models/fashion" -q -o known.png --index 3 --inpaint fashion:test --mask all.png --steps 2
    [ "$("$TOOL" --distance known.png 20.png)" -le 6 ]
    [ "$("$TOOL" --distance known.png 1000.png)" -ge 12 ]
}

@test "the steps that are left" {
    calls() { "$DDPM" sample "$RUN" -o x.png -n 1 --start_image "$IMAGES" --json "$@" 2>/dev/null >out.json; json out.json network_calls; }
    [ "$(calls)" -eq 25 ]                             # 20, 40, .. 500 of 50 steps
    [ "$(json out.json start_step)" -eq 500 ]
    [ "$(calls --start_step 519)" -eq 25 ]
    [ "$(calls --start_step 520)" -eq 26 ]
    [ "$(calls --start_step 1000)" -eq 50 ]
    [ "$(calls --start_step 7 --sampler ddpm)" -eq 7 ]
    [ "$(calls --start_step 1 --sampler ddpm)" -eq 1 ]
    fails_with 2 "the lowest of the 50 timesteps to walk is 20" "$DDPM" sample "$RUN" -o x.png --start_image "$IMAGES" --start_step 19
    fails_with 2 "timesteps 1 to 1000" "$DDPM" sample "$RUN" -o x.png --start_image "$IMAGES" --start_step 1001
}

@test "a late start can be filmed" {
    draw -o a.png -n 2 --start_image "$IMAGES"
    draw -o a.gif -n 2 --start_image "$IMAGES"
    [ "$("$TOOL" --frames a.gif)" -eq 5 ]
    pixels a.png 0 0 22 12 a
    pixels a.gif 0 0 22 12 b
    cmp a b
}

@test "classes are the data's unless given" {
    from() { "$DDPM" sample "$CLASSES_RUN" -q --steps 4 --start_image "$HOME_DIR/classes" "$@"; }
    from -o own/ -n 4
    from -o two/ -n 4 --class 2
    for k in 0 1 2 3; do "$DDPM" info own/00000$k.png --json >$k.json; done
    # The folder's files come class by class, three of each.
    [ "$(json 2.json class)" = '"0"' ]
    [ "$(json 3.json class)" = '"1"' ]
    "$DDPM" info two/000000.png --json >two.json
    [ "$(json two.json class)" = '"2"' ]
    fails_with 2 "class gives all images one" "$DDPM" sample "$CLASSES_RUN" -o x.png --start_image "$IMAGES"
    "$DDPM" sample "$CLASSES_RUN" -q -o x.png --steps 4 --start_image "$IMAGES" --class 1 -n 1
}

@test "images of another size" {
    refuses "--fit" --start_image "$HOME_DIR/large"
    refuses "--fit" --inpaint "$HOME_DIR/large" --mask "$HOME_DIR/half.png"
    draw -o x.png -n 2 --start_image "$HOME_DIR/large" --fit
}

@test "known pixels stay as they are" {
    for rounding in round truncate; do
        draw -o half/ -n 7 --inpaint "$IMAGES" --mask "$HOME_DIR/half.png" --jump_length 2 --jump_n_sample 2 --quantize $rounding --batch 4
        for k in 0 3 6; do
            pixels half/00000$k.png 0 0 8 4 above
            pixels "$IMAGES/0000$((k % 6)).png" 0 0 8 4 known
            cmp above known
            pixels half/00000$k.png 0 4 8 4 below
            pixels "$IMAGES/0000$((k % 6)).png" 0 4 8 4 unknown
            differ below unknown
        done
    done
    draw -o all/ -n 2 --inpaint "$IMAGES" --mask "$HOME_DIR/all.png"
    pixels all/000001.png 0 0 8 8 a
    pixels "$IMAGES/00001.png" 0 0 8 8 b
    cmp a b
    draw -o none/ -n 2 --inpaint "$IMAGES" --mask "$HOME_DIR/none.png"
    draw -o other/ -n 2 --inpaint "$IMAGES/00005.png" --mask "$HOME_DIR/none.png"
    pixels none/000001.png 0 0 8 8 a
    pixels other/000001.png 0 0 8 8 b
    cmp a b                                           # nothing of the image is looked at
}

@test "an inpainted image does not depend on the batch, and can be filmed" {
    fill() { draw --inpaint "$IMAGES" --mask "$HOME_DIR/half.png" --jump_n_sample 2 "$@"; }
    fill -o a/ -n 5
    fill -o b/ -n 5 --batch 2 --threads 1
    fill -o c/ --index 4
    cmp a/000004.png b/000004.png
    cmp a/000004.png c/000004.png
    fill -o a.gif --index 4
    pixels a.gif 0 0 8 8 film
    pixels a/000004.png 0 0 8 8 image
    cmp film image
}

@test "the calls of resampling" {
    calls() { "$DDPM" sample "$RUN" -o x.png -n 1 --inpaint "$IMAGES" --mask "$HOME_DIR/half.png" --json "$@" 2>/dev/null >out.json; json out.json network_calls; }
    [ "$(calls --steps 10 --jump_length 2 --jump_n_sample 3)" -eq 26 ]     # 10, and from 4 levels twice 2
    [ "$(calls --steps 50)" -eq 482 ]                                      # jumps of 2 from 24 levels, 9 times
    [ "$(calls --jump_n_sample 1)" -eq 250 ]
    [ "$(calls --steps 20 --jump_length 30)" -eq 20 ]
    [ "$(json out.json steps)" -eq 20 ]
}

@test "a plan knows the calls" {
    calls() { "$DDPM" plan sample "$RUN" --json "$@" 2>/dev/null >plan.json; json plan.json network_calls; }
    [ "$(calls -n 40 --batch 32 --steps 10)" -eq 20 ]
    [ "$(calls -n 4 --start_image "$IMAGES")" -eq 25 ]
    [ "$(calls -n 4 --inpaint "$IMAGES" --mask "$HOME_DIR/half.png" --steps 50)" -eq 482 ]
    [ "$(calls -n 4 --sampler heun --steps 10)" -eq 19 ]
    calls -n 32 --steps 50
    plain=$(json plan.json memory.samples)
    calls -n 32 --steps 50 -o film.gif
    film=$(json plan.json memory.samples)
    [ $((film - plain)) -eq $((32 * 50 * 8 * 8 * 3)) ]
}

@test "options that contradict each other" {
    half=$HOME_DIR/half.png
    refuses "give one of them" --start_image "$IMAGES" --inpaint "$IMAGES" --mask "$half"
    refuses "give one of them" --start_image "$IMAGES" --xT x.safetensors
    refuses "without --start_image" --start_step 5
    refuses "without --inpaint" --mask "$half"
    refuses "without --inpaint" --jump_length 5
    refuses "without --inpaint" --jump_n_sample 5
    refuses "needs --mask" --inpaint "$IMAGES"
    refuses "use --sampler ddpm" --inpaint "$IMAGES" --mask "$half" --sampler ddim
    refuses "use ddpm or ddim" --start_image "$IMAGES" --sampler unipc
    refuses "this model's images are 8x8" --inpaint "$IMAGES" --mask "$HOME_DIR/wide.png"
    fails_with 74 "absent" "$DDPM" sample "$RUN" -o out.png --inpaint "$IMAGES" --mask absent.png
    fails_with 74 "absent" "$DDPM" sample "$RUN" -o out.png --start_image absent
    fails_with 65 "" "$DDPM" sample "$RUN" -o out.png --inpaint "$IMAGES" --mask "$BATS_TEST_FILENAME"
    [ ! -e out.png ]
}

@test "images without labels are taken without a class where the model knows that" {
    "$DDPM" sample "$CLASSES_RUN" -q -o flat/ -n 2 --steps 2
    fails_with 2 "class gives all images one" "$DDPM" nll "$CLASSES_RUN" flat --steps 3
    "$DDPM" nll "$CLASSES_RUN" flat --steps 3 -q --class 1 >one.txt
    grep -q "bits/dim" one.txt
    fails_with 2 "label dropout" "$DDPM" nll "$CLASSES_RUN" flat --steps 3 --class none
    fails_with 2 "have a class each" "$DDPM" nll "$CLASSES_RUN" flat --steps 3 --class random
}
