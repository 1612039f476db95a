#!/bin/sh
# Copies what the engine needs at run time (its shared libraries and backend modules) from the release
# build into a package: scripts/stage-engine.sh DEST
set -eu

if [ $# -ne 1 ]; then
    echo "usage: $0 DEST" >&2
    exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd)
built=${CARGO_TARGET_DIR:-$root/target}/release/mullama-engine
if [ ! -d "$built" ]; then
    echo "$built is not there: run \`cargo build --release\` first" >&2
    exit 1
fi

mkdir -p "$1"
# What an older build left must not be found by the one that takes its place.
rm -f "$1"/libggml* "$1"/libllama* "$1"/ggml*.dll "$1"/llama*.dll
cp "$built"/* "$1"/
