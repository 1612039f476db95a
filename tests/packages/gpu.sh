#!/usr/bin/env bash
# Tests the packages of the Vulkan backend in clean environments, on two GPUs simulated by a software
# renderer. Run from the repository's root after `make wheel gpu-package`.
set -euo pipefail

scripts/setup-gpu.sh >/dev/null
.venv/bin/python -m pytest -c tests/packages/pytest.ini -p no:cacheprovider tests/packages/test_gpu.py "$@"
