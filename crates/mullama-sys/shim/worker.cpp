// A program that serves devices to a single program on this machine, with the engine's own server. Malicious requests
// can only crash this process.
//
//     mullama-worker ADDRESS THREADS DEVICE,DEVICE ENGINE_LIBRARY MODULE...
//
// Exits when its standard input is closed, which the parent process leaves open. Otherwise, prints the reason for its
// exit to standard error.

#include "ggml-backend-impl.h"

#include <algorithm>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "module.h"

#ifndef _WIN32
#    include <sys/resource.h>
#endif

typedef void start_server_t(const char *, const char *, size_t, size_t, ggml_backend_dev_t *);

// Finds the devices with these comma-separated names, in their order.
static std::vector<ggml_backend_dev_t> find(
    const std::vector<ggml_backend_reg_t> & registrations, const std::string & names) {
    std::vector<ggml_backend_dev_t> found;
    for (size_t start = 0; start <= names.size();) {
        const size_t end = std::min(names.find(',', start), names.size());
        const std::string name = names.substr(start, end - start);
        start = end + 1;
        const size_t before = found.size();
        for (const auto registration : registrations) {
            const size_t count = registration->iface.get_device_count(registration);
            for (size_t index = 0; index < count && found.size() == before; index++) {
                const auto device = registration->iface.get_device(registration, index);
                if (name == device->iface.get_name(device)) {
                    found.push_back(device);
                }
            }
        }
        if (found.size() == before) {
            fail(("there is no device " + name).c_str());
        }
    }
    return found;
}

int main(int count, char ** arguments) {
    if (count < 6) {
        fail("usage: mullama-worker ADDRESS THREADS DEVICE,DEVICE ENGINE_LIBRARY MODULE...");
    }
#ifndef _WIN32
    // Crashes are expected, so do not write core dumps.
    const rlimit no_core = { 0, 0 };
    setrlimit(RLIMIT_CORE, &no_core);
#endif
    // Exits without running the modules' destructors, since the modules are in use.
    try {
        std::thread([] {
            while (std::fgetc(stdin) != EOF) {
            }
            std::_Exit(0);
        }).detach();
    } catch (const std::system_error & error) {
        fail((std::string("cannot start a thread (the limit is `ulimit -u`): ") + error.what()).c_str());
    }
    if (!open_library(arguments[4])) {
        fail(problem());
    }
    std::vector<ggml_backend_reg_t> registrations;
    start_server_t * start = nullptr;
    for (int index = 5; index < count; index++) {
        const ggml_backend_reg_t registration = open_module(arguments[index]);
        if (!registration || registration->api_version != GGML_BACKEND_API_VERSION) {
            continue;
        }
        if (registration->iface.get_proc_address && !start) {
            start = reinterpret_cast<start_server_t *>(registration->iface.get_proc_address(
                registration, "ggml_backend_rpc_start_server"));
            if (start) {
                continue;  // it has no devices of its own
            }
        }
        registrations.push_back(registration);
    }
    if (!start) {
        fail("no module serves devices");
    }
    auto devices = find(registrations, arguments[3]);
    const auto threads = static_cast<size_t>(std::strtoul(arguments[2], nullptr, 10));
    start(arguments[1], nullptr, threads, devices.size(), devices.data());
    fail("the engine ended its server");
}
