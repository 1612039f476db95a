#!/usr/bin/env bash
# Asks for every backend whose toolkit this machine lacks: the build must end with one error that names what
# is missing and what to install, and the next build without it must work. Run from the repository's root.
# shellcheck disable=SC2329 # `check` calls the functions
set -euo pipefail
# shellcheck source=tests/checks.sh
source tests/checks.sh

build() {
    cargo build --release --features full
}

refuses_without() { # VARIABLE TOOL ADVICE
    local status=0 errors
    export "$1=1"
    build >"$scratch/build.log" 2>&1 || status=$?
    errors=$(grep '^error: mullama-sys@' "$scratch/build.log")
    echo "status $status: $errors"
    ((status != 0))
    [[ $(wc -l <<<"$errors") == 1 && $errors == *"$2"*"$3"* ]]
}

while read -r variable tool says; do
    if command -v "$tool" >/dev/null; then
        skip "$variable" "$tool is installed"
    else
        check "$variable" refuses_without "$variable" "$tool" "$says"
    fi
done <<'TABLE'
LLAMA_CUDA nvcc CUDA
LLAMA_HIPBLAS hipcc ROCm
LLAMA_SYCL icpx oneAPI
TABLE
check "the next build works" build
finish toolkits
