// FLASH_ATTN_EXT over a KV cache in F16, BF16, F32 or Q8_0, which is in ordinary buffers: the engine offers each
// operation to each extra buffer type, wherever its tensors are. Operations that are not accepted here are computed by
// the engine.
//
// A row is a query for one of the heads that share a KV head. A unit of work consists of up to ROWS rows of a KV head
// and a stretch of the cache, which is processed CELLS cells at a time: K is converted to F32 and transposed, and V is
// converted, once for all rows. Then scores = Q K, their exponentials, and sums += exponentials V. Both products are
// computed for GROUP rows by several vectors in registers, entirely in F32. As in every flash attention, sums are
// relative to the largest score so far.
//
// Groups of rows for which the mask hides all cells of a block are skipped, and so are blocks that it hides from all
// rows: cells of other sequences, of finished sequences that are still cached, or outside of a window only cost reading
// the mask.
#pragma once

#include "layout.h"
#include "simd/functions.h"

#include "ggml-cpu-impl.h"
#include "ggml-impl.h"
#include "traits.h"

#include <algorithm>
#include <cmath>

namespace mullama {
namespace {

template <class V> class attention : public ggml::cpu::tensor_traits {
  public:
    // Whether the calling thread uses our attention (kernels.h).
    using choice = bool (*)();
    explicit attention(choice wanted) : wanted(wanted) {}

    static bool takes(const ggml_tensor * op) {
        const ggml_tensor * q = op->src[0], * k = op->src[1], * v = op->src[2], * mask = op->src[3], * sinks = op->src[4];
        return q->type == GGML_TYPE_F32 && readable(k->type) && readable(v->type) && q->nb[0] == sizeof(float) &&
               k->nb[0] == ggml_type_size(k->type) && v->nb[0] == ggml_type_size(v->type) && k->ne[0] % 8 == 0 && v->ne[0] % 8 == 0 &&
               k->ne[2] == v->ne[2] && q->ne[2] % k->ne[2] == 0 && k->ne[1] == v->ne[1] && k->ne[3] == q->ne[3] && v->ne[3] == q->ne[3] &&
               (!mask || (mask->type == GGML_TYPE_F16 && mask->nb[0] == sizeof(ggml_fp16_t))) &&
               (!sinks || (sinks->type == GGML_TYPE_F32 && ggml_is_contiguous(sinks))) && ggml_is_contiguous(op);
    }

    // The engine queries the size of the work buffer on the thread that starts a computation, right before it; then
    // every thread asks to compute. All threads must agree, so the selection of the starting thread is stored in the
    // operation, in a parameter that the engine does not use.
    bool work_size(int n_threads, const ggml_tensor * op, size_t & size) override {
        const bool ours = wanted();
        const_cast<ggml_tensor *>(op)->op_params[MARK_AT] = ours ? MARK : 0;
        if (!ours) { return false; }
        const shape s(op, n_threads);
        size = LINE + sizeof(float) * (n_threads * s.scratch() + (s.chunks > 1 ? s.streams * s.heads * s.rows * s.chunks * s.part() : 0));
        return true;
    }

    bool compute_forward(ggml_compute_params * params, ggml_tensor * op) override {
        if (op->op_params[MARK_AT] != MARK) { return false; }
        const task t(params, op);
        if (params->ith == 0) { ggml_threadpool_chunk_set(params->threadpool, params->nth); }
        ggml_barrier(params->threadpool);
        const int64_t units = t.s.streams * t.s.heads * t.s.row_blocks * t.s.chunks;
        for (int64_t u = params->ith; u < units; u = ggml_threadpool_chunk_add(params->threadpool, 1)) { t.compute(u); }
        if (t.s.chunks > 1) {
            ggml_barrier(params->threadpool);
            const int64_t rows = t.s.streams * t.s.heads * t.s.rows;
            for (int64_t r = params->ith * rows / params->nth; r < (params->ith + 1) * rows / params->nth; r++) { t.join(r); }
        }
        return true;
    }

  private:
    const choice wanted;

    static constexpr int32_t MARK = 0x6d756c6c;
    static constexpr size_t  MARK_AT = GGML_MAX_OP_PARAMS / sizeof(int32_t) - 1;

    static constexpr int CELLS = 64;                        // per block
    static constexpr int ROWS  = 64;                        // per unit
    static constexpr int GROUP = 4;                         // rows per product
    static constexpr int WIDE  = V::LANES == 8 ? 2 : 4;     // vectors per product
    static constexpr int LEAST = 256;                       // minimum cells per stretch

    using floats = typename V::floats;

    static bool readable(ggml_type t) {
        return t == GGML_TYPE_F16 || t == GGML_TYPE_BF16 || t == GGML_TYPE_F32 || t == GGML_TYPE_Q8_0;
    }

    struct shape {
        int64_t dk, dv, share, rows, cells, heads, streams, row_blocks, chunk, chunks;
        int64_t wide_dv;        // dv, padded to whole vectors of any layer

        shape(const ggml_tensor * op, int threads) {
            const ggml_tensor * q = op->src[0], * k = op->src[1], * v = op->src[2];
            dk = k->ne[0]; dv = v->ne[0]; wide_dv = GGML_PAD(dv, 16);
            heads = k->ne[2]; share = q->ne[2] / heads; rows = q->ne[1] * share; cells = k->ne[1]; streams = q->ne[3];
            row_blocks = (rows + ROWS - 1) / ROWS;
            // Split the cache into stretches if there are fewer than four units per thread.
            const int64_t units = streams * heads * row_blocks, want = threads == 1 ? 1 : (4 * threads + units - 1) / units;
            chunk  = std::max<int64_t>(GGML_PAD((cells + want - 1) / want, CELLS), LEAST);
            chunks = std::max<int64_t>(1, (cells + chunk - 1) / chunk);
        }
        // Size of a thread's scratch memory in floats; see task.
        size_t scratch() const {
            return GGML_PAD(ROWS * dk + CELLS * dk + 8 * GGML_PAD(dk, 16) + CELLS * wide_dv + ROWS * CELLS + ROWS * wide_dv + 2 * ROWS, 16);
        }
        // Size in floats of a row's result for one stretch: the largest score, the sum of exponentials, the sums.
        size_t part() const { return 2 + dv; }
    };

    // Computes GROUP rows of c = a b, or of c += a b. a has n columns; c and b have `stride` columns, of which N
    // vectors are computed.
    template <int N, bool ADD> static inline void columns(float * c, const float * a, int a_stride, const float * b, int n, int stride) {
        floats s[GROUP][N];
        repeat<GROUP * N>([&](auto i) KERNELS_INLINE {
            s[i / N][i % N] = ADD ? V::loadf(c + i / N * stride + V::LANES * (i % N)) : V::all(0);
        });
        for (int k = 0; k < n; k++, b += stride) {
            floats y[N];
            repeat<N>([&](auto v) KERNELS_INLINE { y[v] = V::loadf(b + V::LANES * v); });
            repeat<GROUP>([&](auto r) KERNELS_INLINE {
                const floats x = V::all(a[r * a_stride + k]);
                repeat<N>([&](auto v) KERNELS_INLINE { s[r][v] = V::fma(x, y[v], s[r][v]); });
            });
        }
        repeat<GROUP * N>([&](auto i) KERNELS_INLINE { V::store(c + i / N * stride + V::LANES * (i % N), s[i / N][i % N]); });
    }
    template <bool ADD> static void product(float * c, const float * a, int a_stride, const float * b, int n, int stride) {
        int i = 0;
        for (; i + WIDE * V::LANES <= stride; i += WIDE * V::LANES) { columns<WIDE, ADD>(c + i, a, a_stride, b + i, n, stride); }
        for (; i < stride; i += V::LANES) { columns<1, ADD>(c + i, a, a_stride, b + i, n, stride); }
    }

    // A head's cells are far apart in memory, so that CPUs do not prefetch them: reading a cell prefetches the one
    // CELLS further on. Beyond the end, that is another tensor or unmapped memory, but prefetches do not fault.
    static inline void ahead(const char * cell, size_t stride, size_t bytes) {
#if defined(__GNUC__)
        for (size_t i = 0; i < bytes; i += LINE) { __builtin_prefetch((const void *) ((uintptr_t) cell + CELLS * stride + i)); }
#else
        (void) cell; (void) stride; (void) bytes;
#endif
    }

    // Converts n values of the cache to floats. Up to 15 more may be written, but no more are read.
    static void convert(ggml_type type, const char * from, int n, float * to) {
        int i = 0;
        if (type == GGML_TYPE_F16) {
            for (; i + V::LANES <= n; i += V::LANES) { V::store(to + i, V::halves(from + 2 * i)); }
            for (; i < n; i++) { to[i] = ggml_fp16_to_fp32(read<ggml_fp16_t>(from + 2 * i)); }
        } else if (type == GGML_TYPE_BF16) {
            for (; i + V::LANES <= n; i += V::LANES) { V::store(to + i, V::brains(from + 2 * i)); }
            for (; i < n; i++) { to[i] = ggml_bf16_to_fp32(read<ggml_bf16_t>(from + 2 * i)); }
        } else if (type == GGML_TYPE_F32) {
            memcpy(to, from, n * sizeof(float));
        } else {        // Q8_0: a half and 32 bytes
            for (; i < n; i += 32, from += 34) {
                const floats d = V::all(ggml_fp16_to_fp32(read<ggml_fp16_t>(from)));
                for (int j = 0; j < 32; j += V::LANES) { V::store(to + i + j, V::mul(d, V::signed_bytes(from + 2 + j))); }
            }
        }
    }

    static bool any_seen(const ggml_fp16_t * mask, int cells) {     // whether the mask leaves any of the cells visible
        constexpr uint64_t none = 0xfc00fc00fc00fc00u;              // four times -infinity
        uint64_t differs = 0;
        int i = 0;
        for (; i + 16 <= cells && !differs; i += 16) {
            for (int j = 0; j < 16; j += 4) { differs |= read<uint64_t>(mask + i + j) ^ none; }
        }
        for (; i < cells && !differs; i++) { differs |= mask[i] ^ 0xfc00; }
        return differs != 0;
    }

    struct task {
        const ggml_tensor * op, * q, * k, * v, * mask;
        const float * sinks;
        const shape s;
        float scale, max_bias, cap;
        // Of this thread: rows of Q, transposed K, eight cells before their transposition, V, scores, sums, largest
        // scores, sums of exponentials. Of all threads: results of stretches.
        float * Q, * K, * eight, * X, * P, * O, * M, * S, * parts;

        task(const ggml_compute_params * params, const ggml_tensor * op)
            : op(op), q(op->src[0]), k(op->src[1]), v(op->src[2]), mask(op->src[3]),
              sinks(op->src[4] ? (const float *) op->src[4]->data : nullptr), s(op, params->nth) {
            memcpy(&scale, op->op_params, sizeof(float));
            memcpy(&max_bias, op->op_params + 1, sizeof(float));
            memcpy(&cap, op->op_params + 2, sizeof(float));
            if (cap != 0) { scale /= cap; }
            float * base = (float *) padded((uintptr_t) params->wdata);
            parts = base + params->nth * s.scratch();
            Q = base + params->ith * s.scratch();
            K = Q + ROWS * s.dk;
            eight = K + CELLS * s.dk;
            X = eight + 8 * GGML_PAD(s.dk, 16);
            P = X + CELLS * s.wide_dv;
            O = P + ROWS * CELLS;
            M = O + ROWS * s.wide_dv;
            S = M + ROWS;
        }

        // Rows are numbered within a KV head: the heads of a query are adjacent.
        int64_t query_of(int64_t row) const { return row / s.share; }
        int64_t head_of(int64_t row, int64_t kv_head) const { return kv_head * s.share + row % s.share; }
        float * result(int64_t stream, int64_t kv_head, int64_t row) const {
            return (float *) ((char *) op->data + head_of(row, kv_head) * op->nb[1] + query_of(row) * op->nb[2] + stream * op->nb[3]);
        }
        const ggml_fp16_t * mask_of(int64_t stream, int64_t kv_head, int64_t row) const {
            return (const ggml_fp16_t *) ((const char *) mask->data + query_of(row) * mask->nb[1] +
                                          head_of(row, kv_head) % mask->ne[2] * mask->nb[2] + stream % mask->ne[3] * mask->nb[3]);
        }
        // ALiBi: the factor by which a head multiplies the mask.
        float slope(int64_t head) const {
            if (max_bias <= 0) { return 1; }
            const int64_t power = (int64_t) 1 << (int) std::floor(std::log2((double) q->ne[2]));
            return head < power ? std::pow(std::pow(2.0f, -max_bias / power), (float) (head + 1))
                                : std::pow(std::pow(2.0f, -max_bias / 2 / power), (float) (2 * (head - power) + 1));
        }

        void compute(int64_t unit) const {
            const int64_t chunk = unit % s.chunks, kv_head = unit / s.chunks % s.heads;
            const int64_t row0  = unit / (s.chunks * s.heads) % s.row_blocks * ROWS, stream = unit / (s.chunks * s.heads * s.row_blocks);
            const int n = (int) std::min<int64_t>(ROWS, s.rows - row0), whole = GGML_PAD(n, GROUP), dk = (int) s.dk, dv = (int) s.wide_dv;
            const auto row = [&](int r) { return row0 + std::min(r, n - 1); };      // the last group is padded with the last row
            float slopes[ROWS];
            for (int r = 0; r < whole; r++) {
                const int64_t head = head_of(row(r), kv_head);
                const float * x = (const float *) ((const char *) q->data + query_of(row(r)) * q->nb[1] + head * q->nb[2] + stream * q->nb[3]);
                for (int d = 0; d < dk; d++) { Q[r * dk + d] = x[d] * scale; }
                slopes[r] = slope(head);
                M[r] = -INFINITY;
                S[r] = 0;
            }
            std::fill(O, O + whole * dv, 0.0f);
            const int64_t end = std::min(s.cells, (chunk + 1) * s.chunk);
            for (int64_t c = chunk * s.chunk; c < end; c += CELLS) {
                const int cells = (int) std::min<int64_t>(CELLS, end - c);
                bool live[ROWS / GROUP], any = false;
                for (int r = 0; r < whole; r += GROUP) {
                    bool l = !mask;
                    const ggml_fp16_t * before = nullptr;
                    for (int i = 0; i < GROUP && !l; i++) {
                        const ggml_fp16_t * m = mask_of(stream, kv_head, row(r + i)) + c;
                        if (m != before) { l = any_seen(m, cells); }
                        before = m;
                    }
                    live[r / GROUP] = l;
                    any |= l;
                }
                if (!any) { continue; }
                read_cells(c, cells, kv_head, stream);
                for (int r = 0; r < whole; r += GROUP) {
                    if (!live[r / GROUP]) { continue; }
                    product<false>(P + r * CELLS, Q + r * dk, dk, K, dk, CELLS);
                    for (int i = r; i < r + GROUP; i++) {
                        weigh(i, mask ? mask_of(stream, kv_head, row(i)) + c : nullptr, slopes[i], cells);
                    }
                    product<true>(O + r * dv, P + r * CELLS, CELLS, X, cells, dv);
                }
            }
            for (int r = 0; r < n; r++) {
                if (s.chunks > 1) {
                    float * to = part(stream, kv_head, row0 + r, chunk);
                    to[0] = M[r];
                    to[1] = S[r];
                    memcpy(to + 2, O + r * dv, s.dv * sizeof(float));
                } else {
                    const float sink = sinks ? sinks[head_of(row0 + r, kv_head)] : -INFINITY, top = std::max(M[r], sink);
                    const float sum = top == -INFINITY ? 0 : S[r] * std::exp(M[r] - top) + std::exp(sink - top);
                    const float f = sum > 0 ? std::exp(M[r] - top) / sum : 0;
                    float * to = result(stream, kv_head, row0 + r);
                    for (int d = 0; d < s.dv; d++) { to[d] = O[r * dv + d] * f; }
                }
            }
        }

        // Reads K of some cells into K[d][cell], and V into X[cell][d].
        void read_cells(int64_t first, int cells, int64_t kv_head, int64_t stream) const {
            const int dk = (int) s.dk, dv = (int) s.dv, wide = (int) GGML_PAD(s.dk, 16);
            const char * from = (const char *) k->data + first * k->nb[1] + kv_head * k->nb[2] + stream * k->nb[3];
            const size_t bytes = ggml_row_size(k->type, dk);
            for (int c = 0; c < CELLS; c += 8) {
                for (int i = 0; i < 8; i++) {
                    if (c + i < cells) {
                        const char * cell = from + (c + i) * k->nb[1];
                        ahead(cell, k->nb[1], bytes);
                        convert(k->type, cell, dk, eight + i * wide);
                    } else {
                        std::fill(eight + i * wide, eight + i * wide + dk, 0.0f);
                    }
                }
                for (int d = 0; d < dk; d += 8) { V::transpose8(eight + d, wide, K + d * CELLS + c, CELLS); }
            }
            from = (const char *) v->data + first * v->nb[1] + kv_head * v->nb[2] + stream * v->nb[3];
            for (int c = 0; c < cells; c++) {
                const char * cell = from + c * v->nb[1];
                ahead(cell, v->nb[1], ggml_row_size(v->type, dv));
                convert(v->type, cell, dv, X + c * s.wide_dv);
                for (int d = dv; d < s.wide_dv; d++) { X[c * s.wide_dv + d] = 0; }
            }
        }

        // Converts the scores of a row to exponentials. If there is a new largest score, rescales the row's sums.
        void weigh(int r, const ggml_fp16_t * m, float slope, int cells) const {
            float * p = P + r * CELLS;
            if (cap != 0) {
                for (int i = 0; i < CELLS; i += V::LANES) {
                    V::store(p + i, V::mul(V::all(cap), hyperbolic_tangent<V>(V::loadf(p + i))));
                }
            }
            if (m && cells == CELLS) {
                for (int i = 0; i < CELLS; i += V::LANES) { V::store(p + i, V::fma(V::all(slope), V::halves(m + i), V::loadf(p + i))); }
            } else {
                for (int i = 0; m && i < cells; i++) { p[i] += slope * ggml_fp16_to_fp32(m[i]); }
                std::fill(p + cells, p + CELLS, -INFINITY);
            }
            floats largest = V::all(-INFINITY);
            for (int i = 0; i < CELLS; i += V::LANES) { largest = V::max(V::loadf(p + i), largest); }
            const float top = V::largest(largest);
            if (top == -INFINITY) {
                std::fill(p, p + CELLS, 0.0f);
                return;
            }
            if (top > M[r]) {
                const floats f = V::all(std::exp(M[r] - top));
                float * o = O + r * s.wide_dv;
                for (int d = 0; d < s.wide_dv; d += V::LANES) { V::store(o + d, V::mul(f, V::loadf(o + d))); }
                S[r] *= std::exp(M[r] - top);
                M[r] = top;
            }
            floats sum = V::all(0);
            for (int i = 0; i < CELLS; i += V::LANES) {
                const floats e = exponential<V>(V::sub(V::loadf(p + i), V::all(M[r])));
                V::store(p + i, e);
                sum = V::add(sum, e);
            }
            S[r] += V::sum(sum);
        }

        float * part(int64_t stream, int64_t kv_head, int64_t row, int64_t chunk) const {
            return parts + (((stream * s.heads + kv_head) * s.rows + row) * s.chunks + chunk) * s.part();
        }

        // Combines the results of a row's stretches.
        void join(int64_t i) const {
            const int64_t row = i % s.rows, kv_head = i / s.rows % s.heads, stream = i / (s.rows * s.heads);
            const float * first = part(stream, kv_head, row, 0);
            const float sink = sinks ? sinks[head_of(row, kv_head)] : -INFINITY;
            float * to = result(stream, kv_head, row), top = sink;
            for (int64_t c = 0; c < s.chunks; c++) { top = std::max(top, first[c * s.part()]); }
            float sum = sink == -INFINITY ? 0 : std::exp(sink - top);
            std::fill(to, to + s.dv, 0.0f);
            for (int64_t c = 0; c < s.chunks; c++) {
                const float * p = first + c * s.part();
                if (p[1] == 0) { continue; }
                const float f = std::exp(p[0] - top);
                sum += p[1] * f;
                for (int d = 0; d < s.dv; d++) { to[d] += p[2 + d] * f; }
            }
            if (sum > 0) {
                for (int d = 0; d < s.dv; d++) { to[d] /= sum; }
            }
        }
    };
};

}  // namespace
}  // namespace mullama
