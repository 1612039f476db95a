#!/usr/bin/env bash
# Measures mullama against a raw loop over the engine, from every language, prints one table, and writes
# it to target/bench/report.md. README.md explains how to read it.
#
# BENCH_MODELS     which models: "demo 1b" (default), or one of them
# BENCH_PASSES     number of processes that repeat each measurement (default: 3)
# BENCH_ROUNDS     rounds of each measurement in a process, instead of those of settings.json
# BENCH_THREADS    number of threads (default: one per physical core)
# BENCH_LANGUAGES  "rust python node" (default), or some of them
# MULLAMA_BACKEND  the backends, as everywhere (default: cpu)
# BENCH_PYTHON     a Python with mullama installed (default: that of .venv, else python3)
# BENCH_NODE       the folder of the Node.js package (default: bindings/node)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

models=${BENCH_MODELS:-demo 1b}
languages=${BENCH_LANGUAGES:-rust python node}
python=${BENCH_PYTHON:-.venv/bin/python}
[[ -n ${BENCH_PYTHON:-} || -x $python ]] || python=python3
node_package=${BENCH_NODE:-bindings/node}
passes=${BENCH_PASSES:-3}
rounds=(${BENCH_ROUNDS:+--rounds "$BENCH_ROUNDS"})

cargo build --release --features full
built=target/release
case $(uname) in
    Darwin) floor=$built/libmullama_floor.dylib ;;
    *) floor=$built/libmullama_floor.so ;;
esac

sources=()
for model in $models; do
    if [[ $model == demo ]]; then
        sources+=(demo=demo)
    else
        sources+=("$model=$("$built/mullama-testkit" path "$model")")
    fi
done
threads=${BENCH_THREADS:-$("$built/mullama-bench" threads)}

# Does not load the other backends of the build tree.
export MULLAMA_BACKEND=${MULLAMA_BACKEND:-cpu}

mkdir -p target/bench
samples=target/bench/samples.jsonl
: >"$samples"
failed=()
measure() { # LANGUAGE COMMAND...
    if [[ " $languages " == *" $1 "* ]]; then
        "${@:2}" >>"$samples" || failed+=("$1: ${*:2:2}")
    fi
}
measure rust "$built/mullama-bench" memory "${sources[@]}"
# The memory address of weights affects the speed by a few per cent, and not only at random: with small
# pages, the model that a process loads first is slower. Therefore both sides use large pages, as far as glibc
# provides them, and each process has its weights at other addresses.
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1
for ((pass = 0; pass < passes; pass++)); do
    measure rust "$built/mullama-bench" measure --threads "$threads" "${rounds[@]}" "${sources[@]}"
    measure rust "$built/mullama-bench" embed --threads "$threads" "${rounds[@]}" "${sources[@]}"
    measure python "$python" benches/bench.py --floor "$floor" --threads "$threads" \
        "${rounds[@]}" "${sources[@]}"
    measure node node benches/bench.mjs --mullama "$node_package" --floor "$floor" \
        --threads "$threads" "${rounds[@]}" "${sources[@]}"
done

python3 benches/report.py "$threads" <"$samples" | tee target/bench/report.md
if ((${#failed[@]})); then
    printf 'bench: could not run: %s\n' "${failed[@]}" >&2
    exit 1
fi
