// The interface of a CPU module with our kernels: what it reports, and how a program selects kernels.
//
// The kernels appear in the engine's list of extra buffer types under the name MULLAMA_KERNELS_NAME. The name is the
// first member of this table, so the buffer type leads to the table:
// (const mullama_kernels *) ggml_backend_buft_name(buft). No symbol of the module needs to be looked up, so this works
// the same on every system, and in an engine that is linked into the program.
//
// A selection belongs to the calling thread, and applies to its further operations:
//
//   loading a model   whether weights are stored in our buffers, or in the engine's as if ours did not exist. Products
//                     with weights in our buffers always use our kernels.
//   computing         whether attention over the KV cache, which is in the engine's buffers, uses our kernels. The
//                     thread that starts a computation decides for all that take part in it.
//
// Threads without a selection follow the environment variable MULLAMA_KERNELS: `own` or `engine`.
#pragma once

#include <stdint.h>

#define MULLAMA_KERNELS_NAME "CPU_MULLAMA"

#ifdef __cplusplus
extern "C" {
#endif

struct mullama_kernels {
    char         name[16];
    const char * instruction_set;       // "AVX2", "AVX-512 VNNI", ...
    int        (*chosen)(void);         // 1: our kernels, 0: the engine's
    void       (*choose)(int own);      // for this thread; a negative number restores the default
};

#ifdef __cplusplus
}
#endif
