#!/usr/bin/env bash
# Runs what only a GPU can show, on a machine that has one and no compiler: run.sh [MINUTES [OUT]]
#
# To be run in the folder that `bundle.sh` packed. What it found is written into OUT (default: results):
# results.json, gpu-results.md, and a log of each step. Steps that begin after MINUTES (default: 8) are left out,
# and said to be. The exit status is 0 where every step that ran did what it should.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec python3 run.py --minutes "${1:-8}" --out "${2:-results}"
