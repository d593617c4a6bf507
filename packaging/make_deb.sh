#!/bin/sh
# Build the Debian packages ddpm, libddpm0 and libddpm-dev of this tree, and let lintian judge them.
#   make_deb.sh FOLDER     leaves them in FOLDER
set -eu
cd "$(dirname "$0")/.."
out=$1
for tool in dpkg-buildpackage dh lintian git; do
    command -v $tool >/dev/null || { echo "make deb needs $tool: apt-get install dpkg-dev debhelper lintian git" >&2; exit 1; }
done
for package in $(sed -n 's/^build="\(.*\)"$/\1/p' tools/install_deps.sh); do
    case $package in gcc|libc6-dev) continue ;; esac       # build-essential
    grep -qE "[ ,]$package(,| |\$)" packaging/debian/control || { echo "packaging/debian/control: Build-Depends lacks $package" >&2; exit 1; }
done
version=$(dpkg-parsechangelog -l packaging/debian/changelog -S Version)
upstream=${version%-*}
grep -q "^project(ddpm VERSION $upstream " CMakeLists.txt || { echo "packaging/debian/changelog is of $upstream, CMakeLists.txt is not" >&2; exit 1; }
mkdir -p "$out"
out=$(cd "$out" && pwd)
tree=$out/ddpm-$upstream
rm -rf "$tree" "$out"/*.deb "$out"/ddpm_*
mkdir "$tree"
git ls-files -co --exclude-standard | grep -v '^packaging/debian/' | while read -r file; do [ ! -e "$file" ] || echo "$file"; done |
    tar -cf - -T - | tar -xf - -C "$tree"
tar -C "$out" -cJf "$out/ddpm_$upstream.orig.tar.xz" "ddpm-$upstream"
cp -r packaging/debian "$tree/debian"
(cd "$tree" && dpkg-buildpackage -us -uc)
rm -rf "$tree"
lintian --fail-on error "$out"/ddpm_*.changes
ls "$out"/*.deb
