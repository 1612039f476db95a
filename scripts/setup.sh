#!/usr/bin/env bash
# Installs missing system packages for building mullama; does nothing if all are installed. Rust and Node.js
# are left to the user, since distributions have older versions, and so is everything on Windows and on systems
# without apt-get, dnf, apk or brew.
set -euo pipefail

missing=()  # Debian's names
need() { command -v "$1" >/dev/null 2>&1 || missing+=("${2:-$1}"); }

need make
need cmake
need clang
need python3
[[ $(uname) != Linux ]] || need patchelf
# On Windows, CMake finds Visual Studio's compiler, which is not on the path, and ccache does not support it.
if [[ ${OS:-} != Windows_NT ]]; then
    need c++ g++
    need ccache
fi
# bindgen loads libclang, from LIBCLANG_PATH or from the system.
if [[ -z ${LIBCLANG_PATH:-} ]] && ! compgen -G '/usr/lib*/llvm*/lib/libclang*.so*' >/dev/null &&
    ! compgen -G '/usr/lib*/libclang*.so*' >/dev/null && ! compgen -G '/usr/lib/*/libclang*.so*' >/dev/null &&
    [[ $(uname) == Linux ]]; then
    missing+=(libclang-dev)
fi
# Debian's Python lacks the modules that create virtual environments.
if command -v python3 >/dev/null && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    missing+=(python3-venv)
fi

fail() {
    echo "setup: $*" >&2
    exit 1
}

command -v cargo >/dev/null || fail "install Rust 1.88 or newer (rustup) and run this again"
command -v npm >/dev/null || fail "install Node.js 20.11 or newer, with npm, and run this again"

# Prints the package manager's names of the missing packages.
called_by() {
    local name
    for name in "${missing[@]}"; do
        case $1:$name in
            dnf:g++) echo gcc-c++ ;;
            dnf:libclang-dev) echo clang-devel ;;
            apk:g++) echo g++ linux-headers ;;
            apk:libclang-dev) echo clang-libclang ;;
            brew:clang) echo llvm ;;
            dnf:python3-venv | apk:python3-venv) echo python3 ;;
            *) echo "$name" ;;
        esac
    done
}

install() {
    local manager as_root=()
    for manager in apt-get dnf apk brew none; do
        ! command -v "$manager" >/dev/null || break
    done
    # Homebrew refuses to run as root.
    if [[ $(id -u) != 0 && $manager != brew ]]; then
        as_root=(sudo -n)
    fi
    if [[ $manager == none ]] || ! "${as_root[@]}" true 2>/dev/null; then
        fail "install these and run this again (Debian's names): ${missing[*]}"
    fi
    # No `mapfile`: the shell of macOS lacks it.
    local package names
    names=$(called_by "$manager" | tr ' ' '\n')
    missing=()
    while IFS= read -r package; do missing+=("$package"); done <<<"$names"
    echo "setup: installing ${missing[*]}"
    case $manager in
        apt-get)
            "${as_root[@]}" apt-get update -qq
            "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
            ;;
        dnf) "${as_root[@]}" dnf install -y -q "${missing[@]}" ;;
        apk) "${as_root[@]}" apk add --quiet "${missing[@]}" ;;
        brew) brew install --quiet "${missing[@]}" ;;
    esac
}
if ((${#missing[@]})); then
    install
fi

at_least() { # NAME FOUND NEEDED
    [[ $(printf '%s\n%s\n' "$3" "$2" | sort -V | head -n 1) == "$3" ]] || fail "$1 $2 is too old: install $3 or newer"
}
at_least Rust "$(rustc --version | cut -d ' ' -f 2)" 1.88
at_least Python "$(python3 -c 'import platform; print(platform.python_version())')" 3.11
at_least Node.js "$(node --version | tr -d v)" 20.11
