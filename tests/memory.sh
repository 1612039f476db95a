#!/usr/bin/env bash
# Loads, generates and drops repeatedly with the Rust library: no growth over 1,000 rounds, and no error
# under valgrind. Run from the repository's root after `make build`.
set -euo pipefail

cargo build --release --features full --example cycle
export LD_LIBRARY_PATH="$PWD/target/release${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
cycle=target/release/examples/cycle
# Allocations of GPU drivers are not checked.
export MULLAMA_BACKEND=cpu
# glibc assigns arenas to threads at random, and each caches freed memory. With one arena, growth is a leak.
export MALLOC_ARENA_MAX=1

passed=0 failed=0 skipped=0
check() {
    local name=$1
    shift
    if "$@" 2>target/memory.log; then
        echo "test $name ... ok"
        passed=$((passed + 1))
    else
        cat target/memory.log
        echo "test $name ... FAILED"
        failed=$((failed + 1))
    fi
}

check "no growth over 1,000 cycles" "$cycle" 1000
if command -v valgrind >/dev/null; then
    check "no error under valgrind" valgrind --quiet --error-exitcode=9 --leak-check=full \
        --show-leak-kinds=definite --errors-for-leak-kinds=definite "$cycle" 2
else
    echo "test no error under valgrind ... skipped: valgrind is not installed"
    skipped=1
fi
echo "memory: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
