#!/usr/bin/env bash
# Asks for every backend whose toolkit this machine lacks: the build must end with one error that names what
# is missing and what to install, and the next build without it must work. Run from the repository's root.
set -uo pipefail

packages=(--workspace --exclude mullama-python --exclude mullama-node)
passed=0 failed=0 skipped=0
while read -r variable tool says; do
    if command -v "$tool" >/dev/null; then
        echo "skipped: $variable: $tool is installed"
        skipped=$((skipped + 1))
        continue
    fi
    output=$(env "$variable=1" cargo build --release --features full "${packages[@]}" 2>&1)
    status=$?
    errors=$(grep -c '^error: mullama-sys@' <<<"$output")
    if ((status != 0 && errors == 1)) && grep -q "^error: mullama-sys@.*$tool.*$says" <<<"$output"; then
        passed=$((passed + 1))
    else
        echo "FAILED: $variable (status $status, $errors errors):"
        grep '^error' <<<"$output"
        failed=$((failed + 1))
    fi
done <<'TABLE'
LLAMA_CUDA nvcc CUDA
LLAMA_HIPBLAS hipcc ROCm
LLAMA_SYCL icpx oneAPI
TABLE
if cargo build --release --features full "${packages[@]}"; then
    passed=$((passed + 1))
else
    failed=$((failed + 1))
fi
echo "toolkits: $passed passed, $failed failed, $skipped skipped"
exit $((failed > 0))
