// The activations that the tiles read: bytes with a scale, or unquantised floats.
#pragma once

#include "simd/common.h"

namespace mullama {
namespace {

// BLOCK activations of a column. x[i] is approximately q[i] d, with d = max |x| / 127, so q is within -127..127. The
// engine does the same: in blocks of 256 for K-quants (Q8_K), of 32 for the others (Q8_0, where it rounds d to 16
// bits).
template <int BLOCK> struct quantized {
    int8_t  q[BLOCK];
    // If weights are stored with an offset, sums of products start at -offset times the sum of the activations, for
    // every group of weights: as one 32-bit number (VNNI), or as two 16-bit numbers, for the first and second pair of
    // every four activations (pairs). See common.h.
    int32_t begin[BLOCK / 16];
    int16_t sums[BLOCK / 32 + BLOCK / 32 % 2];  // sums of 32 activations, for minima: at most 32 x 127
    float   d;
};

// Quantises activations for a format: GROUP is the number of activations that share a sum, OFFSET the offset of its
// weights.
template <class V, int BLOCK, int GROUP, int OFFSET> inline void quantize(const float * x, quantized<BLOCK> & to) {
    typename V::floats m = V::all(0);
    for (int i = 0; i < BLOCK; i += V::LANES) { m = V::max(V::magnitude(V::loadf(x + i)), m); }
    const float largest = V::largest(m), inverse = 127.0f / largest;
    // All zeros, or so small that 127 times the inverse overflows: the products are below 1e-36.
    const bool nothing = !(largest > 0) || inverse > 3.4e38f;
    to.d = nothing ? 0.0f : largest / 127.0f;
    if (nothing && largest == largest) {
        memset(to.q, 0, sizeof(to.q));
    } else {
        for (int i = 0; i < BLOCK; i += 32) { V::round32(x + i, inverse, to.q + i); }
    }
    if (largest != largest) { to.d = largest; }     // NaN stays NaN

    for (int g = 0; g < BLOCK / 32; g++) {
        int s = 0;
        for (int i = 0; i < 32; i++) { s += to.q[32 * g + i]; }
        to.sums[g] = (int16_t) s;
    }
    if constexpr (OFFSET != 0) {
        for (int g = 0; g < BLOCK / GROUP; g++) {
            int first = 0, second = 0;
            for (int i = 0; i < GROUP; i += 4) {
                first  += to.q[GROUP * g + i] + to.q[GROUP * g + i + 1];
                second += to.q[GROUP * g + i + 2] + to.q[GROUP * g + i + 3];
            }
            if constexpr (V::PAIRS) {
                to.begin[g] = (int32_t) ((uint32_t) (uint16_t) (-OFFSET * first) | (uint32_t) (uint16_t) (-OFFSET * second) << 16);
            } else {
                to.begin[g] = -OFFSET * (first + second);
            }
        }
    }
}

}  // namespace
}  // namespace mullama
