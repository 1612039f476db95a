// 16 lanes with AVX-512 F, BW, DQ and VL. VNNI: whether AVX-512 VNNI is available, too.
#pragma once

#include "common.h"
#include "x86.h"

#if defined(__GNUC__) && !defined(__clang__)
// GCC's own header intentionally begins with undefined values (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace mullama {
namespace {

template <bool PAIRS> struct avx512_sums {
    using type = __m512;
};
template <> struct avx512_sums<true> {
    using type = __m512i;
};

template <bool VNNI> struct avx512 {
    static constexpr int  LANES = 16;
    static constexpr bool PAIRS = !VNNI;

    using ints   = __m512i;
    using floats = __m512;
    using totals = typename avx512_sums<PAIRS>::type;    // sums times scales
    using scales = typename avx512_sums<PAIRS>::type;    // with PAIRS, each scale twice, in 16 bits

    // --- words ---------------------------------------------------------------------------------------------------

    static inline ints load(const void * p) { return _mm512_loadu_si512(p); }
    static inline ints word(const void * p) { return _mm512_set1_epi32(read<int32_t>(p)); }
    static inline ints bytes(int x)         { return _mm512_set1_epi8((char) x); }
    static inline ints zero()               { return _mm512_setzero_si512(); }
    static inline ints table(const void * p) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *) p)); }
    static inline ints look_up(ints table, ints index) { return _mm512_shuffle_epi8(table, index); }

    static inline ints bits(ints a, ints mask)   { return _mm512_and_si512(a, mask); }
    static inline ints either(ints a, ints b)    { return _mm512_or_si512(a, b); }
    static inline ints flip(ints a, ints b)      { return _mm512_xor_si512(a, b); }
    static inline ints add32(ints a, ints b)     { return _mm512_add_epi32(a, b); }
    template <int N> static inline ints right(ints a)   { return _mm512_srli_epi16(a, N); }
    template <int N> static inline ints left(ints a)    { return _mm512_slli_epi16(a, N); }
    template <int N> static inline ints right32(ints a) { return _mm512_srli_epi32(a, N); }

    template <int LOW, int HIGH> static inline ints pair(ints a) {
        constexpr int p = (int) pair_pattern(LOW, HIGH);
        return _mm512_shuffle_epi8(a, _mm512_broadcast_i32x4(_mm_setr_epi32(p, p + 0x040004, p + 0x080008, p + 0x0c000c)));
    }
    static inline ints dot16(ints sum, ints a, ints b) {
        if constexpr (VNNI) {
            return dot16_vnni(sum, a, b);
        } else {
            return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
        }
    }

    // --- products of bytes ---------------------------------------------------------------------------------------

    static inline ints dot(ints sum, ints weights, ints activations) {
        if constexpr (VNNI) {
            return dot_vnni(sum, weights, activations);
        } else {
            return _mm512_add_epi16(sum, _mm512_maddubs_epi16(weights, activations));
        }
    }
    static inline ints dot(ints weights, ints activations) {
        if constexpr (VNNI) {
            return dot_vnni(zero(), weights, activations);
        } else {
            return _mm512_maddubs_epi16(weights, activations);
        }
    }

    template <int I> static inline scales scale_unsigned(ints a) {
        if constexpr (PAIRS) {
            return pair<I, I>(a);
        } else {
            return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(a, 8 * I), _mm512_set1_epi32(255)));
        }
    }
    template <int I> static inline scales scale_signed(ints a) {
        if constexpr (PAIRS) {
            return _mm512_srai_epi16(_mm512_slli_epi16(pair<I, I>(a), 8), 8);
        } else {
            return _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(a, 24 - 8 * I), 24));
        }
    }
    static inline scales same_scale(int x) {
        if constexpr (PAIRS) {
            return _mm512_set1_epi16((short) x);
        } else {
            return _mm512_set1_ps((float) x);
        }
    }
    static inline totals scaled(ints sum, scales s) {
        if constexpr (PAIRS) {
            return _mm512_madd_epi16(sum, s);
        } else {
            return _mm512_mul_ps(_mm512_cvtepi32_ps(sum), s);
        }
    }
    static inline totals add_scaled(totals t, ints sum, scales s) {
        if constexpr (PAIRS) {
            return _mm512_add_epi32(t, _mm512_madd_epi16(sum, s));
        } else {
            return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), s, t);
        }
    }
    static inline floats value(totals t) {
        if constexpr (PAIRS) {
            return _mm512_cvtepi32_ps(t);
        } else {
            return t;
        }
    }

    // --- floats --------------------------------------------------------------------------------------------------

    static inline floats loadf(const float * p)           { return _mm512_loadu_ps(p); }
    static inline void   store(float * p, floats x)       { _mm512_storeu_ps(p, x); }
    static inline floats all(float x)                     { return _mm512_set1_ps(x); }
    static inline floats add(floats a, floats b)          { return _mm512_add_ps(a, b); }
    static inline floats sub(floats a, floats b)          { return _mm512_sub_ps(a, b); }
    static inline floats mul(floats a, floats b)          { return _mm512_mul_ps(a, b); }
    static inline floats div(floats a, floats b)          { return _mm512_div_ps(a, b); }
    static inline floats fma(floats a, floats b, floats c) { return _mm512_fmadd_ps(a, b, c); }
    static inline floats max(floats a, floats b)          { return _mm512_max_ps(a, b); }
    static inline floats magnitude(floats a)              { return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fffffff))); }
    static inline floats convert(ints a)                  { return _mm512_cvtepi32_ps(a); }
    static inline floats nearest(floats a)                { return _mm512_roundscale_ps(a, 0); }
    static inline floats power(floats a) {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127)), 23));
    }
    static inline floats where_at_least(floats a, floats b, floats x) {
        return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_GE_OQ), x);
    }
    static inline floats halves(const void * p)  { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p)); }
    static inline floats brains(const void * p)  {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *) p)), 16));
    }
    static inline floats signed_bytes(const void * p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *) p))); }
    static inline floats lower_half(ints a) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)); }
    static inline floats upper_half(ints a) { return lower_half(_mm512_srli_epi32(a, 16)); }
    static inline floats halved_exponents(const void * p) {
        const __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *) p));
        const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
        const __m512i denormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
        return _mm512_castsi512_ps(_mm512_mask_mov_epi32(normal, _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2)), denormal));
    }

    static inline float largest(floats a) { return _mm512_reduce_max_ps(a); }
    static inline float sum(floats a)     { return _mm512_reduce_add_ps(a); }

    static inline void transpose8(const float * from, size_t from_stride, float * to, size_t to_stride) {
        transpose8_avx(from, from_stride, to, to_stride);
    }

    static inline void round32(const float * x, float s, int8_t * to) {
        for (int i = 0; i < 32; i += 16) {
            const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(s)));
            _mm_storeu_si128((__m128i *) (to + i), _mm512_cvtsepi32_epi8(q));
        }
    }

  private:
    static inline ints dot_vnni(ints sum, ints weights, ints activations) {
#if defined(__AVX512VNNI__) || defined(MULLAMA_EMULATED)
        return _mm512_dpbusd_epi32(sum, weights, activations);
#else
        (void) weights; (void) activations;
        return sum;     // never called: VNNI is only used where it is available
#endif
    }
    static inline ints dot16_vnni(ints sum, ints a, ints b) {
#if defined(__AVX512VNNI__) || defined(MULLAMA_EMULATED)
        return _mm512_dpwssd_epi32(sum, a, b);
#else
        (void) a; (void) b;
        return sum;
#endif
    }
};

}  // namespace
}  // namespace mullama
