// Work on the memory of whole tensors.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace mullama {
namespace {

// Processors that this process may use.
inline int usable_processors() {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) { return std::max(1, CPU_COUNT(&set)); }
#endif
    return std::max(1, (int) std::thread::hardware_concurrency());
}

// Calls f(first, last) for parts of 0..n, on as many threads as there are processors. The caller's thread is one of them,
// and does everything where the system gives no other.
template <class F> inline void on_all_processors(int64_t n, int64_t part, F && f) {
    constexpr int MOST = 32;        // more add nothing to what memory can do
    std::atomic<int64_t> next{0};
    const auto work = [&] {
        for (int64_t first; (first = next.fetch_add(part)) < n;) { f(first, std::min(n, first + part)); }
    };
    std::vector<std::thread> helpers;
    const int64_t wanted = std::min<int64_t>({ MOST, usable_processors(), (n + part - 1) / part }) - 1;
    try {
        helpers.reserve(std::max<int64_t>(0, wanted));
        for (int64_t i = 0; i < wanted; i++) { helpers.emplace_back(work); }
    } catch (const std::exception &) {}     // no memory, or no more threads
    work();
    for (std::thread & t : helpers) { t.join(); }
}

// Tells the system that pages of a mapped file are not needed for now, where memory is such a mapping: after packing, the
// file's pages would count as this process's until others need the memory. They are read from the file again if somebody
// looks at them. Small tensors are not worth the question. Memory that is no mapping of a file, or can be written, would lose what it holds, and is left alone.
inline void release_file_pages(const void * memory, size_t size) {
#if defined(__linux__)
    const uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE);
    const uintptr_t first = ((uintptr_t) memory + page - 1) / page * page, last = ((uintptr_t) memory + size) / page * page;
    if (size < (1 << 20) || first >= last) { return; }
    FILE * maps = fopen("/proc/self/maps", "re");
    if (!maps) { return; }
    char line[512], access[5];
    unsigned long from, to, inode;
    bool file = false;
    while (!file && fgets(line, sizeof(line), maps)) {
        // What of a long path does not fit comes as a line of its own, which is no address.
        if (sscanf(line, "%lx-%lx %4s %*x %*x:%*x %lu", &from, &to, access, &inode) == 4 && from <= first && last <= to) {
            file = inode != 0 && access[1] != 'w';
            break;
        }
    }
    fclose(maps);
    if (file) { madvise((void *) first, last - first, MADV_DONTNEED); }
#else
    (void) memory; (void) size;
#endif
}

}  // namespace
}  // namespace mullama
