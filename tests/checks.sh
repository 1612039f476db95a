# Common functions of test scripts; to be sourced. `check NAME COMMAND...` runs a test, `finish` prints the
# line that tests/summary.py counts.
# shellcheck shell=bash

passed=0 failed=0 skipped=0
# A temporary folder, removed at the end of the script.
scratch=$(mktemp -d)
trap 'chmod -R u+w "$scratch" && rm -rf "$scratch"' EXIT

check() {
    local name=$1 status
    shift
    # Not as a condition, in which bash would continue after a failed command.
    set +e
    (
        set -e
        "$@"
    ) >"$scratch/check.log" 2>&1
    status=$?
    set -e
    if [[ $status == 0 ]]; then
        echo "test $name ... ok"
        passed=$((passed + 1))
    else
        cat "$scratch/check.log"
        echo "test $name ... FAILED"
        failed=$((failed + 1))
    fi
}

skip() { # NAME REASON
    echo "test $1 ... skipped: $2"
    skipped=$((skipped + 1))
}

finish() { # NAME
    echo "$1: $passed passed, $failed failed, $skipped skipped"
    exit $((failed > 0))
}
