// Pictures and sound: llama.cpp's mtmd, with exceptions and failed assertions returned as errors.
#include "mullama_shim.h"

#include "guarded.h"

#include "clip.h"
#include "json.h"
#include "mtmd.h"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>

namespace {

// Number of graph nodes that are computed between checks whether to continue.
constexpr unsigned NODES_BETWEEN_LOOKS = 64;

struct bitmap_deleter {
    void operator()(mtmd_bitmap * bitmap) const { mtmd_bitmap_free(bitmap); }
};

struct clip_deleter {
    void operator()(clip_ctx * context) const { clip_free(context); }
};

} // namespace

struct mullama_projector {
    mtmd_context * context = nullptr;
    // Returns whether to continue; called between graph nodes. Null while nothing is encoded.
    mullama_go_on * go_on = nullptr;
    const void * asked = nullptr;
    unsigned nodes = 0;

    ~mullama_projector() { mtmd_free(context); }
};

namespace {

bool on_node(ggml_tensor *, bool ask, void * data) {
    auto & projector = *static_cast<mullama_projector *>(data);
    if (ask) {
        return ++projector.nodes % NODES_BETWEEN_LOOKS == 0;
    }
    return !projector.go_on || projector.go_on(projector.asked);
}

} // namespace

extern "C" void mullama_media_log(ggml_log_callback log) {
    mtmd_log_set(log, nullptr);
}

extern "C" int mullama_projector_memory(const char * path, char ** out) {
    return guarded(out, [&] {
        // The same parameters as mtmd derives from those in mullama_projector_load.
        clip_context_params params = {};
        params.flash_attn_type = CLIP_FLASH_ATTN_TYPE_AUTO;
        params.image_min_tokens = -1;
        params.image_max_tokens = -1;
        params.warmup = true;
        params.no_alloc = true;
        const clip_init_result loaded = clip_init(path, params);
        const std::unique_ptr<clip_ctx, clip_deleter> encoders[] = {
            std::unique_ptr<clip_ctx, clip_deleter>(loaded.ctx_v),
            std::unique_ptr<clip_ctx, clip_deleter>(loaded.ctx_a),
            std::unique_ptr<clip_ctx, clip_deleter>(loaded.ctx_gen_a),
        };
        size_t bytes = 0;
        for (const auto & encoder : encoders) {
            if (encoder) {
                for (const auto & [device, size] : clip_get_mem_usage(encoder.get())) {
                    bytes += size;
                }
            }
        }
        if (bytes == 0) {
            throw std::runtime_error("the engine cannot load it");
        }
        return std::to_string(bytes);
    });
}

extern "C" int mullama_projector_load(
    const char * path, const llama_model * model, int n_threads, mullama_projector ** result,
    char ** out) {
    *result = nullptr;
    return guarded(out, [&] {
        auto projector = std::make_unique<mullama_projector>();
        auto params = mtmd_context_params_default();
        params.use_gpu = false;
        params.print_timings = false;
        params.n_threads = n_threads;
        params.warmup = true;
        params.cb_eval = on_node;
        params.cb_eval_user_data = projector.get();
        projector->context = mtmd_init_from_file(path, model, params);
        if (!projector->context) {
            throw std::runtime_error("the engine cannot load it");
        }
        const mtmd_context * context = projector->context;
        common_json about = common_json::object();
        about["vision"] = mtmd_support_vision(context);
        about["has_grid_positions"] = mtmd_decode_use_mrope(context);
        *result = projector.release();
        return about.dump();
    });
}

extern "C" void mullama_projector_free(mullama_projector * projector) {
    delete projector;
}

extern "C" int mullama_media_prepare(
    const mullama_projector * projector, unsigned width, unsigned height,
    const unsigned char * pixels, mtmd_input_chunks ** result, char ** out) {
    *result = nullptr;
    return guarded(out, [&] {
        const std::unique_ptr<mtmd_bitmap, bitmap_deleter> bitmap(
            mtmd_bitmap_init(width, height, pixels));
        mtmd_input_part part = {};
        part.bitmap = bitmap.get();
        const mtmd_input_part * parts = &part;
        mtmd_input_chunks * chunks = mtmd_input_chunks_init();
        *result = chunks;
        const int status = mtmd_tokenize_from_parts(projector->context, chunks, &parts, 1, false);
        if (status != 0) {
            throw std::runtime_error("the projector cannot take it");
        }
        common_json described = common_json::array();
        for (size_t index = 0; index < mtmd_input_chunks_size(chunks); index++) {
            const mtmd_input_chunk * chunk = mtmd_input_chunks_get(chunks, index);
            common_json one = common_json::object();
            if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_TEXT) {
                size_t count = 0;
                const llama_token * tokens = mtmd_input_chunk_get_tokens_text(chunk, &count);
                common_json list = common_json::array();
                for (size_t at = 0; at < count; at++) {
                    list.push_back(tokens[at]);
                }
                one["tokens"] = list;
            } else {
                one["length"] = mtmd_input_chunk_get_n_tokens(chunk);
                one["sees_ahead"] = mtmd_decode_use_non_causal(projector->context, chunk);
            }
            described.push_back(one);
        }
        return described.dump();
    });
}

extern "C" void mullama_media_free(mtmd_input_chunks * chunks) {
    mtmd_input_chunks_free(chunks);
}

extern "C" int mullama_media_encode(
    mullama_projector * projector, const mtmd_input_chunks * chunks, size_t index,
    mullama_go_on * go_on, const void * asked, float * embeddings, size_t count, char ** out) {
    projector->go_on = go_on;
    projector->asked = asked;
    const int status = guarded(out, [&] {
        const mtmd_input_chunk * chunk = mtmd_input_chunks_get(chunks, index);
        if (!chunk || mtmd_encode_chunk(projector->context, chunk) != 0) {
            throw std::runtime_error("the projector cannot encode it");
        }
        const float * encoded = mtmd_get_output_embd(projector->context);
        std::copy(encoded, encoded + count, embeddings);
        return std::string();
    });
    projector->go_on = nullptr;
    return status;
}
