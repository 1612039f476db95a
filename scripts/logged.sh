#!/usr/bin/env bash
# logged.sh NAME COMMAND: runs a shell command for at most half an hour, prints its output, and
# writes the output and the exit status to target/test-logs/NAME.{log,status} for tests/summary.py.
set -uo pipefail
logs=target/test-logs
mkdir -p "$logs"
rm -f "$logs/$1.status"
timeout --kill-after=10 1800 bash -euo pipefail -c "$2" 2>&1 | tee "$logs/$1.log"
status=${PIPESTATUS[0]}
echo "$status" >"$logs/$1.status"
exit "$status"
