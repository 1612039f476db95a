#!/usr/bin/env bash
# Builds the module of a GPU backend, and its packages for Python and Node.js in target/packages:
# scripts/gpu-package.sh BACKEND. The toolkit must be installed, except Vulkan's, whose missing parts are installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

backend=$1
feature=$(.venv/bin/python packages/gpu.py "$backend" --feature)
if [[ $feature == vulkan && $(uname) == Linux ]]; then
    headers=$(scripts/setup-gpu.sh)
    [[ -z $headers ]] || export VULKAN_INCLUDE_DIR="$headers"
fi
# With a feature and not with its variable, so that builds without the backend remain valid.
cargo build --release --features "full,$feature"
rm -f target/packages/*[-_]"$backend"-*
.venv/bin/python packages/gpu.py "$backend" target/release/mullama-backends/"$feature"/*ggml-*
