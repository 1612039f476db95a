// The common parts of the x86-64 layers: AVX.
#pragma once

#include <immintrin.h>

namespace mullama {
namespace {

// to[j][i] = from[i][j] for 8 by 8 floats.
inline void transpose8_avx(const float * from, size_t from_stride, float * to, size_t to_stride) {
    __m256 x[8], y[8];
    // Rows i and i + 4 side by side, so that the following steps stay within 128-bit halves.
    for (int i = 0; i < 4; i++) {
        const float * a = from + i * from_stride, * b = from + (i + 4) * from_stride;
        x[i]     = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(a)), _mm_loadu_ps(b), 1);
        x[i + 4] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(a + 4)), _mm_loadu_ps(b + 4), 1);
    }
    for (int h = 0; h < 8; h += 4) {        // columns 0..3, then 4..7
        for (int i = 0; i < 2; i++) {
            y[h + i]     = _mm256_unpacklo_ps(x[h + 2 * i], x[h + 2 * i + 1]);
            y[h + i + 2] = _mm256_unpackhi_ps(x[h + 2 * i], x[h + 2 * i + 1]);
        }
        for (int i = 0; i < 2; i++) {
            const __m256 low = y[h + 2 * i], high = y[h + 2 * i + 1];
            _mm256_storeu_ps(to + (h + 2 * i) * to_stride,     _mm256_shuffle_ps(low, high, 0x44));
            _mm256_storeu_ps(to + (h + 2 * i + 1) * to_stride, _mm256_shuffle_ps(low, high, 0xee));
        }
    }
}

}  // namespace
}  // namespace mullama
