#!/usr/bin/env bash
# Prints how true the planner is, and keeps it in target/bench/placement.md: what is planned against what is
# allocated on this machine's GPUs, what asking costs, and how many layers `auto` finds room for on GPUs of
# shrinking memory, against the most that any number and any sharing of layers fits.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo build --release --features full
built=target/release
mkdir -p target/bench
# What was planned before is not to be remembered.
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
