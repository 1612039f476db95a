#!/usr/bin/env bash
# Builds the Vulkan module and runs the placement tests on two GPUs, simulated by a software renderer.
# Run from the repository's root after `make build`.
set -euo pipefail

headers=$(scripts/setup-gpu.sh)
[[ -z $headers ]] || export VULKAN_INCLUDE_DIR="$headers"
export LLAMA_VULKAN=1
# The renderer counts as a CPU and is skipped, unless it is selected; selected twice, it is two GPUs.
export GGML_VK_VISIBLE_DEVICES=0,0

status=0
cargo test --release --features full --test devices --test budget --test workers --no-fail-fast -- --show-output || status=1
# The examples of the page on GPUs run on three GPUs, which one of them needs, with a model that is small enough
# for a software renderer; the packages use the module from the build.
GGML_VK_VISIBLE_DEVICES=0,0,0 MULLAMA_WARMUP=0 MULLAMA_BACKENDS=$PWD/target/release/mullama-backends/vulkan \
    .venv/bin/python tests/docs/run.py --jobs 1 --models demo docs/guide/gpu.md || status=1
exit $status
