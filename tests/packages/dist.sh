#!/usr/bin/env bash
# Tests the archive of the command, unpacked by another user. Run from the repository's root after `make dist`.
# shellcheck disable=SC2329 # `check` calls the functions
set -euo pipefail
# shellcheck source=tests/packages/checks.sh
source tests/packages/checks.sh
tree=$PWD

archive=$(echo target/dist/mullama-*.tar.gz)
[[ -f $archive ]] || {
    echo "there is to be one archive, and there is: $archive"
    exit 1
}
sum=$(sha256sum "$archive")
unpacked="$scratch/ein Ordner für Überall ☃"
mkdir "$unpacked"
tar -xzf "$archive" -C "$unpacked"
folder=$(echo "$unpacked"/mullama-*)
mullama=$folder/bin/mullama
chmod -R a-w "$folder"

one_folder() { # of the name of the archive
    [[ $(ls -A "$unpacked") == "$(basename "$archive" .tar.gz)" ]]
}

nobodys() {
    local usual='^[-d]rwxr-xr-x 0/0 .* 1970-01-01 \|^-rw-r--r-- 0/0 .* 1970-01-01 '
    if TZ=UTC tar -tzvf "$archive" --numeric-owner | grep -v "$usual"; then
        return 1
    fi
}

same_again() {
    python3 scripts/dist.py
    [[ $(sha256sum "$archive") == "$sum" ]]
}

version() {
    [[ $(clean "$mullama" --version) == "mullama $(basename "$folder" | cut -d - -f 2)" ]]
}

# The modules are those of the archive, including RPC's, and all of them load.
modules() {
    clean "$mullama" devices --json >"$scratch/devices.json"
    python3 - "$scratch/devices.json" "$folder" <<'PY'
import json, sys
backends = {module["name"]: module for module in json.load(open(sys.argv[1]))["backends"]}
assert {"cpu", "rpc"} <= backends.keys(), backends
for module in backends.values():
    assert module["loaded"], module
    assert module["path"].startswith(sys.argv[2] + "/lib/mullama/"), module
PY
}

by_a_link() {
    ln -s "$mullama" "$scratch/link"
    answers "$scratch/link" run demo --temperature 0 "$question"
}

completions() {
    local file
    for file in bash-completion/completions/mullama fish/vendor_completions.d/mullama.fish zsh/site-functions/_mullama; do
        grep -q mullama "$folder/share/$file"
    done
    bash -n "$folder/share/bash-completion/completions/mullama"
}

# A worker of the archive serves the program of the archive.
worker() {
    local port=27987 pid said
    clean "$mullama" rpc-server --port "$port" --device CPU --threads 1 >"$scratch/worker.out" 2>"$scratch/worker.err" &
    pid=$!
    for _ in {1..100}; do
        ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
        sleep 0.1
    done
    said=$(clean "$mullama" run demo --rpc "127.0.0.1:$port" --n-gpu-layers -1 --temperature 0 "$question") || said="exit status $?"
    pkill -P "$pid" 2>/dev/null || true
    kill "$pid" 2>/dev/null || true
    [[ $said == "$answer" ]] || {
        echo "it said: $said"
        cat "$scratch/worker.err"
        return 1
    }
    # The worker's log is not part of the command's output.
    [[ ! -s $scratch/worker.out ]]
}

echo "$archive: $(stat -c %s "$archive") bytes, $(du -sb "$folder" | cut -f 1) unpacked"
check "it holds one folder of its name" one_folder
check "its files are nobody's, and have no times" nobodys
check "the same build makes the same archive" same_again
check "it tells its version" version
check "it answers where it was unpacked, read-only, under a name that is not ASCII" \
    answers "$mullama" run demo --temperature 0 "$question"
check "nothing of this tree is loaded" nothing_of "$tree" "$mullama" run demo --temperature 0 "$question"
check "its modules are its own" modules
check "it runs by a link from elsewhere" by_a_link
check "it has completions" completions
check "its worker serves it" worker
finish dist
