// Adds our matrix products and attention to ggml's CPU backend, without changes to its sources.
//
// If GGML_USE_CPU_KLEIDIAI is defined, ggml-cpu.cpp adds KleidiAI's buffer type to its list of extra buffer types;
// KleidiAI itself is for Arm. Its header only declares the function, which this file defines: kernels.cmake adds this
// file to the CPU modules, and the macro to ggml-cpu.cpp. In the list, our type is before CPU_REPACK (and after AMX),
// so operations that we reject are handled as they would be without us.
//
// For each tensor, the loader asks whether a buffer type supports the operation that uses the tensor. Our type reports
// the size of the packed tensors (layout.h), and packs them when they are set. From then on, the engine passes every
// operation on such a tensor to us (products.h). It also offers us all other operations, of which we accept attention
// (attention.h).
//
// Everything is in anonymous namespaces: while the best CPU module is determined, several may be loaded in one process,
// and they must not share code that is compiled for different instruction sets.
#include "kernels.h"

#include "instruction_set.h"

#include "ggml-backend-impl.h"
#include "ggml-cpu.h"
#include "kleidiai/kleidiai.h"

#ifdef MULLAMA_NO_VECTOR_LAYER

ggml_backend_buffer_type_t ggml_backend_cpu_kleidiai_buffer_type(void) { return nullptr; }

#else

#include "attention.h"
#include "memory.h"
#include "products.h"

#include <cstdlib>
#include <cstring>
#include <vector>

namespace mullama {
namespace {

// --- selection of the kernels (kernels.h) -----------------------------------------------------------------------------

thread_local int choice_of_thread = -1;

bool wanted() {
    static const bool usual = [] {
        const char * s = getenv("MULLAMA_KERNELS");
        return !s || strcmp(s, "engine") != 0;
    }();
    return choice_of_thread < 0 ? usual : choice_of_thread != 0;
}

mullama_kernels table = {
    MULLAMA_KERNELS_NAME,
    INSTRUCTION_SET,
    [] { return (int) wanted(); },
    [](int own) { choice_of_thread = own < 0 ? -1 : own != 0; },
};

// --- the buffer type ----------------------------------------------------------------------------------------------------

// Objects are never destroyed, since threads may compute until the process exits.
products * products_for(const ggml_tensor * t) {
    static const auto & all = *[] {
        auto * list = new std::vector<products *>;
        for (const kernel & k : kernels<vector_layer>()) { list->push_back(new products(k)); }
        return list;
    }();
    // A view of a packed tensor is not packed itself, and rows and experts are counted in 32 bits.
    if (t->view_src || t->ne[3] != 1 || t->ne[1] > INT32_MAX || t->ne[2] > INT32_MAX) { return nullptr; }
    const auto found = std::find_if(all.begin(), all.end(), [=](const products * p) { return p->k.type == t->type; });
    return found == all.end() ? nullptr : *found;
}

const char * name(ggml_backend_buffer_type_t) { return table.name; }

size_t alignment(ggml_backend_buffer_type_t) { return LINE; }

size_t size_of(ggml_backend_buffer_type_t, const ggml_tensor * t) {
    const products * p = products_for(t);
    return p ? p->size(t) : ggml_nbytes(t);
}

ggml_status init_tensor(ggml_backend_buffer_t, ggml_tensor * t) {
    t->extra = products_for(t);
    return GGML_STATUS_SUCCESS;
}

void set_tensor(ggml_backend_buffer_t, ggml_tensor * t, const void * data, size_t offset, size_t size) {
    GGML_ASSERT(t->extra && offset == 0 && size == ggml_nbytes(t) && "packed tensors are set as a whole");
    constexpr int64_t PART = 256 << 10;     // bytes that a thread packs at a time
    const products * p = (const products *) t->extra;
    const int64_t panels = layout::panels(t->ne[1]) * t->ne[2], part = PART / (int64_t) p->k.lay.panel_size(t->ne[0]);
    on_all_processors(panels, std::max<int64_t>(1, part), [=](int64_t first, int64_t last) { p->pack(t, (const uint8_t *) data, first, last); });
    release_file_pages(data, size);
}

ggml_backend_buffer_t alloc_buffer(ggml_backend_buffer_type_t type, size_t size) {
    ggml_backend_buffer_t b = ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), size);
    if (b) {        // otherwise the engine reports the failed allocation
        b->buft = type;
        b->iface.init_tensor   = init_tensor;
        b->iface.set_tensor    = set_tensor;
        b->iface.memset_tensor = nullptr;
        b->iface.get_tensor    = nullptr;
        b->iface.cpy_tensor    = nullptr;
    }
    return b;
}

class extra : public ggml::cpu::extra_buffer_type {
    static bool is_product(const ggml_tensor * op) {
        return op->op == GGML_OP_MUL_MAT_ID || (op->op == GGML_OP_MUL_MAT && op->src[0]->ne[2] == 1);
    }

    // Called by the loader with a tensor that is not allocated, then by the scheduler for each operation.
    bool supports_op(ggml_backend_dev_t, const ggml_tensor * op) override {
        if (!is_product(op)) { return false; }
        const ggml_tensor * w = op->src[0], * x = op->src[1];
        return (w->extra || wanted()) && products_for(w) && x->type == GGML_TYPE_F32 && x->nb[0] == sizeof(float) &&
               op->type == GGML_TYPE_F32 && ggml_is_contiguous(op) && !(x->buffer && !ggml_backend_buft_is_host(x->buffer->buft));
    }

    // Called by every thread for every operation.
    ggml::cpu::tensor_traits * get_tensor_traits(const ggml_tensor * op) override {
        if (op->op == GGML_OP_FLASH_ATTN_EXT) {
            static auto * const ours = new attention<vector_layer>(wanted);
            return attention<vector_layer>::takes(op) ? ours : nullptr;
        }
        const bool packed = is_product(op) && op->src[0]->buffer && op->src[0]->buffer->buft->context == (void *) this;
        return packed ? (ggml::cpu::tensor_traits *) (products *) op->src[0]->extra : nullptr;
    }
};

}  // namespace
}  // namespace mullama

ggml_backend_buffer_type_t ggml_backend_cpu_kleidiai_buffer_type(void) {
    static ggml_backend_buffer_type & type = *[] {
        auto * t = new ggml_backend_buffer_type{};
        t->iface.get_name       = mullama::name;
        t->iface.alloc_buffer   = mullama::alloc_buffer;
        t->iface.get_alignment  = mullama::alignment;
        t->iface.get_alloc_size = mullama::size_of;
        t->device  = ggml_backend_reg_dev_get(ggml_backend_cpu_reg(), 0);
        t->context = new mullama::extra;
        return t;
    }();
    return &type;
}

#endif
