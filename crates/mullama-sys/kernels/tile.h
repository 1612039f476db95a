// Multiplies one panel of weights by several columns of activations.
//
// With one or two columns, sums are in registers, since the number of columns is a compile-time constant. With more,
// the weights of a group are in registers and the sums in memory, and one loop handles any number of columns.
#pragma once

#include "activations.h"
#include "layout.h"
#include "weights.h"

#include <algorithm>

namespace mullama {
namespace {

constexpr int MAX_COLUMNS = 32;     // of a tile: weights are unpacked once for this many columns

// The output of a tile: where each column's PANEL_ROWS results are stored.
using results = float * const *;

// Quantised weights of format W, with N columns, or `columns` if N is 0. For each block, the activations of all columns
// are stored next to each other.
template <class V, template <class> class W, int N>
void quantized_tile(const uint8_t * panel, const void * activations, int blocks, int columns, results out) {
    using weights = W<V>;
    using block   = quantized<weights::LAYOUT.block>;
    constexpr int MOST = N ? N : MAX_COLUMNS, VECTORS = PANEL_ROWS / V::LANES;
    const int n = N ? N : columns;

    const uint8_t * head = panel, * words = panel + padded((size_t) blocks * PANEL_ROWS * weights::LAYOUT.head);
    const block * a = (const block *) activations;
    typename V::floats sum[VECTORS][MOST];
    for (int v = 0; v < VECTORS; v++) {
        for (int c = 0; c < n; c++) { sum[v][c] = V::all(0); }
    }
    for (int b = 0; b < blocks; b++) {
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 1
#endif
        for (int v = 0; v < VECTORS; v++) {
            const block * x = a;
            KERNELS_LOAD_AGAIN(x);
            const weights w({ words + 4 * V::LANES * v, head + weights::LAYOUT.head * V::LANES * v });
            typename V::totals total[MOST];
            repeat<weights::GROUPS>([&](auto j) KERNELS_INLINE {
                constexpr int J = j, FIRST = weights::template first<J>(), BEGIN = weights::template begins<J>();
                typename V::ints u[weights::WORDS];
                w.template weights<J>(u);
                const auto scale = w.template scale<J>();
                const auto column = [&](int c) KERNELS_INLINE {
                    typename V::ints s;
                    repeat<weights::WORDS>([&](auto k) KERNELS_INLINE {
                        const auto y = V::word(x[c].q + FIRST + 4 * k);
                        if constexpr (k > 0) {
                            s = V::dot(s, u[k], y);
                        } else if constexpr (BEGIN != NONE) {
                            s = V::dot(V::word(x[c].begin + BEGIN), u[k], y);
                        } else {
                            s = V::dot(u[k], y);
                        }
                    });
                    typename V::totals t;
                    if constexpr (J == 0) {
                        t = V::scaled(s, scale);
                    } else {
                        t = V::add_scaled(total[c], s, scale);
                    }
                    if constexpr (J == weights::GROUPS - 1) {
                        sum[v][c] = w.finish(t, x[c], sum[v][c]);
                    } else {
                        total[c] = t;
                    }
                };
                if constexpr (N != 0) {
                    repeat<N>([&](auto c) KERNELS_INLINE { column(c); });
                } else {
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 1
#endif
                    for (int c = 0; c < n; c++) { column(c); }
                }
            });
        }
        a     += n;
        words += 4 * PANEL_ROWS * weights::LAYOUT.words;
        head  += PANEL_ROWS * weights::LAYOUT.head;
    }
    for (int c = 0; c < n; c++) {
        for (int v = 0; v < VECTORS; v++) { V::store(out[c] + V::LANES * v, sum[v][c]); }
    }
}

// --- weights in 16-bit floats -----------------------------------------------------------------------------------------

// 32 unquantised activations of a column.
struct unquantized {
    float x[32];
};

// F16 and BF16: a panel stores the weights with the same index of its 16 rows next to each other. Rows are padded with
// zeros to a multiple of 32. Products are summed over SUM_BLOCKS blocks, and these sums are then added up, to preserve
// precision in long rows.
struct half_float {
    static constexpr ggml_type TYPE = GGML_TYPE_F16;
    template <class V> static typename V::floats load(const uint16_t * p) { return V::halves(p); }
};
struct brain_float {
    static constexpr ggml_type TYPE = GGML_TYPE_BF16;
    template <class V> static typename V::floats load(const uint16_t * p) { return V::brains(p); }
};
constexpr int SUM_BLOCKS = 8;

template <class V, class F, int N>
inline void float_columns(const uint16_t * words, const unquantized * a, int blocks, int stride, float (*sum)[PANEL_ROWS]) {
    constexpr int VECTORS = PANEL_ROWS / V::LANES;
    typename V::floats s[VECTORS][N];
    repeat<VECTORS * N>([&](auto i) KERNELS_INLINE { s[i / N][i % N] = V::all(0); });
    for (int b = 0; b < blocks; b++, a += stride) {
        for (int i = 0; i < 32; i++, words += PANEL_ROWS) {
            typename V::floats w[VECTORS];
            repeat<VECTORS>([&](auto v) KERNELS_INLINE { w[v] = F::template load<V>(words + V::LANES * v); });
            repeat<N>([&](auto c) KERNELS_INLINE {
                const auto x = V::all(a[c].x[i]);
                repeat<VECTORS>([&](auto v) KERNELS_INLINE { s[v][c] = V::fma(w[v], x, s[v][c]); });
            });
        }
    }
    repeat<VECTORS * N>([&](auto i) KERNELS_INLINE {
        float * to = sum[i % N] + V::LANES * (i / N);
        V::store(to, V::add(V::loadf(to), s[i / N][i % N]));
    });
}

template <class V, class F>
void float_tile(const uint8_t * panel, const void * activations, int blocks, int columns, results out) {
    constexpr int MOST = V::LANES == 8 ? 6 : 12;        // columns whose sums fit into registers
    const uint16_t * words = (const uint16_t *) panel;
    const unquantized * a = (const unquantized *) activations;
    alignas(64) float sum[MAX_COLUMNS][PANEL_ROWS] = {};
    for (int b = 0; b < blocks; b += SUM_BLOCKS) {
        const int some = std::min(SUM_BLOCKS, blocks - b);
        int c = 0;
        for (; c + MOST <= columns; c += MOST) { float_columns<V, F, MOST>(words, a + c, some, columns, sum + c); }
        for (; c + 4 <= columns; c += 4)       { float_columns<V, F, 4>(words, a + c, some, columns, sum + c); }
        for (; c + 2 <= columns; c += 2)       { float_columns<V, F, 2>(words, a + c, some, columns, sum + c); }
        if (c < columns)                       { float_columns<V, F, 1>(words, a + c, some, columns, sum + c); }
        words += some * 32 * PANEL_ROWS;
        a     += some * columns;
    }
    for (int c = 0; c < columns; c++) { memcpy(out[c], sum[c], sizeof(sum[c])); }
}

}  // namespace
}  // namespace mullama
