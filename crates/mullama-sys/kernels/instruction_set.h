// Which vector layer a CPU module has: that of the instructions it is compiled for. Whether a processor has these is for
// the engine to say, which loads the best of its modules that can run.
//
// The tests name another: MULLAMA_LAYER is the struct, MULLAMA_LAYER_HEADER its header. MULLAMA_EMULATED puts an emulation
// of what the processor may lack before it.
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

// Microsoft's compiler has no macros of FMA and F16C; it takes them as given with AVX2.
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
#define MULLAMA_NO_VECTOR_LAYER     // NEON is to come
#endif
