// Included first if the compiler's `_tile_loadconfig` is broken; see build/cpu_modules.rs.
#pragma once

#include <immintrin.h>

struct mullama_tile_config {
    unsigned char bytes[64];
};

// The instruction reads all 64 bytes.
#define _tile_loadconfig(config) \
    __asm__ volatile("ldtilecfg\t%0" ::"m"(*reinterpret_cast<const mullama_tile_config *>(config)))
