#!/usr/bin/env bash
# Prints the accuracy of the planner, and writes it to target/bench/placement.md: planned against allocated memory
# on this machine's GPUs, the cost of a plan, and the number of layers that `auto` places on GPUs with decreasing
# memory, against the largest number that fits with any split.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo build --release --features full
built=target/release
mkdir -p target/bench
# Does not use the results of earlier plans.
XDG_CACHE_HOME=$(mktemp -d)
export XDG_CACHE_HOME
trap 'rm -rf "$XDG_CACHE_HOME"' EXIT

models=()
for model in small moe; do
    models+=("$model=$("$built/mullama-testkit" path "$model")")
done
models+=("cost=$("$built/mullama-testkit" path 1b)")
{
    "$built/mullama-bench" placement "${models[@]}"
    printf '\n# auto on simulated GPUs\n\n```\n'
    cargo test --release --quiet --features full auto_fits -- --show-output 2>/dev/null | sed -n '/^model/,/^$/p'
    printf '```\n'
} | tee target/bench/placement.md
