#!/usr/bin/env bash
# Prints the accuracy of plans, and writes it to target/bench/plan.md: planned and allocated memory on this
# machine's GPUs and CPU, for every kind of layer; predicted speeds after a calibration, and measured speeds; the
# time to plan a model of 70 billion parameters. The machine should be idle.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

built=target/release
mkdir -p target/bench
XDG_CACHE_HOME=$(mktemp -d)
export XDG_CACHE_HOME
workers=()
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$XDG_CACHE_HOME"' EXIT
for port in 27152 27153; do
    "$built/mullama" rpc-server --device CPU --port "$port" >/dev/null 2>&1 &
    workers+=("rpc=127.0.0.1:$port")
done
for port in 27152 27153; do
    until (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.1; done
done

shape=architecture=llama,block_count=80,embedding_length=8192,feed_forward_length=28672
shape+=,attention.head_count=64,attention.head_count_kv=8,vocab_size=128256
seventy() {
    "$built/mullama" plan --shape "$shape" --device "2x RTX 4090" --host-memory 64GiB "$@" >/dev/null
}
# Median, minimum and maximum of nine runs without cached results.
milliseconds() {
    for _ in {1..9}; do
        rm -rf "$XDG_CACHE_HOME/mullama/placements"
        local start
        start=$(date +%s%N)
        seventy "$@"
        echo "$((($(date +%s%N) - start) / 1000000))"
    done | sort -n | awk '{ taken[NR] = $1 } END { print taken[5] " ms (" taken[1] " to " taken[9] ")" }'
}
{
    "$built/mullama-bench" placement "${workers[@]}"
    "$built/mullama-bench" speeds
    printf '\n# A plan of 70 billion parameters on two cards\n\n'
    seventy # the header is made, and main memory measured
    printf 'With settings given: %s.\n' "$(milliseconds -ngl 81 -ts 1,1 -c 8192)"
    printf 'With settings left open: %s.\n' "$(milliseconds)"
} | tee target/bench/plan.md
