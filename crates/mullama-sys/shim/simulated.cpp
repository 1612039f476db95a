// Simulated devices: in a dry run, the engine's loader treats them as GPUs and reports what it would allocate on them.
// They cannot compute.

#include "mullama_shim.h"

#include "ggml-backend-impl.h"
#include "ggml-backend.h"

#include <cstdint>
#include <memory>
#include <string>

struct mullama_simulated_device {
    std::string name;
    std::string description;
    std::string host_name;
    mullama_simulated_profile profile;
    size_t free;
    size_t total;
    ggml_backend_buffer_type buffer_type;
    ggml_backend_buffer_type host_buffer_type;
    ggml_backend_device device;
};

namespace {

mullama_simulated_device & of(ggml_backend_dev_t device) {
    return *static_cast<mullama_simulated_device *>(device->context);
}

mullama_simulated_device & of(ggml_backend_buffer_type_t type) {
    return *static_cast<mullama_simulated_device *>(type->context);
}

// --- registration, which names the backend -------------------------------------------------------------

const char * reg_name(ggml_backend_reg_t) { return "simulated"; }
size_t       reg_device_count(ggml_backend_reg_t) { return 0; }
ggml_backend_dev_t reg_device(ggml_backend_reg_t, size_t) { return nullptr; }
void *       reg_proc_address(ggml_backend_reg_t, const char *) { return nullptr; }

ggml_backend_reg registration = {
    GGML_BACKEND_API_VERSION,
    { reg_name, reg_device_count, reg_device, reg_proc_address },
    nullptr,
};

// --- buffers without memory ----------------------------------------------------------------------------

void   buffer_free(ggml_backend_buffer_t) {}
// The address is never read, but the engine asserts that it is not null and is aligned for any backend.
void * buffer_base(ggml_backend_buffer_t) { return reinterpret_cast<void *>(uintptr_t{1} << 20); }
void   buffer_clear(ggml_backend_buffer_t, uint8_t) {}

const char * type_name(ggml_backend_buffer_type_t type) { return of(type).name.c_str(); }
const char * host_type_name(ggml_backend_buffer_type_t type) { return of(type).host_name.c_str(); }
size_t       type_alignment(ggml_backend_buffer_type_t type) { return of(type).profile.alignment; }
bool         host_type_is_host(ggml_backend_buffer_type_t) { return true; }

ggml_backend_buffer_t type_alloc(ggml_backend_buffer_type_t type, size_t size) {
    ggml_backend_buffer_i iface = {};
    iface.free_buffer = buffer_free;
    iface.get_base = buffer_base;
    iface.clear = buffer_clear;
    return ggml_backend_buffer_init(type, iface, nullptr, size);
}

size_t type_alloc_size(ggml_backend_buffer_type_t type, const ggml_tensor * tensor) {
    size_t size = ggml_nbytes(tensor);
    const int64_t padding = of(type).profile.row_padding;
    if (padding > 0 && ggml_is_quantized(tensor->type) && tensor->ne[0] % padding != 0) {
        size += ggml_row_size(tensor->type, padding - tensor->ne[0] % padding);
    }
    return size;
}

// --- streams, which do not compute ---------------------------------------------------------------------

const char * backend_name(ggml_backend_t backend) { return of(backend->device).name.c_str(); }
void         backend_free(ggml_backend_t backend) { delete backend; }
void         backend_synchronize(ggml_backend_t) {}
void         backend_event(ggml_backend_t, ggml_backend_event_t) {}

ggml_status backend_compute(ggml_backend_t, ggml_cgraph *) {
    GGML_ABORT("a simulated device cannot compute");
}

ggml_guid guid = { 0x6d, 0x75, 0x6c, 0x6c, 0x61, 0x6d, 0x61, 0x2d, 0x73, 0x69, 0x6d, 0x75, 0x6c, 0x61, 0x74, 0x65 };

// --- the device ----------------------------------------------------------------------------------------

const char * device_name(ggml_backend_dev_t device) { return of(device).name.c_str(); }
const char * device_description(ggml_backend_dev_t device) { return of(device).description.c_str(); }

void device_memory(ggml_backend_dev_t device, size_t * free, size_t * total) {
    *free = of(device).free;
    *total = of(device).total;
}

enum ggml_backend_dev_type device_type(ggml_backend_dev_t) { return GGML_BACKEND_DEVICE_TYPE_GPU; }

void device_props(ggml_backend_dev_t device, ggml_backend_dev_props * props) {
    const auto & profile = of(device).profile;
    *props = {};
    props->name = device_name(device);
    props->description = device_description(device);
    props->type = device_type(device);
    device_memory(device, &props->memory_free, &props->memory_total);
    props->caps.async = profile.async;
    props->caps.host_buffer = profile.host_buffer;
    props->caps.buffer_from_host_ptr = profile.buffer_from_host_ptr;
    props->caps.events = profile.events;
}

ggml_backend_t device_init(ggml_backend_dev_t device, const char *) {
    auto backend = std::make_unique<ggml_backend>();
    backend->guid = &guid;
    backend->iface = {};
    backend->iface.get_name = backend_name;
    backend->iface.free = backend_free;
    backend->iface.synchronize = backend_synchronize;
    backend->iface.graph_compute = backend_compute;
    backend->iface.event_record = backend_event;
    backend->iface.event_wait = backend_event;
    backend->device = device;
    return backend.release();
}

ggml_backend_buffer_type_t device_buffer_type(ggml_backend_dev_t device) {
    return &of(device).buffer_type;
}

ggml_backend_buffer_type_t device_host_buffer_type(ggml_backend_dev_t device) {
    return &of(device).host_buffer_type;
}

bool device_supports_op(ggml_backend_dev_t, const ggml_tensor *) { return true; }

bool device_supports_buft(ggml_backend_dev_t device, ggml_backend_buffer_type_t type) {
    return type->device == device;
}

// Like the backends: offload operations with at least this many rows (`GGML_OP_OFFLOAD_MIN_BATCH`).
bool device_offload_op(ggml_backend_dev_t, const ggml_tensor * op) {
    const int64_t rows = op->op == GGML_OP_GET_ROWS ? 0 : op->op == GGML_OP_MUL_MAT_ID ? op->ne[2] : op->ne[1];
    return rows >= 32;
}

ggml_backend_event_t device_event_new(ggml_backend_dev_t device) {
    return new ggml_backend_event{ device, nullptr };
}

void device_event_free(ggml_backend_dev_t, ggml_backend_event_t event) { delete event; }
void device_event_synchronize(ggml_backend_dev_t, ggml_backend_event_t) {}

}  // namespace

extern "C" mullama_simulated_device * mullama_simulated_device_new(
    const char * name, const char * description, size_t free, size_t total,
    const mullama_simulated_profile * profile) {
    auto made = std::make_unique<mullama_simulated_device>();
    made->name = name;
    made->description = description;
    made->host_name = made->name + "_Host";
    made->profile = *profile;
    made->free = free;
    made->total = total;

    made->buffer_type = {};
    made->buffer_type.iface.get_name = type_name;
    made->buffer_type.iface.alloc_buffer = type_alloc;
    made->buffer_type.iface.get_alignment = type_alignment;
    made->buffer_type.iface.get_alloc_size = type_alloc_size;
    made->buffer_type.device = &made->device;
    made->buffer_type.context = made.get();

    made->host_buffer_type = made->buffer_type;
    made->host_buffer_type.iface.get_name = host_type_name;
    made->host_buffer_type.iface.is_host = host_type_is_host;
    made->host_buffer_type.iface.get_alloc_size = nullptr;

    auto & device = made->device;
    device = {};
    device.iface.get_name = device_name;
    device.iface.get_description = device_description;
    device.iface.get_memory = device_memory;
    device.iface.get_type = device_type;
    device.iface.get_props = device_props;
    device.iface.init_backend = device_init;
    device.iface.get_buffer_type = device_buffer_type;
    device.iface.supports_op = device_supports_op;
    device.iface.supports_buft = device_supports_buft;
    if (profile->host_buffer) {
        device.iface.get_host_buffer_type = device_host_buffer_type;
        device.iface.offload_op = device_offload_op;
    }
    if (profile->events) {
        device.iface.event_new = device_event_new;
        device.iface.event_free = device_event_free;
        device.iface.event_synchronize = device_event_synchronize;
    }
    device.reg = &registration;
    device.context = made.get();
    return made.release();
}

extern "C" ggml_backend_device * mullama_simulated_device_handle(mullama_simulated_device * device) {
    return &device->device;
}

extern "C" void mullama_simulated_device_free(mullama_simulated_device * device) { delete device; }
