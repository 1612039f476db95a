// A program that tries a backend module: loads it, asks for its devices and starts each. A driver that
// crashes or hangs takes this process down, and not the one that wants to use it.
//
//     mullama-probe ENGINE_LIBRARY MODULE
//
// Ends with 0 where all went well; else says why not on standard error.

#include "ggml-backend-impl.h"

#include "module.h"

int main(int count, char ** arguments) {
    if (count != 3) {
        fail("usage: mullama-probe ENGINE_LIBRARY MODULE");
    }
    if (!open_library(arguments[1])) {
        fail(problem());
    }
    const ggml_backend_reg_t registration = open_module(arguments[2]);
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
