#!/usr/bin/env bash
# Packs everything that a machine with a GPU needs for `run.sh`, so that nothing is built or downloaded there:
# tests/device/bundle.sh MODULE OUT.tgz
#
# MODULE is a backend's module, such as libggml-cuda.so. Run from the repository's root after `make wheel`.
# The archive contains the wheel's files (engine, Python module), the command, the GPU tests in Rust, the benchmark,
# and the program that creates test models. On the other machine, unpack it anywhere and run `./run.sh`.
set -euo pipefail

if (($# != 2)); then
    echo "usage: $0 MODULE OUT.tgz" >&2
    exit 2
fi
module=$1 out=$2 release=target/release
tests=(devices budget workers)
here=$(dirname "${BASH_SOURCE[0]}")

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
kind=$(basename "$module" .so)
kind=${kind#libggml-}
mkdir -p "$scratch"/{python,tests,"backends/${kind%%-*}"}
python3 -m zipfile -e target/wheels/mullama-*.whl "$scratch/python"
# Without the CPU modules for processors that are older than AVX2. `rm` fails if there is no such module any more.
for old in sse42 sandybridge ivybridge piledriver; do
    rm "$scratch/python/mullama/lib/libggml-cpu-$old.so"
done
cp "$release/mullama" "$scratch/python/mullama/lib/"
cp "$module" "$scratch/backends/${kind%%-*}/"

arguments=()
for test in "${tests[@]}"; do arguments+=(--test "$test"); done
cargo test --release --features full "${arguments[@]}" --no-run --message-format json |
    python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable"):
        print(message["target"]["name"], message["executable"])
' | while read -r name program; do
    cp "$program" "$scratch/tests/$name"
done
cp "$release/mullama-bench" "$release/mullama-testkit" "$scratch/tests/"
strip "$scratch"/tests/* "$scratch"/backends/*/*.so
cp "$here/run.sh" "$here/run.py" "$scratch/"
# Tests search for their models in the folder in which they were built.
printf '%s\n' "$PWD" >"$scratch/checkout"
git rev-parse --short HEAD >"$scratch/commit"
tar -C "$scratch" -czf "$out" .
stat --printf '%n: %s bytes\n' "$out"
