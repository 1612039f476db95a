#!/usr/bin/env bash
# Measures mullama against a raw loop over the engine, from every language, and prints one table,
# which is kept in target/bench/report.md. README.md says how to read it.
#
# BENCH_MODELS     which models: "demo 1b" (default), or one of them
# BENCH_PASSES     processes that measure the same thing one after the other (default: 3)
# BENCH_ROUNDS     rounds of each measurement in a process, in place of those of settings.json
# BENCH_THREADS    threads that compute (default: one for each physical core)
# BENCH_LANGUAGES  "rust python node" (default), or some of them
# MULLAMA_BACKEND  which backends, as everywhere (default: cpu)
# BENCH_PYTHON     a Python with mullama installed (default: the one of .venv, else python3)
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

# What the build tree has for other processors is not to be loaded along.
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
# Where in memory weights come to lie decides some hundredths of the speed, and not by chance alone: with
# small pages, what a process loads first is slower. So both sides have large pages, as far as glibc gives
# them, and each process has weights in another place.
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
