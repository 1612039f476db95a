// Opens backend modules in a separate program, which is not linked against the engine.

#pragma once

#include <cstdio>
#include <cstdlib>

#ifdef _WIN32
#    define WIN32_LEAN_AND_MEAN
#    include <windows.h>
inline void * open_library(const char * path) {
    return reinterpret_cast<void *>(LoadLibraryA(path));
}
inline void * find_symbol(void * library, const char * name) {
    return reinterpret_cast<void *>(GetProcAddress(static_cast<HMODULE>(library), name));
}
inline const char * problem() { return "it cannot be loaded"; }
#else
#    include <dlfcn.h>
// A module's dependency on the engine's library is satisfied by the one that is already loaded.
inline void * open_library(const char * path) { return dlopen(path, RTLD_NOW | RTLD_GLOBAL); }
inline void * find_symbol(void * library, const char * name) { return dlsym(library, name); }
inline const char * problem() { return dlerror(); }
#endif

[[noreturn]] inline void fail(const char * what) {
    std::fprintf(stderr, "%s\n", what);
    std::_Exit(1);
}

// Returns the module's registration; null if it has nothing to register on this machine.
inline ggml_backend_reg_t open_module(const char * path) {
    void * module = open_library(path);
    if (!module) {
        fail(problem());
    }
    const auto init = reinterpret_cast<ggml_backend_init_t>(find_symbol(module, "ggml_backend_init"));
    if (!init) {
        fail("not a backend module: it has no ggml_backend_init");
    }
    return init();
}
