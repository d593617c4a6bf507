#!/bin/sh
# Install the Debian packages that building, testing and the demo need.
#   install_deps.sh           installs what is missing; asks first on a terminal, unless root or CI
#   install_deps.sh --check   only says what is missing for building; installs nothing
set -eu
build="gcc cmake ninja-build pkg-config libc6-dev libpng-dev libturbojpeg0-dev libjansson-dev zlib1g-dev libgif-dev libwebp-dev libyaml-dev liblmdb-dev liblapack-dev libcmocka-dev"
rest="bats dataset-fashion-mnist librsvg2-2 fonts-dejavu-core"

missing() {
    for p in "$@"; do
        dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$p"
    done
}

if ! command -v dpkg-query >/dev/null; then
    [ "${1:-}" = --check ] && exit 0      # another system: CMake will say what it does not find
    echo "This is not a Debian system; please install the equivalents of: $build $rest" >&2
    exit 1
fi
if [ "${1:-}" = --check ]; then
    # shellcheck disable=SC2086
    list=$(missing $build)
    [ -z "$list" ] && exit 0
    echo "Missing packages: $list" >&2
    echo "\`make deps\` installs them." >&2
    exit 1
fi
# shellcheck disable=SC2086
list=$(missing $build $rest)
[ -z "$list" ] && exit 0
run=
if [ "$(id -u)" != 0 ]; then
    run=sudo
    if [ -t 0 ] && [ "${CI:-}" != true ]; then
        printf 'Install %swith apt-get? [Y/n] ' "$list"
        read -r answer
        case $answer in n*|N*) exit 1 ;; esac
    fi
fi
echo "Installing $list"
$run apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq --no-install-recommends $list >/dev/null
