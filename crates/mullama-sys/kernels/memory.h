// Operations on the memory of whole tensors.
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

// Number of CPUs that this process may use.
inline int usable_processors() {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) { return std::max(1, CPU_COUNT(&set)); }
#endif
    return std::max(1, (int) std::thread::hardware_concurrency());
}

// Calls f(first, last) for parts of 0..n, on as many threads as there are CPUs. The caller's thread is one of them; if
// the system cannot create others, it does everything.
template <class F> inline void on_all_processors(int64_t n, int64_t part, F && f) {
    constexpr int MOST = 32;        // more threads do not increase memory throughput
    std::atomic<int64_t> next{0};
    const auto work = [&] {
        for (int64_t first; (first = next.fetch_add(part)) < n;) { f(first, std::min(n, first + part)); }
    };
    std::vector<std::thread> helpers;
    const int64_t wanted = std::min<int64_t>({ MOST, usable_processors(), (n + part - 1) / part }) - 1;
    try {
        helpers.reserve(std::max<int64_t>(0, wanted));
        for (int64_t i = 0; i < wanted; i++) { helpers.emplace_back(work); }
    } catch (const std::exception &) {}     // out of memory or threads
    work();
    for (std::thread & t : helpers) { t.join(); }
}

// If the memory is a read-only mapping of a file, releases its pages. After packing, the file's pages would otherwise
// count as this process's until other processes need the memory. They are read from the file again if they are
// accessed. Small tensors are not worth the system calls. Memory that is not a file mapping, or is writable, would lose
// its contents, and is not released.
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
        // The rest of a path that is too long is read as a separate line, which does not parse as an address range.
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
