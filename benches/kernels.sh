#!/usr/bin/env bash
# Prints the speed of our kernels relative to the engine's and to the limits of this machine, for every module that it
# can run, and writes it to target/bench/kernels.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo build --release --features full
engine=$PWD/target/release/mullama-engine
# shellcheck disable=SC2012 # the names are our own
cache=$(ls -t target/release/build/mullama-sys-*/out/module-cpu/build/CMakeCache.txt | head -1)
sources=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$cache")
mkdir -p target/bench
c++ -std=c++17 -O2 -pthread -I "$sources/ggml/include" crates/mullama-sys/tests/kernels/bench.cpp -o target/bench/kernels \
    "$engine/libggml.so.0" "$engine/libggml-base.so.0" "-Wl,-rpath,$engine"
for module in "$engine"/libggml-cpu-*.so; do
    # A module that cannot run here, or has no kernels of ours, prints the reason and fails.
    printf '\n## %s\n\n' "$(basename "$module" .so)"
    target/bench/kernels "$module" "$@" || true
done | tee target/bench/kernels.md
