setup_file() {
    load common
    "$TOOL" "$BATS_FILE_TMPDIR/images" 24 8 8 3
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
    IMAGES=$BATS_FILE_TMPDIR/images
}

teardown() { umount "$BATS_TEST_TMPDIR/disk" 2>/dev/null || true; }

@test "killed fifty times, the run ends with the same bits" {
    steps=400
    train -q -o whole --steps $steps --save_interval 3
    kills=0
    for i in $(seq 50); do
        "$DDPM" train "$IMAGES" $NET -q -o r --steps $steps --save_interval 3 3>&- &
        pid=$!
        sleep 0.0$((RANDOM % 60 + 20))
        if kill -KILL $pid 2>/dev/null; then kills=$((kills + 1)); fi
        wait $pid 2>/dev/null || true
        # What is under its final name is whole.
        for folder in r/checkpoints/step-????????; do
            [ -d "$folder" ] || continue
            "$DDPM" info "$folder" >/dev/null
        done
    done
    echo "$kills kills, $(ls r/checkpoints)"
    [ "$kills" -ge 25 ]
    train -q -o r --steps $steps --save_interval 3
    cmp "$(checkpoint r $steps)/training_state.safetensors" "$(checkpoint whole $steps)/training_state.safetensors"
    cmp "$(checkpoint r $steps)/unet/diffusion_pytorch_model.safetensors" "$(checkpoint whole $steps)/unet/diffusion_pytorch_model.safetensors"
    [ "$(ls r/checkpoints | wc -l)" -le 4 ]
}

@test "a full disk keeps the old checkpoint, and training goes on" {
    mkdir disk
    mount -t tmpfs -o size=12m tmpfs disk 2>/dev/null || skip "this system allows no mount"
    train -q -o disk/r --steps 4 --save_interval 100
    size=$(du -sk "$(checkpoint disk/r 4)" | cut -f1)
    room=$(df -k --output=avail disk | tail -1)
    head -c $(((room - size / 2) * 1024)) /dev/zero >disk/filler
    status=0
    train -o disk/r --steps 12 --save_interval 4 2>messages || status=$?
    rm disk/filler
    finished=0
    train -q -o disk/r --steps 12 --save_interval 4 || finished=$?
    last=$(ls disk/r/checkpoints)
    umount disk
    cat messages
    [ "$status" -eq 74 ]                       # the last state could not be saved
    grep -q "step 8 was not saved" messages
    [ "$finished" -eq 0 ]
    [[ $last == *step-00000004*step-00000012* ]]
}

@test "a limit on the size of files keeps the old checkpoint too" {
    train -q -o r --steps 4
    status=0
    (ulimit -f 64; trap '' XFSZ; exec "$DDPM" train "$IMAGES" $NET -o r --steps 8 --save_interval 2) 2>messages || status=$?
    cat messages
    [ "$status" -eq 74 ]
    [ "$(ls r/checkpoints)" = step-00000004 ]
    train -q -o r --steps 8
    [ -d "$(checkpoint r 8)" ]
}
