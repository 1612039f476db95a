// An entry per type of weights: its layout, packing, and tiles.
#pragma once

#include "tile.h"

#include <array>

namespace mullama {
namespace {

struct kernel {
    ggml_type type;
    layout    lay;
    size_t    activations;      // bytes per block of a column
    // Packs up to PANEL_ROWS rows of `columns` weights each. Rows are `stride` bytes apart.
    void (*pack)(const uint8_t * from, size_t stride, int rows, int64_t columns, uint8_t * panel);
    // Converts n activations to a block, padded with zeros.
    void (*prepare)(const float * x, int n, void * to);
    // Multiplies a panel by 1..MAX_COLUMNS columns.
    void (*multiply)(const uint8_t * panel, const void * activations, int blocks, int columns, results out);
};

template <class V, template <class> class W>
void pack_panel(const uint8_t * from, size_t stride, int rows, int64_t columns, uint8_t * panel) {
    constexpr layout lay = W<V>::LAYOUT;
    const int64_t blocks = lay.blocks(columns);
    uint8_t * words = panel + lay.head_size(columns);
    if (rows < PANEL_ROWS || lay.head_size(columns) > blocks * PANEL_ROWS * lay.head) { memset(panel, 0, lay.panel_size(columns)); }
    for (int64_t b = 0; b < blocks; b++) {
        uint32_t block[PANEL_ROWS][lay.words];
        for (int r = 0; r < rows; r++) {
            uint8_t head[lay.head + 1];
            W<V>::pack(from + r * stride + b * lay.bytes, head, block[r]);
            memcpy(panel + (b * PANEL_ROWS + r) * lay.head, head, lay.head);
        }
        for (size_t w = 0; w < lay.words; w++, words += 4 * PANEL_ROWS) {
            for (int r = 0; r < rows; r++) { memcpy(words + 4 * r, &block[r][w], 4); }
        }
    }
}

inline void pack_float_panel(const uint8_t * from, size_t stride, int rows, int64_t columns, uint8_t * panel) {
    const int64_t whole = (columns + 31) / 32 * 32;
    if (rows < PANEL_ROWS || whole > columns) { memset(panel, 0, (size_t) whole * PANEL_ROWS * 2); }
    for (int64_t i = 0; i < columns; i++) {
        for (int r = 0; r < rows; r++) { memcpy(panel + 2 * (PANEL_ROWS * i + r), from + r * stride + 2 * i, 2); }
    }
}

template <class V, template <class> class W> void prepare_quantized(const float * x, int, void * to) {
    using weights = W<V>;
    quantize<V, weights::LAYOUT.block, 4 * weights::WORDS, weights::OFFSET>(x, *(quantized<weights::LAYOUT.block> *) to);
}

inline void prepare_floats(const float * x, int n, void * to) {
    unquantized & a = *(unquantized *) to;
    memcpy(a.x, x, n * sizeof(float));
    for (int i = n; i < 32; i++) { a.x[i] = 0; }
}

template <class V, template <class> class W>
void multiply_quantized(const uint8_t * panel, const void * activations, int blocks, int columns, results out) {
    switch (columns) {
        case 1:  return quantized_tile<V, W, 1>(panel, activations, blocks, columns, out);
        case 2:  return quantized_tile<V, W, 2>(panel, activations, blocks, columns, out);
        default: return quantized_tile<V, W, 0>(panel, activations, blocks, columns, out);
    }
}

template <class V, template <class> class W> constexpr kernel quantized_kernel() {
    return { W<V>::TYPE, W<V>::LAYOUT, sizeof(quantized<W<V>::LAYOUT.block>), pack_panel<V, W>, prepare_quantized<V, W>,
             multiply_quantized<V, W> };
}
template <class V, class F> constexpr kernel float_kernel() {
    return { F::TYPE, { 32, 64, 0, 16 }, sizeof(unquantized), pack_float_panel, prepare_floats, float_tile<V, F> };
}

// All types for which there are kernels, with the given vector layer.
template <class V> inline const std::array<kernel, 12> & kernels() {
    static const std::array<kernel, 12> all = {
        quantized_kernel<V, q4_0>(), quantized_kernel<V, q4_1>(), quantized_kernel<V, q5_0>(), quantized_kernel<V, q8_0>(),
        quantized_kernel<V, q4_k>(), quantized_kernel<V, q5_k>(), quantized_kernel<V, q6_k>(), quantized_kernel<V, iq4_nl>(),
        quantized_kernel<V, iq4_xs>(), quantized_kernel<V, mxfp4>(), float_kernel<V, half_float>(), float_kernel<V, brain_float>(),
    };
    return all;
}

}  // namespace
}  // namespace mullama
