// The layout of weights in our buffers.
//
// PANEL_ROWS neighbouring rows of a tensor form a panel; rows missing from the last panel are zeros. A row is a
// sequence of blocks, as in the file. Within a panel, the blocks with the same index are stored together, transposed by
// 4-byte words: word w of row r is at words[block][w][r]. A vector of words then contains 4 weights of each of its
// rows, which vpmaddubsw and vpdpbusd multiply by one broadcast word of 4 activations. No sum across lanes is needed.
//
// The parts of a block whose size is not a multiple of 4 bytes (a scale of 2 bytes, an exponent of 1) are at the head
// of the panel, head[block][row], padded to 64 bytes, so that words are aligned:
//
//   panel = head (blocks x PANEL_ROWS x HEAD bytes, padded) | words (blocks x WORDS x PANEL_ROWS x 4 bytes)
//
// Words are stored in the order in which the tiles use them, since sequential reads are fastest. Apart from padding, a
// panel is as large as its rows, so tensors take as much memory as in the file.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mullama {
namespace {

constexpr int    PANEL_ROWS = 16;
constexpr size_t LINE       = 64;       // size of a cache line in bytes: alignment of heads, buffers and scratch memory

constexpr size_t padded(size_t size) { return (size + LINE - 1) / LINE * LINE; }

struct layout {
    int    block;       // weights per block of a row
    size_t bytes;       // bytes per block of a row in the file
    size_t head;        // bytes of these at the head of the panel
    size_t words;       // 4-byte words per block of a row in the panel

    int64_t blocks(int64_t columns) const { return (columns + block - 1) / block; }
    size_t  head_size(int64_t columns) const { return padded((size_t) blocks(columns) * PANEL_ROWS * head); }
    size_t  panel_size(int64_t columns) const {
        return head_size(columns) + (size_t) blocks(columns) * words * PANEL_ROWS * 4;
    }
    static int64_t panels(int64_t rows) { return (rows + PANEL_ROWS - 1) / PANEL_ROWS; }
};

}  // namespace
}  // namespace mullama
