#!/bin/sh
# Fail if a file includes a header of a room it may not see.
# The table is the architecture: one line per room, the rooms it may include.
allowed() {
    case $1 in
    base)      echo "base" ;;
    nn)        echo "nn base" ;;
    backend)   echo "backend nn base" ;;
    diffusion) echo "diffusion base" ;;
    io)        echo "io base" ;;
    data)      echo "data io base" ;;
    model)     echo "model nn base" ;;
    metrics)   echo "metrics io base" ;;
    train)     echo "train model diffusion data io nn base" ;;
    api)       echo "api train metrics model diffusion data io backend nn base" ;;
    lib)       echo "lib api train metrics model diffusion data io backend nn base" ;;
    cli)       echo "api cli" ;;
    *)         echo "" ;;
    esac
}
# Third-party headers live in one room each.
home() {
    case $1 in
    png.h|turbojpeg.h|gif_lib.h|jansson.h|yaml.h|lmdb.h|webp/*|zlib.h) echo io ;;
    *intrin.h) echo backend ;;
    *) echo any ;;
    esac
}
bad=0
for f in $(find src cli -name '*.[ch]' | sort); do
    case $f in src/*) room=$(echo "$f" | cut -d/ -f2) ;; *) room=cli ;; esac
    for inc in $(sed -n 's/^#include "\([a-z_]*\)\/.*/\1/p' "$f" | sort -u); do
        case " $(allowed "$room") " in
        *" $inc "*) ;;
        *) echo "$f: $room may not include $inc/"; bad=1 ;;
        esac
    done
    for inc in $(sed -n 's/^#include <\([a-zA-Z_/0-9.]*\)>.*/\1/p' "$f" | sort -u); do
        where=$(home "$inc")
        [ "$where" = any ] || [ "$where" = "$room" ] || { echo "$f: <$inc> belongs to $where/"; bad=1; }
    done
    case $f in src/metrics/linalg.c) ;; *)
        grep -nE "\<d[a-z]{4,5}_ ?\(" "$f" && { echo "$f: LAPACK belongs to metrics/linalg.c"; bad=1; } ;;
    esac
    # The loops of metrics/ are compiled for several levels too; which of them a build has, metrics/tile/ asks.
    case $f in src/backend/*|src/metrics/tile/*) ;; *)
        grep -nE "^ *# *if.*(CUDA|AVX|AMX|__BF16)" "$f" && { echo "$f: device conditionals belong to backend/ and metrics/tile/"; bad=1; } ;;
    esac
done
[ $bad = 0 ] && echo "layers ok"
exit $bad
