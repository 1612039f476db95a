// Compares the kernels of a CPU module, ours and the engine's, with double precision:
//
//   compare <module or folder> [seconds]
//
// With 0 seconds, only few small cases of our kernels are computed, for valgrind: the engine's kernels read numbers
// that they never set (sums of activations that are zeros, which they multiply by zero).
//
// Products: exact weights times activations as rounded to bytes (in blocks of 256 or 32; not at all for 16-bit
// weights), so that only the error of the arithmetic is measured. The figure is the largest |error| / (|w| |x|) of all
// results.
// Attention: the largest |error| relative to the largest value. Our errors must not exceed the engine's, except for
// differences in rounding.
#include "engine.h"

#include <algorithm>
#include <chrono>
#include <map>

using clock_type = std::chrono::steady_clock;

static std::mt19937 rng(1);
static bool quick = false;
static int pick(int from, int to) { return std::uniform_int_distribution<int>(from, to)(rng); }

static bool is_float(ggml_type t) { return t == GGML_TYPE_F16 || t == GGML_TYPE_BF16; }

// Activations as rounded by both.
static std::vector<double> rounded(const std::vector<float> & x, ggml_type type, int columns) {
    std::vector<double> r(x.begin(), x.end());
    if (is_float(type)) { return r; }
    const int block = ggml_blck_size(type) == 256 ? 256 : 32;
    for (size_t row = 0; row < x.size(); row += columns) {
        for (int b = 0; b < columns; b += block) {
            float largest = 0;
            for (int i = 0; i < block; i++) { largest = std::max(largest, std::fabs(x[row + b + i])); }
            const float inverse = largest > 0 ? 127 / largest : 0;
            for (int i = 0; i < block; i++) { r[row + b + i] = std::nearbyint(x[row + b + i] * inverse) * ((double) largest / 127); }
        }
    }
    return r;
}

// Extreme bytes, so that every sum is as large as possible: all bits of the weights set or none, all activations at the
// same end of their range, scales unchanged.
static void extremes(ggml_type type, std::vector<uint8_t> & w, std::vector<float> & x) {
    static const std::map<ggml_type, std::pair<int, int>> bits = {      // the bytes of a block with weights
        { GGML_TYPE_Q4_0, { 2, 18 } }, { GGML_TYPE_Q4_1, { 4, 20 } }, { GGML_TYPE_Q5_0, { 2, 22 } }, { GGML_TYPE_Q8_0, { 2, 34 } },
        { GGML_TYPE_Q4_K, { 4, 144 } }, { GGML_TYPE_Q5_K, { 4, 176 } }, { GGML_TYPE_Q6_K, { 0, 208 } }, { GGML_TYPE_IQ4_NL, { 2, 18 } },
        { GGML_TYPE_IQ4_XS, { 2, 136 } }, { GGML_TYPE_MXFP4, { 1, 17 } } };
    const auto range = bits.at(type);
    const bool ones = pick(0, 1), up = pick(0, 1);
    const int size = (int) ggml_type_size(type);
    for (size_t i = 0; i < w.size(); i++) {
        const int at = (int) (i % size);
        if (at >= range.first && at < range.second) { w[i] = type == GGML_TYPE_Q8_0 ? (ones ? 0x80 : 0x7f) : ones ? 0xff : 0; }
    }
    for (auto & v : x) { v = up ? 1.0f : -1.0f; }
}

struct figures {
    std::map<std::string, double> error;
    std::map<std::string, int> cases;
};

// Products of one shape, in every buffer type of the module.
static void product(const engine & e, ggml_type type, int columns, int rows, int n, int experts, int used, int kind, figures & f) {
    const int matrices = experts ? experts : 1;
    random_weights w(rng, type, columns, (int64_t) rows * matrices);
    std::normal_distribution<float> normal;
    std::vector<float> x((size_t) columns * n);
    for (size_t i = 0; i < x.size(); i++) { x[i] = normal(rng) * (i / columns % 3 == 2 ? 1e-3f : 1.0f) * (i % 97 ? 1 : 20); }
    if (kind == 1 && !is_float(type)) {
        extremes(type, w.data, x);
        w.read(type);
    }
    if (kind == 2) {        // denormal scales, and activations that are nearly denormal
        if (!is_float(type)) {
            for (size_t b = 0; b < w.data.size(); b += ggml_type_size(type)) {
                if (type == GGML_TYPE_MXFP4) {
                    w.data[b] = 40;     // the product with activations is the smallest normal number
                } else {
                    const ggml_fp16_t small = (ggml_fp16_t) pick(0, 7);
                    memcpy(&w.data[b + (type == GGML_TYPE_Q6_K ? 208 : 0)], &small, 2);
                }
            }
            w.read(type);
        }
        for (auto & v : x) { v *= type == GGML_TYPE_MXFP4 ? 1e-10f : 1e-30f; }
    }
    if (kind == 3) { std::fill_n(x.begin() + (n > 1 ? columns : 0), std::min(columns, 256), 0.0f); }
    std::vector<int32_t> ids;
    for (int i = 0; i < n && experts; i++) {        // different experts for each token
        std::vector<int32_t> all(experts);
        for (int k = 0; k < experts; k++) { all[k] = k; }
        std::shuffle(all.begin(), all.end(), rng);
        ids.insert(ids.end(), all.begin(), all.begin() + used);
    }
    const std::vector<double> r = rounded(x, type, columns);
    for (ggml_backend_buffer_type_t b : e.buffer_types) {
        if (quick && b != e.own) { continue; }
        operation op(e, b, type, columns, rows, n, experts, used);
        if (!op.taken) {
            if (b == e.own) { e.fail("our buffer type refused a product"); }
            continue;
        }
        ggml_backend_tensor_set(op.w, w.data.data(), 0, w.data.size());
        ggml_backend_tensor_set(op.x, x.data(), 0, x.size() * sizeof(float));
        if (experts) { ggml_backend_tensor_set(op.ids, ids.data(), 0, ids.size() * sizeof(int32_t)); }
        const std::vector<float> out = op.run(e);
        const std::string key = std::string(ggml_type_name(type)) + (experts ? " experts " : " ") + ggml_backend_buft_name(b);
        double & worst = f.error[key];
        f.cases[key]++;
        for (size_t c = 0; c < out.size() / rows; c++) {
            const double * a = r.data() + (experts ? c / used : c) * columns;
            for (int m = 0; m < rows; m++) {
                const float * v = w.values.data() + ((size_t) (experts ? ids[c] : 0) * rows + m) * columns;
                double sum = 0, nw = 0, nx = 0;
                for (int k = 0; k < columns; k++) { sum += v[k] * a[k]; nw += (double) v[k] * v[k]; nx += a[k] * a[k]; }
                // Errors below the smallest normal number are ignored.
                const double error = std::max(0.0, std::fabs(out[c * rows + m] - sum) - 2e-38) / (std::sqrt(nw * nx) + 1e-300);
                if (!(error <= worst)) { worst = error; }
            }
        }
    }
}

struct attention_case {
    int dim, value_dim, heads, kv_heads, n, cells, streams;
    ggml_type type;
    bool mask, per_head, sinks;
    float alibi, cap;
    int visible;    // 0: causal, 1: a window, 2: sequences interleaved in runs, 3: some rows see nothing
};

static void attention(const engine & e, const attention_case & c, figures & f) {
    const ggml_init_params p = { 1 << 20, nullptr, true };
    ggml_context * ctx = ggml_init(p);
    ggml_tensor * q = ggml_new_tensor_4d(ctx, GGML_TYPE_F32, c.dim, c.heads, c.n, c.streams);
    ggml_tensor * k = ggml_new_tensor_4d(ctx, c.type, c.dim, c.kv_heads, c.cells, c.streams);
    ggml_tensor * v = ggml_new_tensor_4d(ctx, c.type, c.value_dim, c.kv_heads, c.cells, c.streams);
    ggml_tensor * m = c.mask ? ggml_new_tensor_4d(ctx, GGML_TYPE_F16, c.cells, c.n, c.per_head ? c.heads : 1, c.streams) : nullptr;
    ggml_tensor * sinks = c.sinks ? ggml_new_tensor_1d(ctx, GGML_TYPE_F32, c.heads) : nullptr;
    const float scale = 1 / std::sqrt((float) c.dim);
    ggml_tensor * o = ggml_flash_attn_ext(ctx, ggml_permute(ctx, q, 0, 2, 1, 3), ggml_permute(ctx, k, 0, 2, 1, 3), ggml_permute(ctx, v, 0, 2, 1, 3), m,
                                          scale, c.alibi, c.cap);
    if (sinks) { ggml_flash_attn_ext_add_sinks(o, sinks); }
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors(ctx, e.dev_backend);
    std::normal_distribution<float> normal;
    const auto fill = [&](ggml_tensor * t, float size) {
        std::vector<float> values(ggml_nelements(t));
        for (auto & x : values) { x = normal(rng) * size; }
        if (t->type == GGML_TYPE_F32) {
            ggml_backend_tensor_set(t, values.data(), 0, ggml_nbytes(t));
            return values;
        }
        std::vector<uint8_t> data(ggml_nbytes(t));
        ggml_quantize_chunk(t->type, values.data(), data.data(), 0, ggml_nrows(t), t->ne[0], nullptr);
        ggml_get_type_traits(t->type)->to_float(data.data(), values.data(), values.size());
        ggml_backend_tensor_set(t, data.data(), 0, data.size());
        return values;
    };
    const auto xq = fill(q, 2), xk = fill(k, 1), xv = fill(v, 1);
    std::vector<float> xs;
    if (sinks) { xs = fill(sinks, 2); }
    std::vector<ggml_fp16_t> xm;
    if (m) {
        xm.resize(ggml_nelements(m));
        for (size_t i = 0; i < xm.size(); i++) {
            const int cell = (int) (i % c.cells), row = (int) (i / c.cells % c.n), head = (int) (i / c.cells / c.n % m->ne[2]), last = c.cells - c.n + row;
            const bool seen = c.visible == 0 ? cell <= last : c.visible == 1 ? cell <= last && cell > last - 100 :
                              c.visible == 2 ? cell / 16 % c.n == row : (row + head) % 2 && cell <= last;
            const float value = !seen ? -INFINITY : c.alibi > 0 ? -std::fabs((float) (last - cell)) : 0;
            xm[i] = ggml_fp32_to_fp16(value);
        }
        ggml_backend_tensor_set(m, xm.data(), 0, ggml_nbytes(m));
    }
    ggml_cgraph * graph = ggml_new_graph(ctx);
    ggml_build_forward_expand(graph, o);
    std::vector<double> want(ggml_nelements(o));
    double top = 0;
    const int power = 1 << (int) std::floor(std::log2((double) c.heads));
    for (int s = 0; s < c.streams; s++) for (int i = 0; i < c.n; i++) for (int h = 0; h < c.heads; h++) {
        const int hk = h / (c.heads / c.kv_heads);
        const double slope = c.alibi <= 0 ? 1 : h < power ? std::pow(2.0, -c.alibi / power * (h + 1)) : std::pow(2.0, -c.alibi / 2 / power * (2 * (h - power) + 1));
        std::vector<double> w(c.cells);
        double most = sinks ? xs[h] : -INFINITY, sum = 0;
        for (int cell = 0; cell < c.cells; cell++) {
            double x = 0;
            for (int d = 0; d < c.dim; d++) { x += (double) xq[(((size_t) s * c.n + i) * c.heads + h) * c.dim + d] * xk[(((size_t) s * c.cells + cell) * c.kv_heads + hk) * c.dim + d]; }
            x *= scale;
            if (c.cap != 0) { x = c.cap * std::tanh(x / c.cap); }
            if (m) { x += slope * ggml_fp16_to_fp32(xm[((size_t) (s * m->ne[2] + (c.per_head ? h : 0)) * c.n + i) * c.cells + cell]); }
            w[cell] = x;
            most = std::max(most, x);
        }
        if (most == -INFINITY) { continue; }
        for (auto & x : w) { x = std::exp(x - most); sum += x; }
        if (sinks) { sum += std::exp(xs[h] - most); }
        for (int d = 0; d < c.value_dim; d++) {
            double x = 0;
            for (int cell = 0; cell < c.cells; cell++) { x += w[cell] / sum * xv[(((size_t) s * c.cells + cell) * c.kv_heads + hk) * c.value_dim + d]; }
            want[(((size_t) s * c.n + i) * c.heads + h) * c.value_dim + d] = x;
            top = std::max(top, std::fabs(x));
        }
    }
    for (int own = quick; own < 2; own++) {
        e.kernels->choose(own);
        ggml_backend_graph_compute(e.dev_backend, graph);
        std::vector<float> out(want.size());
        ggml_backend_tensor_get(o, out.data(), 0, ggml_nbytes(o));
        const std::string key = std::string("attention ") + ggml_type_name(c.type) + (c.n < 64 ? " few " : " many ") + (own ? MULLAMA_KERNELS_NAME : "CPU");
        double & worst = f.error[key];
        f.cases[key]++;
        for (size_t i = 0; i < out.size(); i++) {
            const double error = std::fabs(out[i] - want[i]) / (top + 1e-30);
            if (!(error <= worst)) { worst = error; }
        }
    }
    e.kernels->choose(1);
    ggml_backend_buffer_free(buffer);
    ggml_free(ctx);
}

// A thread's selection applies to tensors that are not allocated yet; packed tensors always use our kernels.
static void choices(const engine & e) {
    const bool usual = e.kernels->chosen();
    operation packed(e, e.own, GGML_TYPE_Q8_0, 64, 20, 1);
    const ggml_init_params p = { 1 << 20, nullptr, true };
    ggml_context * ctx = ggml_init(p);
    ggml_tensor * w = ggml_new_tensor_2d(ctx, GGML_TYPE_Q8_0, 64, 20), * y = ggml_mul_mat(ctx, w, ggml_new_tensor_2d(ctx, GGML_TYPE_F32, 64, 1));
    w->buffer = ggml_backend_buft_alloc_buffer(e.own, 0);      // like the loader
    for (int own : { 1, 0, -1 }) {
        e.kernels->choose(own);
        const bool wanted = own < 0 ? usual : own;
        if (e.kernels->chosen() != wanted || ggml_backend_dev_supports_op(e.dev, y) != wanted) { e.fail("a choice does not hold"); }
        if (!ggml_backend_dev_supports_op(e.dev, packed.y)) { e.fail("packed weights are refused"); }
    }
    ggml_tensor * rows = ggml_get_rows(ctx, w, ggml_new_tensor_1d(ctx, GGML_TYPE_I32, 1));
    e.kernels->choose(1);
    if (ggml_backend_dev_supports_op(e.dev, rows)) { e.fail("rows of packed weights cannot be read"); }
    e.kernels->choose(-1);
    ggml_backend_buffer_free(w->buffer);
    ggml_free(ctx);
    // 20 rows are two panels of 16; the scales of two blocks of 16 rows fill a cache line.
    const size_t size = ggml_backend_buffer_get_size(packed.weights_buffer), want = 32 * ggml_row_size(GGML_TYPE_Q8_0, 64);
    if (size != want) { e.fail("a packed tensor has another size than its rows, rounded up"); }
}

int main(int argc, char ** argv) {
    ggml_log_set([](ggml_log_level level, const char * text, void *) {
        if (level >= GGML_LOG_LEVEL_WARN) { fputs(text, stderr); }
    }, nullptr);
    const engine e(argc > 1 ? argv[1] : ".", 3);
    const double seconds = argc > 2 ? atof(argv[2]) : 10;
    quick = seconds <= 0;
    if (!e.own) {
        printf("no kernels of our own in this module\n");
        return 0;
    }
    printf("instructions: %s\n", e.kernels->instruction_set);
    choices(e);
    e.kernels->choose(1);
    figures f;
    // Common shapes first, then random ones for the rest of the time.
    for (ggml_type type : TYPES) {
        const int unit = std::max<int>(32, (int) ggml_blck_size(type));
        for (int n : { 1, 2, 3, 4, 5, 7, 8, 12, 16, 23, 31, 32, 33, 40 }) {
            if (!quick || n < 4 || n == 33) { product(e, type, unit * 2, quick ? 5 : 20, n, 0, 0, n % 5, f); }
        }
        product(e, type, unit * 3, 1, 1, 0, 0, 0, f);
        if (!quick) {
            product(e, type, unit, 17, 70, 0, 0, 0, f);
            product(e, type, 2048, 32, 3, 0, 0, 0, f);
            product(e, type, unit * 2, 20, 33, 5, 2, 0, f);
        }
        product(e, type, unit, 3, 1, 4, 4, 0, f);
        if (is_float(type)) { product(e, type, 75, 20, 5, 0, 0, 0, f); }
    }
    const auto start = clock_type::now();
    const auto used = [&] { return std::chrono::duration<double>(clock_type::now() - start).count(); };
    const ggml_type caches[] = { GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_F32 };
    int rounds = 0;
    for (; rounds < 12 || (used() < seconds && rounds < 100000); rounds++) {
        const ggml_type type = TYPES[rounds % std::size(TYPES)];
        const int unit = std::max<int>(32, (int) ggml_blck_size(type)), columns = is_float(type) && rounds % 2 ? pick(1, 300) : unit * pick(1, 2048 / unit);
        const int experts = rounds / 12 % 3 ? 0 : pick(2, 9);
        product(e, type, columns, pick(1, quick ? 5 : 50), pick(1, quick ? 5 : 40), experts, experts ? pick(1, experts) : 0, pick(0, 4), f);
        attention_case c = {};
        const int dims[] = { 32, 64, 80, 96, 128, 40, 256 };
        c.type = caches[rounds % 4];
        c.dim = dims[pick(0, c.type == GGML_TYPE_Q8_0 ? 1 : 6)];
        c.value_dim = pick(0, 3) ? c.dim : dims[pick(0, c.type == GGML_TYPE_Q8_0 ? 1 : 4)];
        c.kv_heads = pick(1, 3);
        c.heads = c.kv_heads * pick(1, 5);
        c.streams = pick(0, 3) ? 1 : 2;
        c.n = rounds % 8 == 7 && !quick ? pick(64, 90) : pick(1, 20);
        c.cells = c.n + pick(0, quick || c.n >= 64 ? 150 : 700);
        c.alibi = pick(0, 3) ? 0 : 8;
        c.mask = pick(0, 7) || c.alibi > 0;
        c.per_head = c.mask && !pick(0, 3);
        c.sinks = !pick(0, 3);
        c.cap = pick(0, 3) ? 0 : 30;
        c.visible = pick(0, 3);
        attention(e, c, f);
    }
    printf("%d random shapes\n", rounds);
    bool good = true;
    for (const auto & [key, error] : f.error) {
        const size_t at = key.find(MULLAMA_KERNELS_NAME);
        if (at == std::string::npos) { continue; }
        const std::string what = key.substr(0, at);
        const double other = f.error[what + "CPU"];
        // Both round: errors within two units in the last place of the largest possible sum are accepted.
        const bool ok = error <= std::max(other, key.rfind("attention", 0) ? std::ldexp(1.0, -22) : 4e-6);
        good &= ok;
        const auto repacked = f.error.find(what + "CPU_REPACK");
        printf("%-24s ours %.1e  engine %.1e", what.c_str(), error, other);
        if (repacked != f.error.end()) { printf("  repacked %.1e", repacked->second); }
        printf("  %d cases%s\n", f.cases[key], ok ? "" : "  WORSE");
    }
    return good ? 0 : 1;
}
