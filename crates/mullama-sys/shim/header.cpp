// Tensors of models that do not exist: of a shape, and of a model in another quantisation. The engine itself determines
// the tensors of a shape, and their types in a quantisation.

#include "mullama_shim.h"
#include "guarded.h"

#include "ggml-backend.h"
#include "ggml.h"
#include "gguf.h"
#include "json.h"
#include "llama-ext.h"
#include "llama.h"

#include <algorithm>
#include <cstdio>
#include <cstdint>
#include <iterator>
#include <memory>
#include <regex>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_map>
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

// Sorts by block number, tensors outside of blocks first. The engine's quantiser processes tensors in this order, and
// its results depend on it (`weight_name_comparer`).
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

// Lists tensors as [[name, type, [length, ...]], ...], with the types that a quantisation assigns.
std::string quantised(
    const llama_model * model, const std::vector<ggml_tensor *> & tensors, llama_ftype file_type) {
    llama_model_quantize_params params = llama_model_quantize_default_params();
    params.ftype = file_type;
    const owned<quantize_state_impl> state(llama_quant_init(model, &params));
    std::vector<ggml_tensor *> changed;
    std::copy_if(
        tensors.begin(), tensors.end(), std::back_inserter(changed), [&](const ggml_tensor * tensor) {
            return llama_quant_tensor_allows_quantization(state.get(), tensor);
        });
    sort_as_quantised(changed);
    std::vector<ggml_type> types(changed.size());
    llama_quant_compute_types(state.get(), file_type, changed.data(), types.data(), changed.size());
    std::unordered_map<const ggml_tensor *, ggml_type> type_of;
    for (size_t i = 0; i < changed.size(); i++) {
        type_of[changed[i]] = types[i];
    }
    common_json list = common_json::array();
    for (const ggml_tensor * tensor : tensors) {
        const auto found = type_of.find(tensor);
        common_json shape = common_json::array();
        for (int i = 0; i < ggml_n_dims(tensor); i++) {
            shape.push_back(tensor->ne[i]);
        }
        common_json item = common_json::array();
        item.push_back(ggml_get_name(tensor));
        item.push_back(static_cast<int>(found == type_of.end() ? tensor->type : found->second));
        item.push_back(shape);
        list.push_back(item);
    }
    return list.dump();
}

// Reads the header of a GGUF file in memory, with its tensors if `tensors` is not null.
owned<gguf_context> read_header(const void * header, size_t size, ggml_context ** tensors = nullptr) {
    owned<gguf_context> read(gguf_init_from_buffer(header, size, { true, tensors }));
    if (!read) {
        throw std::runtime_error("the engine cannot read the header");
    }
    return read;
}

bool ends_with(const std::string & text, const std::string & end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Whether converters may leave a tensor out. The engine creates every tensor that an architecture may have; the
// optional ones, such as scales, are small.
bool is_optional(const std::string & name) {
    return ends_with(name, ".scale") || ends_with(name, ".input_scale") ||
           name.find("rope_f") != std::string::npos || name.compare(0, 3, "cls") == 0 ||
           name.compare(0, 6, "dense_") == 0;
}

}  // namespace

extern "C" int mullama_shape_tensors(
    const void * header, size_t size, int file_type, bool is_tied, bool has_biases, char ** out) {
    return guarded(out, [&] {
        const owned<gguf_context> metadata = read_header(header, size);
        // All tensors are placed on a device that allocates nothing.
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
        const owned<llama_model> model(llama_model_init_from_user(metadata.get(), see, &seen, params));
        if (!model) {
            throw std::runtime_error("the engine refuses the shape");
        }
        std::vector<ggml_tensor *> tensors;
        std::set<std::string> names;
        for (auto & tensor : seen) {
            const std::string name = ggml_get_name(&tensor);
            const bool is_wanted = !is_optional(name) && (has_biases || !ends_with(name, ".bias")) &&
                                   (!is_tied || name != "output.weight");
            if (is_wanted && names.insert(name).second) {
                tensors.push_back(&tensor);
            }
        }
        return quantised(model.get(), tensors, static_cast<llama_ftype>(file_type));
    });
}

extern "C" int mullama_quantised_tensors(
    const llama_model * model, const void * header, size_t size, int file_type, char ** out) {
    return guarded(out, [&] {
        ggml_context * raw = nullptr;
        const owned<gguf_context> read = read_header(header, size, &raw);
        const owned<ggml_context> context(raw);
        std::vector<ggml_tensor *> tensors;
        for (ggml_tensor * tensor = ggml_get_first_tensor(raw); tensor;
             tensor = ggml_get_next_tensor(raw, tensor)) {
            tensors.push_back(tensor);
        }
        return quantised(model, tensors, static_cast<llama_ftype>(file_type));
    });
}

extern "C" int mullama_pattern_matches(
    const char * pattern, const char * text, bool * matches, char ** out) {
    return guarded(out, [&] {
        *matches = std::regex_search(text, std::regex(pattern));
        return std::string();
    });
}
