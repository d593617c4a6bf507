# What `cmake --install` puts somewhere is complete: programs are built against it and find everything from there.

setup_file() {
    load common
    SOURCE=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
    PREFIX=$BATS_FILE_TMPDIR/prefix
    cmake --install "$(dirname "$DDPM")" --prefix "$PREFIX" >/dev/null
    LIBRARY=$(dirname "$(find "$PREFIX" -name libddpm.so)")
    if nm -D "$LIBRARY/libddpm.so" | grep -q __asan; then skip "the library is built with sanitizers"; fi
    export SOURCE PREFIX LIBRARY PKG_CONFIG_PATH=$LIBRARY/pkgconfig
}

setup() {
    load common
    cd "$BATS_TEST_TMPDIR"
}

declared() { sed -nE 's/^DDPM_API .*[ *](ddpm_[a-z_]+)\(.*/\1/p' "$SOURCE/include/ddpm.h" | LC_ALL=C sort; }

@test "the library exports what the header declares, and nothing else" {
    nm -D --defined-only "$LIBRARY/libddpm.so" | awk '{ print $3 }' | LC_ALL=C sort >exported
    declared >declared
    [ "$(wc -l <declared)" -gt 30 ]
    diff declared exported
    sed -n 's/^ \(.*\)@Base .*/\1/p' "$SOURCE/packaging/debian/libddpm0.symbols" | diff declared -
}

@test "the library neither prints nor ends the program, and reads no environment" {
    nm -D --undefined-only "$LIBRARY/libddpm.so" | awk '{ print $2 }' | cut -d@ -f1 >wanted
    grep -qx malloc wanted
    # signal is for the child that reads LMDB, which takes back the handlers it inherited
    run grep -xE 'printf|vprintf|puts|putchar|perror|exit|abort|getenv|secure_getenv|setlocale|sigaction|system|popen|stdout|stderr' wanted
    echo "$output"
    [ "$status" -eq 1 ]
}

@test "the header is C99 and C++" {
    echo '#include <ddpm.h>' >x.c
    cc -std=c99 -Wall -Wextra -Wpedantic -Werror -fsyntax-only $(pkg-config --cflags ddpm) x.c
    if command -v c++ >/dev/null; then c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c++ $(pkg-config --cflags ddpm) x.c; fi
}

# The pixels of the program's images as the example writes them.
expected() {
    "$PREFIX/bin/ddpm" sample fashion -q -n 4 --seed 7 --steps 10 -o program.npz
    printf 'P5 28 112 255\n'
    "$TOOL" --array program.npz arr_0
}

@test "the example, built with pkg-config, draws what the program draws" {
    cc -std=c11 -Wall -Wextra -Wpedantic -Werror "$SOURCE/examples/sample.c" $(pkg-config --cflags --libs ddpm) -o sample
    LD_LIBRARY_PATH=$LIBRARY ./sample fashion 7 out.pgm
    expected | cmp - out.pgm
    LD_LIBRARY_PATH=$LIBRARY ./sample fashion 8 other.pgm
    differ out.pgm other.pgm
}

@test "the example says what is wrong" {
    cc "$SOURCE/examples/sample.c" $(pkg-config --cflags --libs ddpm) -o sample
    LD_LIBRARY_PATH=$LIBRARY fails_with 1 "there is no model \"nothing\"" ./sample nothing 7 out.pgm
    LD_LIBRARY_PATH=$LIBRARY fails_with 1 "--seed: \"x\"" ./sample fashion x out.pgm
}

@test "the example, built with find_package, draws what the program draws" {
    cmake -S "$SOURCE/examples" -B build -DCMAKE_PREFIX_PATH="$PREFIX" >/dev/null
    cmake --build build >/dev/null
    build/sample fashion 7 out.pgm
    expected | cmp - out.pgm
}

@test "the Python module draws what the program draws" {
    if ! command -v python3 >/dev/null; then skip "there is no Python"; fi
    export DDPM_LIBRARY=$LIBRARY/libddpm.so.0
    python3 "$SOURCE/examples/ddpm.py" fashion 7 out.pgm
    expected | cmp - out.pgm
    run python3 "$SOURCE/examples/ddpm.py" nothing 7 out.pgm
    [[ $output == *"there is no model \"nothing\""* ]]
}

@test "the installed program finds its model, its man page and its completions" {
    "$PREFIX/bin/ddpm" info fashion >out.txt
    grep -q "$PREFIX/share/ddpm/models/fashion" out.txt
    grep -q '^\.TH "DDPM" 1' "$PREFIX/share/man/man1/ddpm.1"
    "$DDPM" completion bash | cmp - "$PREFIX/share/bash-completion/completions/ddpm"
    "$DDPM" completion zsh | cmp - "$PREFIX/share/zsh/site-functions/_ddpm"
    "$DDPM" completion fish | cmp - "$PREFIX/share/fish/vendor_completions.d/ddpm.fish"
}
