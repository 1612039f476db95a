#!/usr/bin/env bash
# Runs the tests that need a GPU, on a machine that needs no compiler: run.sh [MINUTES [OUT]]
#
# Run it in the folder that `bundle.sh` packed. The results are written to OUT (default: results): results.json,
# gpu-results.md, and a log of each step. Steps that would begin after MINUTES (default: 8) are reported as
# skipped. The exit status is 0 if every step that ran has passed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec python3 run.py --minutes "${1:-8}" --out "${2:-results}"
