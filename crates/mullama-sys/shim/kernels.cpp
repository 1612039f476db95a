// Finds our kernels in the loaded CPU module (kernels/kernels.h).
#include "../kernels/kernels.h"

#include "ggml-backend.h"

#include <cstring>

// Returns null if the module has none.
extern "C" const struct mullama_kernels * mullama_kernels_find(void) {
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    ggml_backend_reg_t module = device ? ggml_backend_dev_backend_reg(device) : nullptr;
    const auto list = module ? (ggml_backend_dev_get_extra_bufts_t)
                                   ggml_backend_reg_get_proc_address(module, "ggml_backend_dev_get_extra_bufts")
                             : nullptr;
    for (ggml_backend_buffer_type_t * type = list ? list(device) : nullptr; type && *type; type++) {
        const char * name = ggml_backend_buft_name(*type);
        if (!strcmp(name, MULLAMA_KERNELS_NAME)) { return (const struct mullama_kernels *) name; }
    }
    return nullptr;
}
