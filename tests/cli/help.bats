setup() { load common; }

@test "help lists the commands, and every command explains itself" {
    run "$DDPM" --help
    [ "$status" -eq 0 ]
    for command in train sample nll data info plan bench doctor help man completion; do
        [[ $output == *"  $command "* ]]
        "$DDPM" $command --help | grep -q "^Usage: ddpm $command"
        diff <("$DDPM" $command --help) <("$DDPM" help $command)
    done
}

@test "no command is wrong use" {
    run "$DDPM"
    [ "$status" -eq 2 ]
}

@test "manual page and completions name every option of the help" {
    for command in train sample nll data info plan bench doctor; do
        options=$("$DDPM" $command --help | grep -oE '^  (-.,|   ) --(\[no-\])?[a-zA-Z0-9_]+' | grep -oE '[a-zA-Z0-9_]+$')
        [ "$(echo "$options" | wc -l)" -ge 3 ]
        manual=$("$DDPM" man $command | sed 's/\\-/-/g')
        for option in $options; do
            grep -qE -- "--(\[no-\])?$option\b" <<<"$manual"
        done
        for shell in bash zsh fish; do
            script=$("$DDPM" completion $shell)
            for option in $options; do grep -qE -- "(--|-l )$option\b" <<<"$script"; done
        done
    done
}

@test "the generated completion is a valid shell script" {
    "$DDPM" completion bash | bash -n
    fails_with 2 "bash, zsh and fish" "$DDPM" completion tcsh
}

@test "the manual page is valid roff" {
    command -v groff >/dev/null || skip "groff is not installed"
    [ -z "$("$DDPM" man train | groff -man -Tutf8 -ww 2>&1 >/dev/null)" ]
}

@test "version and build" {
    [[ $("$DDPM" --version) =~ ^ddpm\ [0-9]+\.[0-9]+\.[0-9]+$ ]]
    "$DDPM" --version --build_info | grep -q '^instruction sets: generic'
}

@test "the nearest command, option and preset are named" {
    fails_with 2 "did you mean train?" "$DDPM" trian
    fails_with 2 "did you mean --batch_size?" "$DDPM" train x --batch_sise 3
    fails_with 2 "did you mean ddpm-cifar10?" "$DDPM" train x --preset ddpm-cifar1
    fails_with 2 "of sample" "$DDPM" train x --eta 1
}

@test "presets are listed with their parameters" {
    run "$DDPM" train --preset list
    [ "$status" -eq 0 ]
    grep -qE '^ddpm-cifar10 +35746307 ' <<<"$output"
    grep -qE '^iddpm-cifar10-hybrid +52546438 ' <<<"$output"
    "$DDPM" train --preset list --json >"$BATS_TEST_TMPDIR/presets"
    [ "$(json "$BATS_TEST_TMPDIR/presets" presets.1.parameters)" -eq 35746307 ]
}

@test "a reader that goes away is no error" {
    "$DDPM" help train | head -1 | grep -q Usage
    "$DDPM" man >/dev/full && status=0 || status=$?
    [ "$status" -eq 74 ]
}

@test "help takes the word that says what a command does" {
    diff <("$DDPM" help classifier train) <("$DDPM" help classifier)
    diff <("$DDPM" help data verify) <("$DDPM" help data)
    for words in "train x" "data veri" "classifier train x"; do
        run "$DDPM" help $words
        [ "$status" -eq 2 ]
    done
}
