// What a CPU module with our kernels says of them, and how a program chooses.
//
// The kernels stand in the engine's list of extra buffer types as one named MULLAMA_KERNELS_NAME. That name is the first
// member of this table, so whoever has the buffer type has the table: (const mullama_kernels *) ggml_backend_buft_name(buft).
// No symbol of the module has to be looked up, which works the same on every system, and in an engine that is linked in.
//
// A choice belongs to the calling thread, and holds for what it then asks of the engine:
//
//   loading a model   whether weights go into our buffers, or to the engine's as if there were none. Computing with
//                     weights in our buffers is ours in any case.
//   computing         whether attention over the KV cache, which lies in buffers of the engine's, is ours. The thread
//                     that starts a computation decides for all that take part in it.
//
// Threads that chose nothing have what the environment variable MULLAMA_KERNELS says: `own`, or `engine`.
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
    void       (*choose)(int own);      // for this thread; a negative number takes a choice back
};

#ifdef __cplusplus
}
#endif
