// MUL_MAT and MUL_MAT_ID over packed weights, in the engine's thread pool.
#pragma once

#include "kernel.h"

#include "ggml-cpu-impl.h"
#include "ggml-impl.h"
#include "traits.h"

#include <algorithm>

namespace mullama {
namespace {

class products : public ggml::cpu::tensor_traits {
  public:
    explicit products(const kernel & k) : k(k) {}

    const kernel & k;

    // Size of a packed tensor in bytes.
    size_t size(const ggml_tensor * t) const {
        return (size_t) (layout::panels(t->ne[1]) * t->ne[2]) * k.lay.panel_size(t->ne[0]);
    }

    // Packs panels first..last - 1 of a tensor, numbered across all of its matrices.
    void pack(const ggml_tensor * t, const uint8_t * from, int64_t first, int64_t last) const {
        const int64_t panels = layout::panels(t->ne[1]);
        const size_t  panel = k.lay.panel_size(t->ne[0]), stride = ggml_row_size(t->type, t->ne[0]);
        for (int64_t p = first; p < last; p++) {
            const int64_t row = p % panels * PANEL_ROWS;
            k.pack(from + (size_t) (p / panels * t->ne[1] + row) * stride, stride, (int) std::min<int64_t>(PANEL_ROWS, t->ne[1] - row),
                   t->ne[0], (uint8_t *) t->data + p * panel);
        }
    }

    bool work_size(int n_threads, const ggml_tensor * op, size_t & size) override {
        const int64_t columns = columns_of(op), blocks = k.lay.blocks(op->src[0]->ne[0]);
        size = LINE + padded(columns * blocks * k.activations) + n_threads * lists_size(columns, op->src[0]->ne[2]);
        return true;
    }

    bool compute_forward(ggml_compute_params * params, ggml_tensor * op) override {
        const ggml_tensor * w = op->src[0], * x = op->src[1], * ids = op->op == GGML_OP_MUL_MAT ? nullptr : op->src[2];
        const int64_t columns = columns_of(op), blocks = k.lay.blocks(w->ne[0]), panels = layout::panels(w->ne[1]);
        const size_t  panel = k.lay.panel_size(w->ne[0]);
        const int     thread = params->ith, threads = params->nth;
        uint8_t * activations = (uint8_t *) padded((uintptr_t) params->wdata);
        const lists l(activations + padded(columns * blocks * k.activations) + thread * lists_size(columns, w->ne[2]), op, columns);

        // Within a group, activations are ordered by block, then by column.
        for (int64_t i = thread * columns * blocks / threads, end = (thread + 1) * columns * blocks / threads, g = 0; i < end; i++) {
            while ((l.groups[g].first + l.groups[g].n) * blocks <= i) { g++; }
            const int64_t at = i - l.groups[g].first * blocks, block = at / l.groups[g].n;
            const int64_t c = l.order[l.groups[g].first + at % l.groups[g].n];
            const int64_t c1 = ids ? c % ids->ne[0] % x->ne[1] : c % x->ne[1];
            const int64_t c2 = ids ? c / ids->ne[0] : c / x->ne[1] % x->ne[2], c3 = ids ? 0 : c / (x->ne[1] * x->ne[2]);
            const float * from = (const float *) ((const char *) x->data + c1 * x->nb[1] + c2 * x->nb[2] + c3 * x->nb[3]);
            const int64_t first = block * k.lay.block;
            k.prepare(from + first, (int) std::min<int64_t>(k.lay.block, w->ne[0] - first), activations + i * k.activations);
        }

        // A chunk is `step` panels of the weights of a share, multiplied by all of its columns. If weights are read
        // only once, chunks are long, since memory is then faster. Otherwise, chunks fit into the cache, and are
        // multiplied by `keep` groups at a time, whose activations fit into the cache as well.
        const bool    once  = l.n_groups == l.n_shares;
        const int64_t most  = panels * l.n_shares / (threads * (once ? 2 : 4));
        const int64_t fit   = (int64_t) ((once ? ONCE : OFTEN) / panel);
        const int64_t step  = std::max<int64_t>(1, std::min(most, fit)), steps = (panels + step - 1) / step;
        const int64_t keep  = std::max<int64_t>(1, KEPT / (int64_t) (blocks * MAX_COLUMNS * k.activations));
        if (thread == 0) { ggml_threadpool_chunk_set(params->threadpool, threads); }
        ggml_barrier(params->threadpool);

        for (int64_t chunk = thread; chunk < steps * l.n_shares; chunk = ggml_threadpool_chunk_add(params->threadpool, 1)) {
            const share s = l.shares[chunk / steps];
            const int64_t first = chunk % steps * step, last = std::min(panels, first + step);
            const uint8_t * weights = (const uint8_t *) w->data + s.expert * panels * panel;
            for (int64_t g = s.first; g < s.last; g += keep) {
                for (int64_t p = first; p < last; p++) {
                    for (int64_t i = g; i < std::min<int64_t>(s.last, g + keep); i++) {
                        multiply(weights + p * panel, activations + l.groups[i].first * blocks * k.activations, (int) blocks,
                                 l.order + l.groups[i].first, l.groups[i].n, op, p * PANEL_ROWS);
                    }
                }
            }
        }
        return true;
    }

  private:
    static constexpr size_t  ONCE = 1 << 20, OFTEN = 256 << 10;     // bytes of weights
    static constexpr int64_t KEPT = 384 << 10;                      // bytes of activations

    // A column of the result is a token, or with MUL_MAT_ID a pair of a token and one of its experts; these are sorted
    // by expert. A group consists of up to MAX_COLUMNS columns of one expert, a share of all groups of one expert.
    struct group { int32_t first, n; };
    struct share { int32_t expert, first, last; };

    static int64_t columns_of(const ggml_tensor * op) {
        return op->op == GGML_OP_MUL_MAT ? ggml_nrows(op->src[1]) : ggml_nelements(op->src[2]);
    }
    static size_t lists_size(int64_t columns, int64_t experts) {
        return padded(columns * sizeof(int32_t) + (columns / MAX_COLUMNS + experts + 1) * sizeof(group) +
                      experts * (sizeof(share) + sizeof(int32_t)));
    }

    // Every thread creates the same lists: that takes microseconds and saves a barrier.
    struct lists {
        int32_t * order;    // the columns, sorted by expert
        share   * shares;
        group   * groups;
        int       n_shares = 0, n_groups = 0;

        lists(void * memory, const ggml_tensor * op, int64_t columns) {
            const ggml_tensor * ids = op->op == GGML_OP_MUL_MAT ? nullptr : op->src[2];
            const int64_t experts = op->src[0]->ne[2];
            order = (int32_t *) memory;
            int32_t * count = order + columns;
            shares = (share *) (count + experts);
            groups = (group *) (shares + experts);
            const auto expert_of = [=](int64_t c) {
                return ids ? *(const int32_t *) ((const char *) ids->data + c % ids->ne[0] * ids->nb[0] + c / ids->ne[0] * ids->nb[1]) : 0;
            };
            std::fill(count, count + experts, 0);
            for (int64_t c = 0; c < columns; c++) { count[expert_of(c)]++; }
            int32_t first = 0;
            for (int64_t e = 0; e < experts; e++) {
                const int64_t n = count[e], parts = (n + MAX_COLUMNS - 1) / MAX_COLUMNS;     // of nearly equal size
                if (n) { shares[n_shares++] = { (int32_t) e, n_groups, (int32_t) (n_groups + parts) }; }
                for (int64_t i = 0; i < parts; i++) {
                    groups[n_groups++] = { (int32_t) (first + i * n / parts), (int32_t) ((i + 1) * n / parts - i * n / parts) };
                }
                count[e] = first;
                first += (int32_t) n;
            }
            for (int64_t c = 0; c < columns; c++) { order[count[expert_of(c)]++] = (int32_t) c; }
        }
    };

    // Multiplies one panel by one group. Rows missing from the last panel are computed, but not stored.
    void multiply(const uint8_t * panel, const uint8_t * activations, int blocks, const int32_t * order, int n, ggml_tensor * op,
                  int64_t row) const {
        float * out[MAX_COLUMNS];
        for (int c = 0; c < n; c++) { out[c] = (float *) op->data + order[c] * op->ne[0] + row; }
        const int64_t rows = op->ne[0] - row;
        if (rows >= PANEL_ROWS) {
            k.multiply(panel, activations, blocks, n, out);
            return;
        }
        float whole[MAX_COLUMNS][PANEL_ROWS], * to[MAX_COLUMNS];
        for (int c = 0; c < MAX_COLUMNS; c++) { to[c] = whole[c]; }
        k.multiply(panel, activations, blocks, n, to);
        for (int c = 0; c < n; c++) { memcpy(out[c], whole[c], rows * sizeof(float)); }
    }
};

}  // namespace
}  // namespace mullama
