// How weights lie in our buffers.
//
// PANEL_ROWS neighbouring rows of a tensor make a panel; rows that the last one lacks are zeros. A row is a sequence of
// blocks, as in the file. Within a panel the blocks with the same index stand together, transposed by 4-byte words: word
// w of row r is at words[block][w][r]. A vector of words then has 4 weights of each of its rows, which is what
// vpmaddubsw and vpdpbusd multiply with one broadcast word of 4 activations, and no sum across lanes is left to do.
//
// What of a block is no multiple of 4 bytes (a scale of 2 bytes, an exponent of 1) stands at the head of the panel,
// head[block][row], padded to 64 bytes, so that words stay aligned:
//
//   panel = head (blocks x PANEL_ROWS x HEAD bytes, padded) | words (blocks x WORDS x PANEL_ROWS x 4 bytes)
//
// Words stand in the order in which the tiles use them: memory is fastest read forwards. A panel is as large as its rows
// but for paddings, so a file's tensors take the memory that they have in the file.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mullama {
namespace {

constexpr int    PANEL_ROWS = 16;
constexpr size_t LINE       = 64;       // bytes of a cache line: heads, buffers and scratch are aligned to it

constexpr size_t padded(size_t size) { return (size + LINE - 1) / LINE * LINE; }

struct layout {
    int    block;       // weights of a row's block
    size_t bytes;       // bytes of a row's block in the file
    size_t head;        // of these at the head of the panel
    size_t words;       // 4-byte words of a row's block in the panel

    int64_t blocks(int64_t columns) const { return (columns + block - 1) / block; }
    size_t  head_size(int64_t columns) const { return padded((size_t) blocks(columns) * PANEL_ROWS * head); }
    size_t  panel_size(int64_t columns) const {
        return head_size(columns) + (size_t) blocks(columns) * words * PANEL_ROWS * 4;
    }
    static int64_t panels(int64_t rows) { return (rows + PANEL_ROWS - 1) / PANEL_ROWS; }
};

}  // namespace
}  // namespace mullama
