#!/bin/sh
# Copies the files of a package from the output of `make build`: the engine's shared libraries and backend modules,
# the demo model, and, as FILE next to them, the library or program of the workspace that uses them. Debug symbols
# are removed.
#
#     scripts/stage-engine.sh DEST BUILT FILE
#
# MULLAMA_PROFILE is the profile of the build, by default `release`.
set -eu

if [ $# -ne 3 ]; then
    echo "usage: $0 DEST BUILT FILE" >&2
    exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd)
built=${CARGO_TARGET_DIR:-$root/target}/${MULLAMA_PROFILE:-release}

# Prints the first of these files that exists.
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
# Files of an older build must not be found by the new one. They are removed and not overwritten, because
# processes may have loaded them.
rm -f "$1"/libggml* "$1"/libllama* "$1"/ggml*.dll "$1"/llama*.dll "$1"/demo-*.gguf \
    "$1"/mullama "$1"/mullama.exe "$1"/mullama-probe* "$1"/mullama-worker* "$1/$3"
for file in "$built"/mullama-engine/*; do
    cp "$file" "$1"/
done
cp "$user" "$1/$3"
# On macOS, a changed library must be signed again; on Windows, symbols are separate files.
if [ "$(uname)" = Linux ]; then
    strip "$1"/libggml* "$1"/libllama* "$1"/mullama-probe "$1"/mullama-worker "$1/$3"
    # Makes the libraries find each other in their own folder, which their own build does not do.
    patchelf --set-rpath "\$ORIGIN" "$1"/libggml* "$1"/libllama*
fi
