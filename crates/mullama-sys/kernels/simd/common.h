// The common parts of all vector layers.
//
// A vector layer is a struct of static functions over vectors of LANES 32-bit words. Each lane belongs to one row of a
// panel (layout.h). The algorithms (tile.h, attention.h, activations.h) are written once over such a struct:
//
//   avx2.h     8 lanes: AVX2 with FMA and F16C, optionally AVX-VNNI
//   avx512.h  16 lanes: AVX-512 F, BW, DQ and VL, optionally AVX-512 VNNI
//   scalar.h   8 lanes in plain C++, the reference for tests
//
// Products of bytes are summed in one of two ways, according to the layer's PAIRS:
//
//   false  (VNNI) four products of unsigned weights and signed activations are added to a 32-bit sum. Nothing saturates.
//          Sums are multiplied by scales as floats.
//   true   (vpmaddubsw) two products are added to a 16-bit sum. The instruction saturates a pair of products, and
//          later additions wrap around: a sum is exact if every pair of products fits into 16 bits, and so does the
//          final sum. The weight formats (weights.h) state why both are true. Sums are multiplied by scales as 16-bit
//          integers (vpmaddwd), with exact 32-bit totals.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

// Not for layers in plain C++, which tests select, nor with sanitizers: these would take many minutes to compile.
#if defined(__GNUC__) && !defined(MULLAMA_LAYER) && !defined(__SANITIZE_ADDRESS__)
#define KERNELS_INLINE __attribute__((always_inline))
#else
#define KERNELS_INLINE
#endif

#if defined(__GNUC__)
// Preserves the order of sums: GCC rearranges them as trees, with every product on the stack.
#define KERNELS_IN_ORDER(x) asm("" : "+x"(x))
// Forces values to be loaded again through a pointer: GCC moves broadcasts out of loops, onto the stack.
#define KERNELS_LOAD_AGAIN(p) asm volatile("" : "+r"(p))
#else
#define KERNELS_IN_ORDER(x)
#define KERNELS_LOAD_AGAIN(p)
#endif

namespace mullama {
namespace {

// A compile-time number.
template <int N> using constant = std::integral_constant<int, N>;

template <class F, int... I> KERNELS_INLINE inline void repeat_over(F && f, std::integer_sequence<int, I...>) {
    (f(constant<I>()), ...);
}

// Calls f with constant<0>, constant<1>, ... constant<N - 1>: a loop that every compiler unrolls.
template <int N, class F> KERNELS_INLINE inline void repeat(F && f) {
    repeat_over(f, std::make_integer_sequence<int, N>());
}

template <class T> inline T read(const void * p) {
    T value;
    memcpy(&value, p, sizeof(T));
    return value;
}

// The 16-bit pattern for vpshufb that converts bytes `low` and `high` of each word to its two 16-bit numbers.
constexpr uint32_t pair_pattern(int low, int high) { return 0x80008000u | (uint32_t) high << 16 | (uint32_t) low; }

}  // namespace
}  // namespace mullama
