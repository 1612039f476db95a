// Emulates AVX-512 and AVX-VNNI in plain C++, following the descriptions of the instructions, so that the tests of
// avx512.h and of VNNI run on CPUs without them. Contains only what simd/ uses. Slow.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#pragma GCC diagnostic ignored "-Wpsabi"
#pragma GCC diagnostic ignored "-Wignored-attributes"

namespace emulated {

template <class T, class R> struct lanes {
    static constexpr int N = sizeof(R) / sizeof(T);
    T v[N];
    lanes() = default;
    lanes(R r) { memcpy(v, &r, sizeof(r)); }
    R join() const { R r; memcpy(&r, v, sizeof(r)); return r; }
};
template <class T, class R, class F> inline R each(F f) {
    lanes<T, R> r;
    for (int i = 0; i < r.N; i++) { r.v[i] = (T) f(i); }
    return r.join();
}
template <class T, class R, class F> inline R map(R a, F f) {
    const lanes<T, R> x(a);
    return each<T, R>([&](int i) { return f(x.v[i]); });
}
template <class T, class R, class F> inline R map(R a, R b, F f) {
    const lanes<T, R> x(a), y(b);
    return each<T, R>([&](int i) { return f(x.v[i], y.v[i]); });
}
template <class R> inline R load(const void * p) { R r; memcpy(&r, p, sizeof(r)); return r; }

// Adds 4 products of unsigned and signed bytes to 32-bit sums.
template <class R> inline R dpbusd(R sum, R a, R b) {
    const lanes<uint32_t, R> s(sum);
    const lanes<uint8_t, R> x(a);
    const lanes<int8_t, R> y(b);
    return each<uint32_t, R>([&](int i) {
        uint32_t t = s.v[i];
        for (int k = 4 * i; k < 4 * i + 4; k++) { t += (uint32_t) (x.v[k] * y.v[k]); }
        return t;
    });
}

using I = __m512i;
using F = __m512;

inline I shuffle8(I a, I b) {
    const lanes<uint8_t, I> x(a), y(b);
    return each<uint8_t, I>([&](int i) { return y.v[i] & 0x80 ? 0 : x.v[i / 16 * 16 + (y.v[i] & 15)]; });
}
inline I maddubs(I a, I b) {
    const lanes<uint8_t, I> x(a);
    const lanes<int8_t, I> y(b);
    return each<int16_t, I>([&](int i) { return std::clamp(x.v[2 * i] * y.v[2 * i] + x.v[2 * i + 1] * y.v[2 * i + 1], -32768, 32767); });
}
inline I madd(I a, I b) {
    const lanes<int16_t, I> x(a), y(b);
    return each<uint32_t, I>([&](int i) { return (uint32_t) (x.v[2 * i] * y.v[2 * i]) + (uint32_t) (x.v[2 * i + 1] * y.v[2 * i + 1]); });
}
template <class T> inline I widen(const void * p) {
    return each<int32_t, I>([&](int i) { T t; memcpy(&t, (const char *) p + sizeof(T) * i, sizeof(T)); return t; });
}
inline I to_int(F a) {
    const lanes<float, F> x(a);
    return each<int32_t, I>([&](int i) { return std::fabs(x.v[i]) < 2147483648.0f ? (int32_t) std::nearbyint(x.v[i]) : INT32_MIN; });
}
inline F to_float(I a) {
    const lanes<int32_t, I> x(a);
    return each<float, F>([&](int i) { return (float) x.v[i]; });
}
inline F from_halves(__m256i a) {
    const lanes<uint16_t, __m256i> x(a);
    return each<float, F>([&](int i) { return _cvtsh_ss(x.v[i]); });
}
inline __m256i narrow16(I a) {
    const lanes<uint32_t, I> x(a);
    return each<uint16_t, __m256i>([&](int i) { return x.v[i]; });
}
inline __m128i narrow8(I a) {
    const lanes<int32_t, I> x(a);
    return each<int8_t, __m128i>([&](int i) { return std::clamp(x.v[i], -128, 127); });
}
inline F fma(F a, F b, F c) {
    const lanes<float, F> x(a), y(b), z(c);
    return each<float, F>([&](int i) { return std::fma(x.v[i], y.v[i], z.v[i]); });
}
template <class T, class R> inline R choose(uint32_t mask, R a, R b) {     // b where the mask is set
    const lanes<T, R> x(a), y(b);
    return each<T, R>([&](int i) { return mask >> i & 1 ? y.v[i] : x.v[i]; });
}
template <class T, class R, class P> inline uint16_t mask(R a, R b, P p) {
    const lanes<T, R> x(a), y(b);
    uint16_t m = 0;
    for (int i = 0; i < 16; i++) { m |= (uint16_t) (p(x.v[i], y.v[i]) << i); }
    return m;
}
inline float reduce_max(F a) { const lanes<float, F> x(a); return *std::max_element(x.v, x.v + 16); }
inline float reduce_add(F a) { const lanes<float, F> x(a); float s = 0; for (float f : x.v) { s += f; } return s; }

inline I and_si512(I a, I b) { return map<uint32_t, I>(a, b, [](uint32_t x, uint32_t y) { return x & y; }); }
inline I or_si512(I a, I b) { return map<uint32_t, I>(a, b, [](uint32_t x, uint32_t y) { return x | y; }); }
inline I xor_si512(I a, I b) { return map<uint32_t, I>(a, b, [](uint32_t x, uint32_t y) { return x ^ y; }); }
inline I add_epi32(I a, I b) { return map<uint32_t, I>(a, b, [](uint32_t x, uint32_t y) { return x + y; }); }
inline I sub_epi32(I a, I b) { return map<uint32_t, I>(a, b, [](uint32_t x, uint32_t y) { return x - y; }); }
inline I add_epi16(I a, I b) { return map<uint16_t, I>(a, b, [](uint16_t x, uint16_t y) { return x + y; }); }
inline I sllv_epi32(I a, I b) { return map<uint32_t, I>(a, b, [](uint32_t x, uint32_t y) { return y < 32 ? x << y : 0; }); }
inline F add_ps(F a, F b) { return map<float, F>(a, b, [](float x, float y) { return x + y; }); }
inline F sub_ps(F a, F b) { return map<float, F>(a, b, [](float x, float y) { return x - y; }); }
inline F mul_ps(F a, F b) { return map<float, F>(a, b, [](float x, float y) { return x * y; }); }
inline F div_ps(F a, F b) { return map<float, F>(a, b, [](float x, float y) { return x / y; }); }
inline F max_ps(F a, F b) { return map<float, F>(a, b, [](float x, float y) { return x > y ? x : y; }); }
inline I srli_epi16(I a, int n) { return map<uint16_t, I>(a, [=](uint16_t x) { return x >> n; }); }
inline I slli_epi16(I a, int n) { return map<uint16_t, I>(a, [=](uint16_t x) { return x << n; }); }
inline I srai_epi16(I a, int n) { return map<int16_t, I>(a, [=](int16_t x) { return x >> n; }); }
inline I srli_epi32(I a, int n) { return map<uint32_t, I>(a, [=](uint32_t x) { return x >> n; }); }
inline I slli_epi32(I a, int n) { return map<uint32_t, I>(a, [=](uint32_t x) { return x << n; }); }
inline I srai_epi32(I a, int n) { return map<int32_t, I>(a, [=](int32_t x) { return x >> n; }); }
inline I set1_epi32(int32_t x) { return each<int32_t, I>([=](int) { return x; }); }
inline I set1_epi16(int16_t x) { return each<int16_t, I>([=](int) { return x; }); }
inline I set1_epi8(int8_t x) { return each<int8_t, I>([=](int) { return x; }); }
inline F set1_ps(float x) { return each<float, F>([=](int) { return x; }); }
inline I setzero_si512() { return set1_epi32(0); }
inline I broadcast_i32x4(__m128i a) {
    const lanes<int32_t, __m128i> x(a);
    return each<int32_t, I>([&](int i) { return x.v[i % 4]; });
}
inline I dpwssd_epi32(I sum, I a, I b) { return add_epi32(sum, madd(a, b)); }
inline I cvtepu16_epi32(__m256i a) { return widen<uint16_t>(&a); }
inline I cvtepi8_epi32(__m128i a)  { return widen<int8_t>(&a); }
inline I cvtepu8_epi32(__m128i a)  { return widen<uint8_t>(&a); }
inline F castsi512_ps(I a) { return load<F>(&a); }
inline I castps_si512(F a) { return load<I>(&a); }
inline I loadu_si512(const void * p) { return load<I>(p); }
inline F loadu_ps(const void * p)    { return load<F>(p); }
inline void storeu_ps(void * p, F a) { memcpy(p, &a, sizeof(a)); }
inline F roundscale_ps(F a, int) { return map<float, F>(a, [](float x) { return std::nearbyint(x); }); }
inline uint16_t cmp_ps_mask(F a, F b, int) { return mask<float, F>(a, b, [](float x, float y) { return x >= y; }); }
inline uint16_t cmplt_epi32_mask(I a, I b) { return mask<int32_t, I>(a, b, [](int32_t x, int32_t y) { return x < y; }); }
inline F maskz_mov_ps(uint16_t m, F a)        { return choose<float, F>(m, set1_ps(0), a); }
inline I mask_mov_epi32(I a, uint16_t m, I b) { return choose<int32_t, I>(m, a, b); }

}  // namespace emulated

#define _mm512_and_si512 emulated::and_si512
#define _mm512_or_si512 emulated::or_si512
#define _mm512_xor_si512 emulated::xor_si512
#define _mm512_add_epi32 emulated::add_epi32
#define _mm512_sub_epi32 emulated::sub_epi32
#define _mm512_add_epi16 emulated::add_epi16
#define _mm512_sllv_epi32 emulated::sllv_epi32
#define _mm512_add_ps emulated::add_ps
#define _mm512_sub_ps emulated::sub_ps
#define _mm512_mul_ps emulated::mul_ps
#define _mm512_div_ps emulated::div_ps
#define _mm512_max_ps emulated::max_ps
#define _mm512_srli_epi16 emulated::srli_epi16
#define _mm512_slli_epi16 emulated::slli_epi16
#define _mm512_srai_epi16 emulated::srai_epi16
#define _mm512_srli_epi32 emulated::srli_epi32
#define _mm512_slli_epi32 emulated::slli_epi32
#define _mm512_srai_epi32 emulated::srai_epi32
#define _mm512_set1_epi32 emulated::set1_epi32
#define _mm512_set1_epi16 emulated::set1_epi16
#define _mm512_set1_epi8 emulated::set1_epi8
#define _mm512_set1_ps emulated::set1_ps
#define _mm512_setzero_si512 emulated::setzero_si512
#define _mm512_broadcast_i32x4 emulated::broadcast_i32x4
#define _mm512_dpwssd_epi32 emulated::dpwssd_epi32
#define _mm512_cvtepu16_epi32 emulated::cvtepu16_epi32
#define _mm512_cvtepi8_epi32 emulated::cvtepi8_epi32
#define _mm512_cvtepu8_epi32 emulated::cvtepu8_epi32
#define _mm512_castsi512_ps emulated::castsi512_ps
#define _mm512_castps_si512 emulated::castps_si512
#define _mm512_loadu_si512 emulated::loadu_si512
#define _mm512_loadu_ps emulated::loadu_ps
#define _mm512_storeu_ps emulated::storeu_ps
#define _mm512_roundscale_ps emulated::roundscale_ps
#define _mm512_cmp_ps_mask emulated::cmp_ps_mask
#define _mm512_cmplt_epi32_mask emulated::cmplt_epi32_mask
#define _mm512_maskz_mov_ps emulated::maskz_mov_ps
#define _mm512_mask_mov_epi32 emulated::mask_mov_epi32
#define _mm512_shuffle_epi8 emulated::shuffle8
#define _mm512_madd_epi16 emulated::madd
#define _mm512_maddubs_epi16 emulated::maddubs
#define _mm512_dpbusd_epi32 emulated::dpbusd<__m512i>
#define _mm256_dpbusd_avx_epi32 emulated::dpbusd<__m256i>
#define _mm512_cvtepi32_ps emulated::to_float
#define _mm512_cvtps_epi32 emulated::to_int
#define _mm512_cvtph_ps emulated::from_halves
#define _mm512_cvtepi32_epi16 emulated::narrow16
#define _mm512_cvtsepi32_epi8 emulated::narrow8
#define _mm512_fmadd_ps emulated::fma
#define _mm512_reduce_max_ps emulated::reduce_max
#define _mm512_reduce_add_ps emulated::reduce_add
