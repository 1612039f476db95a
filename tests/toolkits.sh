#!/usr/bin/env bash
# Requests every backend whose toolkit this machine lacks: the build must end with one error that names the
# missing program and how to install it, and the next build without the backend must work. Run from the
# repository's root.
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

# Variable, program and advice of each backend whose toolkit is detected by a program.
table='
import json
for row in json.load(open("crates/mullama-sys/backends.json")):
    toolkit = row.get("toolkit", {})
    if "program" in toolkit:
        print(row["variable"], toolkit["program"]["name"], toolkit["install"]["linux"])
'
while read -r variable tool advice; do
    if command -v "$tool" >/dev/null; then
        skip "$variable" "$tool is installed"
    else
        check "$variable" refuses_without "$variable" "$tool" "$advice"
    fi
done < <(python3 -c "$table")
check "the next build works" build
finish toolkits
