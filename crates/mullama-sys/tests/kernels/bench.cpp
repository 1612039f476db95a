// Benchmarks our kernels against the engine's and against the limits of this machine:
//
//   bench <module or folder> [threads] [repetitions] [type]
//
// For each type and number of tokens, one product is computed alternately by our kernels and by the engine's. The
// weights exceed the caches, so that every product reads them from memory. Results are medians, in billions of products
// per second. The engine's weights are in the buffer type that its loader would choose without ours.
//
// The limits are measured here: memory is the bandwidth of our fastest tile with one token; arithmetic is the
// throughput in registers of the instruction that the tile consists of, on all threads. "of the limit" compares ours
// with the lower of both.
#include "engine.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <iterator>
#include <thread>

static double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
static double cpu_seconds() {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}
static double median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
}

// --- throughput of the instructions in registers --------------------------------------------------------------------------

// A loop of eight independent sums, which start at zero.
#define LOOP(x) asm volatile("vpxor %%xmm14, %%xmm14, %%xmm14\n vpxor %%xmm15, %%xmm15, %%xmm15\n" \
    ZERO("0") ZERO("1") ZERO("2") ZERO("3") ZERO("4") ZERO("5") ZERO("6") ZERO("7") "mov $4096, %%ecx\n 1:\n"     \
    x("0") x("1") x("2") x("3") x("4") x("5") x("6") x("7") "dec %%ecx\n jnz 1b\n" ::: "ecx", "cc", "xmm0", "xmm1",  \
    "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm14", "xmm15")
#define ZERO(n) "vpxor %%xmm" n ", %%xmm" n ", %%xmm" n "\n"
// A product of bytes and its addition to a sum; vpdpbusd does both.
#define PAIRS_OF_32(n)  "vpmaddubsw %%ymm15, %%ymm14, %%ymm8\n vpaddw %%ymm8, %%ymm" n ", %%ymm" n "\n"
#define PAIRS_OF_64(n)  "vpmaddubsw %%zmm15, %%zmm14, %%zmm8\n vpaddw %%zmm8, %%zmm" n ", %%zmm" n "\n"
#define VNNI_OF_32(n)   "%{vex%} vpdpbusd %%ymm15, %%ymm14, %%ymm" n "\n"
#define VNNI_OF_64(n)   "vpdpbusd %%zmm15, %%zmm14, %%zmm" n "\n"
#define FLOATS_OF_8(n)  "vfmadd231ps %%ymm15, %%ymm14, %%ymm" n "\n"
#define FLOATS_OF_16(n) "vfmadd231ps %%zmm15, %%zmm14, %%zmm" n "\n"

struct arithmetic {
    double bytes = 0, floats = 0;       // billions of products per second
};
template <class F> static double rate(int threads, int products, F f) {
    constexpr int ROUNDS = 1 << 9;
    double best = 0;
    for (int i = 0; i < 5; i++) {
        const double start = seconds();
        std::vector<std::thread> all;
        for (int t = 0; t < threads; t++) {
            all.emplace_back([&] { for (int r = 0; r < ROUNDS; r++) { f(); } });
        }
        for (auto & t : all) { t.join(); }
        best = std::max(best, 1e-9 * 8 * 4096 * products * ROUNDS * threads / (seconds() - start));
    }
    return best;
}
static arithmetic measure_arithmetic(const std::string & set, int threads) {
    arithmetic a;
#if defined(__x86_64__)
    if (set == "AVX2") { a.bytes = rate(threads, 32, [] { LOOP(PAIRS_OF_32); }); }
    if (set == "AVX-VNNI") { a.bytes = rate(threads, 32, [] { LOOP(VNNI_OF_32); }); }
    if (set == "AVX-512") { a.bytes = rate(threads, 64, [] { LOOP(PAIRS_OF_64); }); }
    if (set == "AVX-512 VNNI") { a.bytes = rate(threads, 64, [] { LOOP(VNNI_OF_64); }); }
    a.floats = set.rfind("AVX-512", 0) == 0 ? rate(threads, 16, [] { LOOP(FLOATS_OF_16); })
                                            : rate(threads, 8, [] { LOOP(FLOATS_OF_8); });
#endif
    return a;
}

// --- products ---------------------------------------------------------------------------------------------------------------

struct result {
    ggml_type type;
    int tokens;
    bool experts;
    double ours, engine, ours_cpu, engine_cpu;      // seconds
    double products, bytes;
    std::string other;
};

static result measure(const engine & e, ggml_type type, int tokens, bool experts, int repetitions) {
    // 64 MB of weights or more; experts as in small models.
    const int columns = 2048, number = experts ? 64 : 1, used = experts ? 8 : 1;
    const int rows = experts ? 768 : (int) ((64 << 20) / ggml_row_size(type, columns) / 16 * 16);
    std::mt19937 rng(1);
    ggml_backend_buffer_type_t other = nullptr;
    // In the loader's order: the extra buffer types, then the plain one, which is the first here.
    for (size_t i = 1; i < e.buffer_types.size() && !other; i++) {
        const auto b = e.buffer_types[i];
        if (b != e.own && operation(e, b, type, columns, 16, tokens, experts ? number : 0, used).taken) { other = b; }
    }
    if (!other) { other = e.buffer_types[0]; }
    operation ours(e, e.own, type, columns, rows, tokens, experts ? number : 0, used), engines(e, other, type, columns, rows, tokens, experts ? number : 0, used);
    {
        // The values do not affect the time.
        std::vector<float> few(columns * 16);
        std::normal_distribution<float> normal;
        for (auto & v : few) { v = normal(rng) * 0.05f; }
        const size_t row = ggml_row_size(type, columns);
        std::vector<uint8_t> some(row * 16), data(row * rows * number);
        ggml_quantize_chunk(type, few.data(), some.data(), 0, 16, columns, nullptr);
        for (size_t at = 0; at < data.size(); at += some.size()) { memcpy(data.data() + at, some.data(), some.size()); }
        for (operation * op : { &ours, &engines }) {
            ggml_backend_tensor_set(op->w, data.data(), 0, data.size());
            std::vector<float> x(ggml_nelements(op->x));
            for (auto & v : x) { v = normal(rng); }
            ggml_backend_tensor_set(op->x, x.data(), 0, ggml_nbytes(op->x));
        }
    }
    std::vector<double> times[2], cpu[2];
    for (int i = 0; i < repetitions + 1; i++) {
        std::vector<int32_t> ids;       // different experts each time, so that they are read from memory
        for (int t = 0; t < tokens && experts; t++) {
            for (int k = 0; k < used; k++) { ids.push_back((int) (rng() % (number / used)) * used + k); }
        }
        for (operation * op : { &ours, &engines }) {
            if (op->ids) { ggml_backend_tensor_set(op->ids, ids.data(), 0, ggml_nbytes(op->ids)); }
        }
        for (int k = 0; k < 2; k++) {
            const double start = seconds(), cpu_start = cpu_seconds();
            ggml_backend_graph_compute(e.dev_backend, (k ? engines : ours).graph);
            if (i == 0) { continue; }       // the first run is a warm-up
            times[k].push_back(seconds() - start);
            cpu[k].push_back(cpu_seconds() - cpu_start);
        }
    }
    return { type, tokens, experts, median(times[0]), median(times[1]), median(cpu[0]), median(cpu[1]), 1.0 * columns * rows * tokens * used,
             (double) ggml_row_size(type, columns) * rows * (experts ? std::min(number, tokens * used) : 1), ggml_backend_buft_name(other) };
}

int main(int argc, char ** argv) {
    ggml_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    const int threads = argc > 2 ? atoi(argv[2]) : (int) std::thread::hardware_concurrency(), repetitions = argc > 3 ? atoi(argv[3]) : 7;
    const engine e(argc > 1 ? argv[1] : ".", threads);
    if (!e.own) { e.fail("no kernels of our own in this module"); }
    e.kernels->choose(1);
    std::vector<result> results;
    for (ggml_type type : TYPES) {
        if (argc > 4 && strcmp(argv[4], ggml_type_name(type)) != 0) { continue; }
        for (int tokens : { 1, 2, 4, 8, 16, 64, 512 }) { results.push_back(measure(e, type, tokens, false, tokens > 64 ? std::max(3, repetitions / 2) : repetitions)); }
        for (int tokens : { 1, 8, 64 }) { results.push_back(measure(e, type, tokens, true, repetitions)); }
    }
    const arithmetic limit = measure_arithmetic(e.kernels->instruction_set, threads);
    double memory = 0;
    for (const result & r : results) {
        if (r.tokens == 1 && !r.experts) { memory = std::max(memory, 1e-9 * r.bytes / r.ours); }
    }
    printf("%s, %d threads. Memory: %.1f GB/s. Arithmetic: %.0f billion products of bytes per second, %.0f of floats.\n\n", e.kernels->instruction_set,
           threads, memory, limit.bytes, limit.floats);
    printf("| weights | tokens | ours | engine | ratio | of CPU time | of the limit | the engine's buffers |\n|---|--:|--:|--:|--:|--:|--:|---|\n");
    for (const result & r : results) {
        const double rate = 1e-9 * r.products / r.ours, by_memory = 1e-9 * r.products / (r.bytes / (memory * 1e9));
        const double by_arithmetic = r.type == GGML_TYPE_F16 || r.type == GGML_TYPE_BF16 ? limit.floats : limit.bytes;
        printf("| %s%s | %d | %.1f | %.1f | %.2f | %.2f | %.0f %% | %s |\n", ggml_type_name(r.type), r.experts ? ", experts" : "", r.tokens, rate,
               1e-9 * r.products / r.engine, r.engine / r.ours, r.engine_cpu / r.ours_cpu, 100 * rate / std::min(by_memory, by_arithmetic), r.other.c_str());
    }
}
