#!/usr/bin/env bash
# Prints what a user of the command waits for, and writes it to target/bench/hub.md: a pull of 200 MB against a
# plain download from the same server on loopback, the bytes downloaded again after a kill, a list of 500 models,
# and the first character of an answer. BENCH_ROUNDS is the number of measurements of each (default 11).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo build --release --features full
mkdir -p target/bench
# Does not load the other backends of the build tree.
export MULLAMA_BACKEND=${MULLAMA_BACKEND:-cpu}
model=$(target/release/mullama-testkit path 100m)
target/release/mullama-bench hub "${BENCH_ROUNDS:-11}" "$model" | tee target/bench/hub.md
