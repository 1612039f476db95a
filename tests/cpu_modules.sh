#!/usr/bin/env bash
# The vectors on every CPU module that this machine can run, not only on the best: the demo model's
# answers must not depend on the instruction set. Run from the repository's root after `make build`.
set -euo pipefail

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

passed=0 failed=0 skipped=0
for module in target/release/mullama-engine/libggml-cpu-*; do
    name=$(basename "$module")
    rm -rf "$scratch/one" && mkdir "$scratch/one"
    ln -s "$PWD/$module" "$scratch/one/$name"
    # The first folder that has a CPU module is the only one that is asked for one.
    if ! MULLAMA_BACKENDS="$scratch/one" target/release/mullama devices --json |
        grep -q "\"path\": \"$scratch/one/$name\""; then
        echo "test vectors on $name ... skipped: this machine cannot run it"
        skipped=$((skipped + 1))
    elif MULLAMA_BACKENDS="$scratch/one" cargo test --quiet --release --package mullama \
        --features full --test vectors >"$scratch/log" 2>&1; then
        echo "test vectors on $name ... ok"
        passed=$((passed + 1))
    else
        cat "$scratch/log"
        echo "test vectors on $name ... FAILED"
        failed=$((failed + 1))
    fi
done
echo "cpu_modules: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
