# More common functions for the tests of packages; to be sourced.
# shellcheck shell=bash
# shellcheck source=tests/checks.sh
source tests/checks.sh

# Runs as a user without this source tree, its variables and folders, and without root rights if possible.
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

# answers COMMAND...: the command prints only the answer to the question.
answers() {
    local said
    said=$(clean "$@")
    [[ $said == "$answer" ]] || {
        echo "it said: $said"
        return 1
    }
}

# nothing_of FOLDER COMMAND...: the dynamic loader opens no file in the folder.
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
