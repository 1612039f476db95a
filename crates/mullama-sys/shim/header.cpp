// Headers of models that are not there: of a shape, and of a model in another quantisation. The engine
// itself says which tensors a shape has, and of which type a quantisation makes each.

#include "mullama_shim.h"
#include "guarded.h"

#include "ggml-backend.h"
#include "ggml.h"
#include "gguf.h"
#include "llama-ext.h"
#include "llama.h"

#include <algorithm>
#include <cstdio>
#include <cstdint>
#include <memory>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct freed_as_made {
    void operator()(ggml_context * context) const { ggml_free(context); }
    void operator()(gguf_context * context) const { gguf_free(context); }
    void operator()(llama_model * model) const { llama_model_free(model); }
    void operator()(mullama_simulated_device * device) const { mullama_simulated_device_free(device); }
    void operator()(quantize_state_impl * state) const { llama_quant_free(state); }
};

template <typename T> using owned = std::unique_ptr<T, freed_as_made>;

// Blocks in their order, what belongs to none first: as the engine's quantiser goes through them, which
// counts as it goes (`weight_name_comparer`).
void sort_as_quantised(std::vector<ggml_tensor *> & tensors) {
    const auto block = [](const ggml_tensor * tensor) {
        int number = -1;
        std::sscanf(ggml_get_name(tensor), "blk.%d.", &number);
        return number;
    };
    std::sort(tensors.begin(), tensors.end(), [&](const ggml_tensor * a, const ggml_tensor * b) {
        const int first = block(a);
        const int second = block(b);
        return first != second ? first < second : std::string(ggml_get_name(a)) < ggml_get_name(b);
    });
}

// Gives the tensors in a header the types that a quantisation would.
void set_types(
    const llama_model * model, gguf_context * header, std::vector<ggml_tensor *> tensors,
    llama_ftype file_type) {
    llama_model_quantize_params params = llama_model_quantize_default_params();
    params.ftype = file_type;
    const owned<quantize_state_impl> state(llama_quant_init(model, &params));
    tensors.erase(
        std::remove_if(
            tensors.begin(), tensors.end(),
            [&](const ggml_tensor * tensor) {
                return !llama_quant_tensor_allows_quantization(state.get(), tensor);
            }),
        tensors.end());
    sort_as_quantised(tensors);
    std::vector<ggml_type> types(tensors.size());
    llama_quant_compute_types(state.get(), file_type, tensors.data(), types.data(), tensors.size());
    for (size_t i = 0; i < tensors.size(); i++) {
        gguf_set_tensor_type(header, ggml_get_name(tensors[i]), types[i]);
    }
    gguf_set_val_u32(header, "general.file_type", file_type);
}

bool ends_with(const std::string & text, const std::string & end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// The engine makes every tensor that an architecture may have. Those that scale, and those that
// converters leave out, are of a few numbers.
bool is_optional(const std::string & name) {
    return ends_with(name, ".scale") || ends_with(name, ".input_scale") ||
           name.find("rope_f") != std::string::npos || name.compare(0, 3, "cls") == 0 ||
           name.compare(0, 6, "dense_") == 0;
}

}  // namespace

extern "C" int mullama_shape_tensors(
    gguf_context * header, int file_type, bool is_tied, bool has_biases, char ** out) {
    return guarded(out, [&] {
        // Everything goes to a device that allocates nothing.
        mullama_simulated_profile profile = {};
        profile.alignment = 32;
        const owned<mullama_simulated_device> nowhere(
            mullama_simulated_device_new("nowhere", "nowhere", SIZE_MAX, SIZE_MAX, &profile));
        ggml_backend_dev_t device = mullama_simulated_device_handle(nowhere.get());
        ggml_backend_dev_t devices[] = { device, nullptr };
        const llama_model_tensor_buft_override everything[] = {
            { ".", ggml_backend_dev_buffer_type(device) }, { nullptr, nullptr } };

        std::vector<ggml_tensor> seen;
        const auto see = [](ggml_tensor * tensor, void * seen) {
            static_cast<std::vector<ggml_tensor> *>(seen)->push_back(*tensor);
        };
        auto params = llama_model_default_params();
        params.devices = devices;
        params.n_gpu_layers = 9999;
        params.tensor_buft_overrides = everything;
        const owned<llama_model> model(llama_model_init_from_user(header, see, &seen, params));
        if (!model) {
            throw std::runtime_error("the engine refuses the shape");
        }
        std::vector<ggml_tensor *> tensors;
        for (auto & tensor : seen) {
            const std::string name = ggml_get_name(&tensor);
            const bool is_wanted = !is_optional(name) && (has_biases || !ends_with(name, ".bias")) &&
                                   (!is_tied || name != "output.weight");
            if (is_wanted && gguf_find_tensor(header, name.c_str()) < 0) {
                tensors.push_back(&tensor);
                gguf_add_tensor(header, &tensor);
            }
        }
        set_types(model.get(), header, tensors, static_cast<llama_ftype>(file_type));
        return std::string();
    });
}

extern "C" int mullama_requantized_header(
    const llama_model * model, const char * paths, int file_type, const char * result, char ** out) {
    return guarded(out, [&] {
        owned<gguf_context> header;
        std::vector<owned<ggml_context>> contexts;
        std::vector<ggml_tensor *> tensors;
        std::istringstream lines(paths);
        for (std::string path; std::getline(lines, path);) {
            ggml_context * raw = nullptr;
            owned<gguf_context> file(gguf_init_from_file(path.c_str(), { true, &raw }));
            contexts.emplace_back(raw);
            if (!file) {
                throw std::runtime_error("cannot read " + path);
            }
            const bool is_first = !header;
            if (is_first) {
                header = std::move(file);
            }
            for (ggml_tensor * tensor = ggml_get_first_tensor(raw); tensor;
                 tensor = ggml_get_next_tensor(raw, tensor)) {
                tensors.push_back(tensor);
                if (!is_first) {
                    gguf_add_tensor(header.get(), tensor);
                }
            }
        }
        for (const char * key : { "split.no", "split.count", "split.tensors.count" }) {
            gguf_remove_key(header.get(), key);
        }
        set_types(model, header.get(), tensors, static_cast<llama_ftype>(file_type));
        if (!gguf_write_to_file(header.get(), result, true)) {
            throw std::runtime_error(std::string("cannot write ") + result);
        }
        return std::string();
    });
}

extern "C" int mullama_pattern_matches(
    const char * pattern, const char * text, bool * matches, char ** out) {
    return guarded(out, [&] {
        *matches = std::regex_search(text, std::regex(pattern));
        return std::string();
    });
}
