// 8 lanes with AVX2, FMA and F16C. VNNI: whether AVX-VNNI is available, too.
#pragma once

#include "common.h"
#include "x86.h"

namespace mullama {
namespace {

template <bool PAIRS> struct avx2_sums {
    using type = __m256;
};
template <> struct avx2_sums<true> {
    using type = __m256i;
};

template <bool VNNI> struct avx2 {
    static constexpr int  LANES = 8;
    static constexpr bool PAIRS = !VNNI;

    using ints   = __m256i;
    using floats = __m256;
    using totals = typename avx2_sums<PAIRS>::type;    // sums times scales
    using scales = typename avx2_sums<PAIRS>::type;    // with PAIRS, each scale twice, in 16 bits

    // --- words ---------------------------------------------------------------------------------------------------

    static inline ints load(const void * p) { return _mm256_loadu_si256((const __m256i *) p); }
    static inline ints word(const void * p) { return _mm256_set1_epi32(read<int32_t>(p)); }
    static inline ints bytes(int x)         { return _mm256_set1_epi8((char) x); }
    static inline ints zero()               { return _mm256_setzero_si256(); }
    static inline ints table(const void * p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *) p)); }
    static inline ints look_up(ints table, ints index) { return _mm256_shuffle_epi8(table, index); }

    static inline ints bits(ints a, ints mask)   { return _mm256_and_si256(a, mask); }
    static inline ints either(ints a, ints b)    { return _mm256_or_si256(a, b); }
    static inline ints flip(ints a, ints b)      { return _mm256_xor_si256(a, b); }
    static inline ints add32(ints a, ints b)     { return _mm256_add_epi32(a, b); }
    // Shifts of 16-bit numbers: callers mask the bits that cross bytes.
    template <int N> static inline ints right(ints a) { return _mm256_srli_epi16(a, N); }
    template <int N> static inline ints left(ints a)  { return _mm256_slli_epi16(a, N); }
    template <int N> static inline ints right32(ints a) { return _mm256_srli_epi32(a, N); }

    // Bytes LOW and HIGH of each word, as two numbers of 16 bits.
    template <int LOW, int HIGH> static inline ints pair(ints a) {
        constexpr int p = (int) pair_pattern(LOW, HIGH);
        return _mm256_shuffle_epi8(a, _mm256_setr_epi32(p, p + 0x040004, p + 0x080008, p + 0x0c000c,
                                                        p, p + 0x040004, p + 0x080008, p + 0x0c000c));
    }
    // a0 b0 + a1 b1 + sum, with 16-bit a and b.
    static inline ints dot16(ints sum, ints a, ints b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }

    // --- products of bytes ---------------------------------------------------------------------------------------

    static inline ints dot(ints sum, ints weights, ints activations) {
        if constexpr (VNNI) {
            return dot_vnni(sum, weights, activations);
        } else {
            sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(weights, activations));
            KERNELS_IN_ORDER(sum);
            return sum;
        }
    }
    // The first product of a sum that starts at zero.
    static inline ints dot(ints weights, ints activations) {
        if constexpr (VNNI) {
            return dot_vnni(zero(), weights, activations);
        } else {
            return _mm256_maddubs_epi16(weights, activations);
        }
    }

    // Byte I of each word, unsigned or signed.
    template <int I> static inline scales scale_unsigned(ints a) {
        if constexpr (PAIRS) {
            return pair<I, I>(a);
        } else {
            return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(a, 8 * I), _mm256_set1_epi32(255)));
        }
    }
    template <int I> static inline scales scale_signed(ints a) {
        if constexpr (PAIRS) {
            return _mm256_srai_epi16(_mm256_slli_epi16(pair<I, I>(a), 8), 8);
        } else {
            return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(a, 24 - 8 * I), 24));
        }
    }
    static inline scales same_scale(int x) {
        if constexpr (PAIRS) {
            return _mm256_set1_epi16((short) x);
        } else {
            return _mm256_set1_ps((float) x);
        }
    }
    static inline totals scaled(ints sum, scales s) {
        if constexpr (PAIRS) {
            return _mm256_madd_epi16(sum, s);
        } else {
            return _mm256_mul_ps(_mm256_cvtepi32_ps(sum), s);
        }
    }
    static inline totals add_scaled(totals t, ints sum, scales s) {
        if constexpr (PAIRS) {
            return _mm256_add_epi32(t, _mm256_madd_epi16(sum, s));
        } else {
            return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), s, t);
        }
    }
    static inline floats value(totals t) {
        if constexpr (PAIRS) {
            return _mm256_cvtepi32_ps(t);
        } else {
            return t;
        }
    }

    // --- floats --------------------------------------------------------------------------------------------------

    static inline floats loadf(const float * p)           { return _mm256_loadu_ps(p); }
    static inline void   store(float * p, floats x)       { _mm256_storeu_ps(p, x); }
    static inline floats all(float x)                     { return _mm256_set1_ps(x); }
    static inline floats add(floats a, floats b)          { return _mm256_add_ps(a, b); }
    static inline floats sub(floats a, floats b)          { return _mm256_sub_ps(a, b); }
    static inline floats mul(floats a, floats b)          { return _mm256_mul_ps(a, b); }
    static inline floats div(floats a, floats b)          { return _mm256_div_ps(a, b); }
    static inline floats fma(floats a, floats b, floats c) { return _mm256_fmadd_ps(a, b, c); }
    static inline floats max(floats a, floats b)          { return _mm256_max_ps(a, b); }
    static inline floats magnitude(floats a)              { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
    static inline floats convert(ints a)                  { return _mm256_cvtepi32_ps(a); }
    static inline floats nearest(floats a)                { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    // 2 to the power of integers from -126 to 127.
    static inline floats power(floats a) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127)), 23));
    }
    // x where a >= b, and 0 elsewhere.
    static inline floats where_at_least(floats a, floats b, floats x) { return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ), x); }
    static inline floats halves(const void * p)  { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) p)); }
    static inline floats brains(const void * p)  {    // bfloat16
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *) p)), 16));
    }
    static inline floats signed_bytes(const void * p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *) p))); }
    // The lower and the upper 16 bits of each word, as halves.
    static inline floats lower_half(ints a) {
        const __m256i x = _mm256_and_si256(a, _mm256_set1_epi32(0xffff));
        return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi32(x, x), 0xd8)));
    }
    static inline floats upper_half(ints a) { return lower_half(_mm256_srli_epi32(a, 16)); }
    // Exponents of one byte, without mantissa: half of 2^(e - 127), since MXFP4 counts its weights in halves.
    static inline floats halved_exponents(const void * p) {
        const __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *) p));
        const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
        const __m256i denormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
        return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, denormal, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e)));
    }

    static inline float largest(floats a) {
        __m128 h = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
        h = _mm_max_ps(h, _mm_movehl_ps(h, h));
        return _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
    }
    static inline float sum(floats a) {
        __m128 h = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
        h = _mm_add_ps(h, _mm_movehl_ps(h, h));
        return _mm_cvtss_f32(_mm_add_ss(h, _mm_movehdup_ps(h)));
    }

    // to[j][i] = from[i][j] for 8 by 8 floats.
    static inline void transpose8(const float * from, size_t from_stride, float * to, size_t to_stride) {
        transpose8_avx(from, from_stride, to, to_stride);
    }

    // 32 numbers times s, rounded to the nearest integer, ties to even.
    static inline void round32(const float * x, float s, int8_t * to) {
        const __m256 f = _mm256_set1_ps(s);
        const auto at = [&](int i) { return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), f)); };
        const __m256i p = _mm256_packs_epi16(_mm256_packs_epi32(at(0), at(8)), _mm256_packs_epi32(at(16), at(24)));
        _mm256_storeu_si256((__m256i *) to, _mm256_permutevar8x32_epi32(p, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
    }

  private:
    static inline ints dot_vnni(ints sum, ints weights, ints activations) {
#if defined(__AVXVNNI__) || defined(MULLAMA_EMULATED)
        return _mm256_dpbusd_avx_epi32(sum, weights, activations);
#elif defined(__AVX512VNNI__) && defined(__AVX512VL__)
        return _mm256_dpbusd_epi32(sum, weights, activations);
#else
        (void) weights; (void) activations;
        return sum;     // never called: VNNI is only used where it is available
#endif
    }
};

}  // namespace
}  // namespace mullama
