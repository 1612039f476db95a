#!/bin/sh
# Copies what a package has from what `make build` built: the engine's shared libraries and backend modules, the
# demo model, and, as FILE beside them, what uses them: a library of the workspace or its program. Symbols that
# only a debugger reads are left out.
#
#     scripts/stage-engine.sh DEST BUILT FILE
#
# MULLAMA_PROFILE names the profile of the build, by default `release`.
set -eu

if [ $# -ne 3 ]; then
    echo "usage: $0 DEST BUILT FILE" >&2
    exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd)
built=${CARGO_TARGET_DIR:-$root/target}/${MULLAMA_PROFILE:-release}

# The first of these files that there is.
first() {
    for file in "$@"; do
        if [ -f "$file" ]; then
            echo "$file"
            return
        fi
    done
    echo "$built has no $(basename "$1"): run \`make build\` first" >&2
    exit 1
}
user=$(first "$built/lib$2.so" "$built/lib$2.dylib" "$built/$2.dll" "$built/$2" "$built/$2.exe")

mkdir -p "$1"
# What an older build left must not be found by the one that takes its place; and a process that has a file
# loaded keeps it.
rm -f "$1"/libggml* "$1"/libllama* "$1"/ggml*.dll "$1"/llama*.dll "$1"/demo-*.gguf \
    "$1"/mullama "$1"/mullama.exe "$1"/mullama-probe* "$1"/mullama-worker* "$1/$3"
for file in "$built"/mullama-engine/*; do
    cp "$file" "$1"/
done
cp "$user" "$1/$3"
# On macOS a library that is changed has to be signed anew; on Windows symbols are files of their own.
if [ "$(uname)" = Linux ]; then
    strip "$1"/libggml* "$1"/libllama* "$1"/mullama-probe "$1"/mullama-worker "$1/$3"
    # Libraries find one another wherever the package lies: their own build has not told them.
    patchelf --set-rpath "\$ORIGIN" "$1"/libggml* "$1"/libllama*
fi
