#!/usr/bin/env bash
# Tests the packaged crates in programs outside this source tree, created as in crates/mullama/README.md. Run from
# the repository's root after `make crates`.
# shellcheck disable=SC2329 # `check` calls the functions
set -euo pipefail
# shellcheck source=tests/packages/checks.sh
source tests/packages/checks.sh
tree=$PWD

mkdir "$scratch/crates" "$scratch/.cargo"
for crate in target/package/mullama*.crate; do
    tar -xzf "$crate" -C "$scratch/crates"
    echo "$(basename "$crate"): $(stat -c %s "$crate") bytes"
done

readme=$scratch/crates/$(basename target/package/mullama-[0-9]*.crate .crate)/README.md
# block LANGUAGE N: the Nth block of a language in the README, without its indentation.
block() {
    awk -v language="$1" -v wanted="$2" '
        /^ *```/ {
            if (inside) { inside = 0; next }
            inside = 1; match($0, /^ */); indent = RLENGTH
            found = (substr($0, indent + 4) == language) && ++count == wanted
            next
        }
        inside && found { print substr($0, indent + 1) }
    ' "$readme"
}

# The packaged crates replace those of the registry.
{
    echo '[patch.crates-io]'
    for folder in "$scratch"/crates/*; do
        echo "$(sed -n 's/^name = "\(mullama.*\)"$/\1/p' "$folder/Cargo.toml" | head -n 1).path = \"$folder\""
    done
    # One target folder for all, so that shared dependencies are compiled once.
    printf '[build]\ntarget-dir = "%s"\n' "$scratch/target"
    # The first step for shipping a program; done before the first build, so that one build is enough.
    block toml 2
} >"$scratch/.cargo/config.toml"

program() { # NAME N: one whose dependencies are the Nth block of TOML
    local folder=$scratch/$1
    mkdir -p "$folder/src"
    printf '[package]\nname = "%s"\nversion = "0.0.0"\nedition = "2024"\n\n' "$1" >"$folder/Cargo.toml"
    block toml "$2" >>"$folder/Cargo.toml"
    block rust 1 >"$folder/src/main.rs"
    # Uses the same versions of dependencies: this test is not about newer versions.
    cp Cargo.lock "$folder"
}
in_program() { # NAME COMMAND...
    local name=$1
    shift
    (cd "$scratch/$name" && env -u CARGO_TARGET_DIR -u RUSTFLAGS -u LD_LIBRARY_PATH "$@")
}

runs() {
    local said
    said=$(in_program hello cargo run --quiet --release)
    [[ $said == "$answer" ]] || {
        echo "it said: $said"
        return 1
    }
}

# alone_there FOLDER: the files in it need only each other and system libraries.
alone_there() {
    local needed
    needed=$(env LD_LIBRARY_PATH="$1" ldd "$1"/hello "$1"/*.so.* | grep -F '=>' | grep -vF "$1/" | awk '{print $1}' | sort -u)
    if grep -vE '^(libstdc\+\+|libgcc_s|libm|libc|libdl|libpthread|librt)\.so' <<<"$needed"; then
        return 1
    fi
}

# Follows the documented steps, and then removes the folder in which the program was built.
ships() {
    local place="$scratch/ein anderer Ordner ☃"
    block rust 2 >"$scratch/hello/build.rs"
    in_program hello cargo build --quiet --release
    mkdir "$place"
    cp "$scratch"/target/release/hello "$scratch"/target/release/mullama-engine/* "$place"
    chmod -R a-w "$place"
    mv "$scratch/target" "$scratch/gone"
    local status=0
    answers "$place/hello" && nothing_of "$tree" "$place/hello" && alone_there "$place" || status=1
    mv "$scratch/gone" "$scratch/target"
    return "$status"
}

one_file() { # PROGRAM ARGUMENT...: it answers in a folder of its own
    local place=$scratch/alone-there
    rm -rf "$place" && mkdir "$place"
    cp "$1" "$place"
    if ldd "$1" | grep -E 'libllama|libggml|not found'; then
        return 1
    fi
    echo "one file: $(stat -c %s "$1") bytes"
    answers "$place/$(basename "$1")" "${@:2}"
}

static() {
    in_program alone cargo build --quiet --release
    one_file "$scratch/target/release/alone"
}

installs() {
    local cli
    cli=$(echo "$scratch"/crates/mullama-cli-*)
    in_program alone cargo install --quiet --locked --path "$cli" --root "$scratch/installed"
    one_file "$scratch/installed/bin/mullama" run demo --temperature 0 "$question"
    clean "$scratch/installed/bin/mullama" devices --json | grep -q '"loaded": true'
}

# A variable that selects a module is rejected if modules cannot be loaded.
refuses() {
    local said
    if said=$(LLAMA_VULKAN=1 in_program alone cargo build --release 2>&1); then
        return 1
    fi
    [[ $said == *"turn on the feature"*dynamic-backends* ]]
}

program hello 1
program alone 3
check "a program outside the tree builds with the packaged crates, and runs" runs
check "it runs in another folder, when it is shipped as the README says" ships
check "without default features it is one file" static
check "cargo install makes one file of the command" installs
check "a module is refused where none can be loaded" refuses
finish rust
