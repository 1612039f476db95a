// Selects the vector layer of a CPU module by the instruction set that it is compiled for. The engine determines
// whether a CPU supports it: it loads the best of the modules that can run.
//
// Tests can select another layer: MULLAMA_LAYER is its struct, MULLAMA_LAYER_HEADER its header. With MULLAMA_EMULATED,
// an emulation of instructions that the CPU may lack is included first.
#pragma once

#if defined(MULLAMA_LAYER)
#if defined(MULLAMA_EMULATED)
#include "../tests/kernels/emulated.h"
#endif
#include MULLAMA_LAYER_HEADER
namespace mullama {
namespace {
using vector_layer = MULLAMA_LAYER;
#define MULLAMA_TEXT(...) MULLAMA_QUOTED(__VA_ARGS__)
#define MULLAMA_QUOTED(...) #__VA_ARGS__
constexpr const char * INSTRUCTION_SET = MULLAMA_TEXT(MULLAMA_LAYER);
}  // namespace
}  // namespace mullama

#elif defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include "simd/avx512.h"
namespace mullama {
namespace {
#if defined(__AVX512VNNI__)
using vector_layer = avx512<true>;
constexpr const char * INSTRUCTION_SET = "AVX-512 VNNI";
#else
using vector_layer = avx512<false>;
constexpr const char * INSTRUCTION_SET = "AVX-512";
#endif
}  // namespace
}  // namespace mullama

// Microsoft's compiler does not define macros for FMA and F16C, but assumes both with AVX2.
#elif defined(__AVX2__) && (defined(_MSC_VER) || (defined(__FMA__) && defined(__F16C__)))
#include "simd/avx2.h"
namespace mullama {
namespace {
#if defined(__AVXVNNI__)
using vector_layer = avx2<true>;
constexpr const char * INSTRUCTION_SET = "AVX-VNNI";
#else
using vector_layer = avx2<false>;
constexpr const char * INSTRUCTION_SET = "AVX2";
#endif
}  // namespace
}  // namespace mullama

#else
#define MULLAMA_NO_VECTOR_LAYER     // NEON is not supported yet
#endif
