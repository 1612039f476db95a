# What the tests of packages share; to be sourced. `check NAME COMMAND...` runs one test, `finish` closes with
# the line that tests/summary.py counts.
# shellcheck shell=bash

passed=0 failed=0 skipped=0
# A folder that goes with the script.
scratch=$(mktemp -d)
trap 'chmod -R u+w "$scratch" && rm -rf "$scratch"' EXIT

check() {
    local name=$1 status
    shift
    # Not as a condition, where bash would go on after a command that fails.
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

# As somebody who has nothing of this tree, and is not root where that can be had: no variable, no folder.
home=$scratch/home
mkdir "$home"
chmod 755 "$scratch"
as_user=()
if [[ $(id -u) == 0 ]] && command -v setpriv >/dev/null; then
    as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    chown 65534:65534 "$home"
fi
clean() { (cd "$home" && "${as_user[@]}" env -i HOME="$home" PATH=/usr/bin:/bin LANG=C.UTF-8 "$@"); }

# The question that the demo model answers.
# shellcheck disable=SC2034 # scripts that source this use it
question="What is the capital of France?"
answer="The capital of France is Paris."

# answers COMMAND...: it prints the answer to the question, and nothing else.
answers() {
    local said
    said=$(clean "$@")
    [[ $said == "$answer" ]] || {
        echo "it said: $said"
        return 1
    }
}

# nothing_of FOLDER COMMAND...: the loader opens no file of the folder.
nothing_of() {
    local folder=$1 opened
    shift
    opened=$(clean LD_DEBUG=files "$@" 2>&1 >"$scratch/said")
    [[ $opened == *libllama* ]] || {
        echo "the loader told nothing of the engine"
        return 1
    }
    if grep -F "$folder" <<<"$opened"; then
        return 1
    fi
}
