# What the tests of the program share. DDPM and TOOL name the two programs.
: "${DDPM:=$BATS_TEST_DIRNAME/../../build/ddpm}" "${TOOL:=$BATS_TEST_DIRNAME/../../build/tests/make_images}"

# A network that trains in milliseconds; f32 and generic give the same bits everywhere.
NET="--num_channels 8 --norm_groups 4 --num_res_blocks 1 --channel_mult 1,2 --attention_resolutions 4 --num_heads 2 \
--batch_size 6 --leaves 3 --sample_interval 0 --precision f32 --max_isa generic"

bats_require_minimum_version 1.5.0

# Nothing of the caller's may reach the program.
unset OPENAI_LOGDIR TERM NO_COLOR

train() { "$DDPM" train "$BATS_FILE_TMPDIR/images" $NET "$@"; }

fails_with() {     # STATUS TEXT COMMAND...: the exit status, and the text in what is said
    local status_wanted=$1 text=$2
    shift 2
    run "$@"
    echo "$output"
    [ "$status" -eq "$status_wanted" ]
    [[ $output == *"$text"* ]]
    [ "${#lines[@]}" -le 12 ]
}

differ() { if cmp -s "$1" "$2"; then return 1; fi; }

json() { "$TOOL" --json "$@"; }

real() { json a.json "$1"; }       # KEY of the document a.json

real_near() {      # KEY VALUE: within 1e-9 of it
    awk -v got="$(real "$1")" -v want="$2" 'BEGIN { d = got - want; exit !(got != "null" && d * d <= 1e-18 * want * want) }'
}

near() { awk -v a="$1" -v b="$2" -v e="$3" 'BEGIN { d = a - b; exit !(d <= e && -d <= e) }'; }     # A B: within E of each other

checkpoint() { printf '%s/checkpoints/step-%08d' "$1" "$2"; }

wait_for() {       # until the command succeeds, at most ten seconds
    local i
    for i in $(seq 400); do
        "$@" 2>/dev/null && return
        sleep 0.025
    done
    return 1
}
