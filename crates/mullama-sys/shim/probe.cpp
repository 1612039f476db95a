// A program that tries a backend module: loads it, asks for its devices and starts each. A driver that
// crashes or hangs takes this process down, and not the one that wants to use it.
//
//     mullama-probe ENGINE_LIBRARY MODULE
//
// Ends with 0 where all went well; else says why not on standard error.

#include "ggml-backend-impl.h"

#include <cstdio>
#include <cstdlib>

#ifdef _WIN32
#    define WIN32_LEAN_AND_MEAN
#    include <windows.h>
static void * open_library(const char * path) { return reinterpret_cast<void *>(LoadLibraryA(path)); }
static void * find_symbol(void * library, const char * name) {
    return reinterpret_cast<void *>(GetProcAddress(static_cast<HMODULE>(library), name));
}
static const char * problem() { return "it cannot be loaded"; }
#else
#    include <dlfcn.h>
// The module's own need for the engine's library is met by the one that is loaded already.
static void * open_library(const char * path) { return dlopen(path, RTLD_NOW | RTLD_GLOBAL); }
static void * find_symbol(void * library, const char * name) { return dlsym(library, name); }
static const char * problem() { return dlerror(); }
#endif

[[noreturn]] static void fail(const char * what) {
    std::fprintf(stderr, "%s\n", what);
    std::_Exit(1);
}

int main(int count, char ** arguments) {
    if (count != 3) {
        fail("usage: mullama-probe ENGINE_LIBRARY MODULE");
    }
    if (!open_library(arguments[1])) {
        fail(problem());
    }
    void * module = open_library(arguments[2]);
    if (!module) {
        fail(problem());
    }
    const auto init = reinterpret_cast<ggml_backend_init_t>(find_symbol(module, "ggml_backend_init"));
    if (!init) {
        fail("not a backend module: it has no ggml_backend_init");
    }
    const ggml_backend_reg_t registration = init();
    // What is to be said of these, the engine says itself when it loads the module.
    if (!registration || registration->api_version != GGML_BACKEND_API_VERSION) {
        std::_Exit(0);
    }
    const size_t devices = registration->iface.get_device_count(registration);
    for (size_t index = 0; index < devices; index++) {
        const ggml_backend_dev_t device = registration->iface.get_device(registration, index);
        size_t free = 0;
        size_t total = 0;
        device->iface.get_memory(device, &free, &total);
        const ggml_backend_t backend = device->iface.init_backend(device, nullptr);
        if (backend) {
            backend->iface.free(backend);
        }
    }
    // Without the modules' destructors, which run when the process that uses them ends, if ever.
    std::_Exit(0);
}
