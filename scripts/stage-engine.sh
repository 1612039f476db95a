#!/bin/sh
# Copies what a package needs beside its own code from the release build: the engine's shared libraries and
# backend modules, the demo model, and the program `mullama`, without the symbols that only a debugger reads:
# scripts/stage-engine.sh DEST
set -eu

if [ $# -ne 1 ]; then
    echo "usage: $0 DEST" >&2
    exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd)
release=${CARGO_TARGET_DIR:-$root/target}/release
program=$release/mullama
[ ! -f "$program.exe" ] || program=$program.exe
if [ ! -d "$release/mullama-engine" ] || [ ! -f "$program" ]; then
    echo "$release has no engine or no program: run \`make build\` first" >&2
    exit 1
fi

mkdir -p "$1"
# What an older build left must not be found by the one that takes its place.
rm -f "$1"/libggml* "$1"/libllama* "$1"/ggml*.dll "$1"/llama*.dll "$1"/demo-*.gguf \
    "$1"/mullama "$1"/mullama.exe "$1"/mullama-probe*
for file in "$release"/mullama-engine/* "$program"; do
    cp "$file" "$1"/
done
# On macOS a library that is changed has to be signed anew; on Windows symbols are files of their own.
if [ "$(uname)" = Linux ]; then
    strip "$1"/libggml* "$1"/libllama* "$1"/mullama "$1"/mullama-probe
    # Libraries find one another wherever the package lies: their own build has not told them.
    patchelf --set-rpath "\$ORIGIN" "$1"/libggml* "$1"/libllama*
fi
