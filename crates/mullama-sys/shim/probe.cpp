// A program that tries a backend module: loads it, queries its devices and initialises each. A driver that crashes or
// hangs only affects this process.
//
//     mullama-probe ENGINE_LIBRARY MODULE
//
// Exits with 0 on success; otherwise prints the reason to standard error.

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
    // The engine reports these problems itself when it loads the module.
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
    // Exits without the modules' destructors, which the process that uses the modules only runs when it exits, if at
    // all.
    std::_Exit(0);
}
