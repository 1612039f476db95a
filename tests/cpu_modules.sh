#!/usr/bin/env bash
# Runs the vectors on every CPU module that this machine supports, not only on the best: the demo
# model's answers must not depend on the instruction set. Run from the repository's root after
# `make build`.
# shellcheck disable=SC2329 # `check` calls the function
set -euo pipefail
# shellcheck source=tests/checks.sh
source tests/checks.sh

vectors() {
    MULLAMA_BACKENDS="$scratch/one" cargo test --quiet --release --features full --test vectors
}

for module in target/release/mullama-engine/libggml-cpu-*; do
    name=$(basename "$module")
    rm -rf "$scratch/one" && mkdir "$scratch/one"
    ln -s "$PWD/$module" "$scratch/one/$name"
    # CPU modules are only loaded from the first folder that has one.
    if MULLAMA_BACKENDS="$scratch/one" target/release/mullama devices --json |
        grep -q "\"path\": \"$scratch/one/$name\""; then
        check "vectors on $name" vectors
    else
        skip "vectors on $name" "this machine cannot run it"
    fi
done
((passed + failed > 0)) || check "there is a module that this machine can run" false
finish cpu_modules
