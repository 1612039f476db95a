#!/usr/bin/env bash
# Prints what a user of the command waits for, and keeps it in target/bench/hub.md: a pull of 200 MB against a
# plain download from the same server on loopback, what is fetched again after a kill, a list of 500 models,
# and the first character of an answer. BENCH_ROUNDS sets how often each is measured (default 11).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo build --release --features full
mkdir -p target/bench
# What the build tree has for other processors is not to be loaded along.
export MULLAMA_BACKEND=${MULLAMA_BACKEND:-cpu}
model=$(target/release/mullama-testkit path 100m)
target/release/mullama-bench hub "${BENCH_ROUNDS:-11}" "$model" | tee target/bench/hub.md
