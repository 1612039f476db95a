#!/usr/bin/env bash
# Tests our kernels with every vector layer (emulated if this machine lacks it), under sanitizers and under
# valgrind, and the vectors with the engine's kernels. Run from the repository's root after `make build`.
# shellcheck disable=SC2329 # `check` calls the functions
set -euo pipefail
# shellcheck source=tests/checks.sh
source tests/checks.sh

kernels=$PWD/crates/mullama-sys/kernels
engine=$PWD/target/release/mullama-engine
# The cache of the modules' build has the paths of their sources.
# shellcheck disable=SC2012 # the names are our own
cache=$(ls -t target/release/build/mullama-sys-*/out/module-cpu/build/CMakeCache.txt | head -1)
cached() { sed -n "s/^$1:[A-Z]*=//p" "$cache"; }
sources=$(cached CMAKE_HOME_DIRECTORY)
built=target/kernels
module=libggml-cpu-haswell.so

# program NAME OPTIONS...: compiles the comparison program.
program() {
    local name=$1
    shift
    mkdir -p "$built"
    c++ -std=c++17 -O2 -pthread "$@" -I "$sources/ggml/include" crates/mullama-sys/tests/kernels/compare.cpp -o "$built/$name" \
        "$engine/libggml.so.0" "$engine/libggml-base.so.0" "-Wl,-rpath,$engine"
}

# module FOLDER LINK-OPTIONS OPTIONS...: builds the module for AVX2 with other options for our source.
module() {
    local folder=$built/$1 link=$2 options
    shift 2
    options=$(IFS=';' && echo "$*")
    mkdir -p "$folder"
    cmake -S "$sources" -B "$folder" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_BACKEND_DL=ON \
        -DGGML_NATIVE=OFF -DGGML_CPU_ALL_VARIANTS=ON "-DGGML_OPENMP=$(cached GGML_OPENMP)" \
        -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
        -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF "-DCMAKE_PROJECT_ggml_INCLUDE=$kernels/kernels.cmake" \
        "-DMULLAMA_ENGINE_BUILD=$(cached MULLAMA_ENGINE_BUILD)" -DMULLAMA_CPU_MODULES=ggml-cpu-haswell \
        "-DMULLAMA_KERNELS_OPTIONS=$options" "-DMULLAMA_LINK_OPTIONS=$link"
    cmake --build "$folder" --target mullama-cpu-modules
}

# layer NAME HEADER OPTIONS...: runs the comparison with a vector layer.
layer() {
    local name=$1 header=$2
    shift 2
    module "layer-$name" "" -O1 -w "-DMULLAMA_LAYER=$name" "-DMULLAMA_LAYER_HEADER=\"simd/$header\"" "$@"
    "$built/compare" "$built/layer-$name/bin/$module" 10
}

sanitized() {
    local options=("-fsanitize=address,undefined" -fno-sanitize-recover=undefined)
    program compare-sanitized "${options[@]}"
    module sanitized "$(IFS=';' && echo "${options[*]}")" -O0 "${options[@]}"
    "$built/compare-sanitized" "$built/sanitized/bin/$module" 5
}

vectors() {
    cargo test --quiet --release --features full --test vectors
}

if grep -q avx2 /proc/cpuinfo; then
    program compare
    check "kernels in plain C++" layer "scalar<false>" scalar.h
    check "kernels in plain C++, in pairs" layer "scalar<true>" scalar.h
    check "kernels with AVX-VNNI, emulated" layer "avx2<true>" avx2.h -DMULLAMA_EMULATED
    check "kernels with AVX-512, emulated" layer "avx512<false>" avx512.h -DMULLAMA_EMULATED
    check "kernels with AVX-512 VNNI, emulated" layer "avx512<true>" avx512.h -DMULLAMA_EMULATED
    check "kernels with AVX2" "$built/compare" "$engine/$module" 30
    check "kernels under sanitizers" sanitized
    if command -v valgrind >/dev/null; then
        check "kernels under valgrind" valgrind --quiet --error-exitcode=9 "$built/compare" "$engine/$module" 0
    else
        skip "kernels under valgrind" "valgrind is not installed"
    fi
else
    skip "kernels" "the processor has no AVX2"
fi
MULLAMA_KERNELS=engine check "vectors with the engine's kernels" vectors
finish kernels
