#include "mullama_shim.h"
#include "guarded.h"

#include "chat.h"
#include "ggml-rpc.h"
#include "json.h"
#include "llama-ext.h"
#include "log.h"
#include "template.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <regex>
#include <string>
#include <vector>

// A copy of a private definition in llama.cpp's `common/chat.cpp`; the build compares the two.
struct common_chat_templates {
    bool add_bos;
    bool add_eos;
    bool has_explicit_template;
    std::unique_ptr<common_chat_template> template_default;
    std::unique_ptr<common_chat_template> template_tool_use;
};

struct mullama_chat_templates {
    common_chat_templates_ptr inner;
};

struct mullama_chat_parser {
    common_chat_parser_params params;
};

thread_local bool mullama_inside_guard = false;

namespace {

// The engine calls this before it aborts the process on a failed assertion. The exception passes through C frames of
// the engine, for which compilers generate unwind tables on all supported platforms.
void on_abort(const char * message) {
    if (mullama_inside_guard) {
        // "/where/it/was/built/llama-model.cpp:1330: GGML_ASSERT(...) failed"
        const std::string whole = message;
        const auto directory = whole.find_last_of("/\\", whole.find(": "));
        throw std::runtime_error(directory == std::string::npos ? whole : whole.substr(directory + 1));
    }
    std::fprintf(stderr, "%s\n", message);
}

// Starts threads that wait for each other, and ends them. Throws if the system cannot create all of them.
void try_threads(int count) {
    std::mutex gate;
    std::vector<std::future<void>> threads;
    const std::lock_guard<std::mutex> closed(gate);
    for (int i = 0; i < count; i++) {
        threads.push_back(std::async(std::launch::async, [&gate] {
            const std::lock_guard<std::mutex> wait(gate);
        }));
    }
}

common_json texts(const std::vector<std::string> & values) {
    common_json list = common_json::array();
    for (const auto & value : values) {
        list.push_back(value);
    }
    return list;
}

// Applies a template. If the engine cannot determine its answer format and there are no tools, answers are treated as
// text. A template that itself fails to render fails again.
common_chat_params apply(const common_chat_templates * templates, const common_chat_templates_inputs & inputs) {
    try {
        return common_chat_templates_apply(templates, inputs);
    } catch (const std::exception &) {
        if (!inputs.tools.empty()) {
            throw;
        }
    }
    auto as_text = inputs;
    as_text.force_pure_content = true;
    return common_chat_templates_apply(templates, as_text);
}

const char * trigger_type_name(common_grammar_trigger_type type) {
    switch (type) {
        case COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN:        return "token";
        case COMMON_GRAMMAR_TRIGGER_TYPE_WORD:         return "word";
        case COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN:      return "pattern";
        case COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN_FULL: return "pattern_full";
    }
    throw std::runtime_error("grammar trigger of an unknown type");
}

common_chat_templates_inputs read_request(const common_json & request) {
    common_chat_templates_inputs inputs;
    inputs.messages = common_chat_msgs_parse_oaicompat(request.at("messages"));
    if (request.contains("tools")) {
        inputs.tools = common_chat_tools_parse_oaicompat(request.at("tools"));
    }
    inputs.tool_choice =
        common_chat_tool_choice_parse_oaicompat(request.value("tool_choice", "auto"));
    inputs.parallel_tool_calls = request.value("parallel_tool_calls", false);
    inputs.grammar = request.value("grammar", "");
    if (request.contains("json_schema")) {
        inputs.json_schema = request.at("json_schema").dump();
    }
    inputs.add_generation_prompt = request.value("add_generation_prompt", true);
    if (request.value("continue_final_message", false)) {
        inputs.continue_final_message = COMMON_CHAT_CONTINUATION_AUTO;
    }
    // Reasoning is always separated from the answer; models without it are not affected.
    inputs.reasoning_format = COMMON_REASONING_FORMAT_AUTO;
    inputs.enable_thinking = request.value("enable_thinking", true);
    if (request.contains("template_kwargs")) {
        for (const auto & entry : request.at("template_kwargs").items()) {
            inputs.chat_template_kwargs[entry.key()] = entry.value().dump();
        }
    }
    return inputs;
}

}  // namespace

extern "C" void mullama_string_free(char * text) {
    std::free(text);
}

extern "C" void mullama_install(void) {
    // Below all levels, so that its logger, which would start a thread, is not created.
    common_log_set_verbosity_thold(-1);
    ggml_set_abort_callback(on_abort);
}

extern "C" void mullama_rpc_protocol(unsigned char version[3]) {
    version[0] = RPC_PROTO_MAJOR_VERSION;
    version[1] = RPC_PROTO_MINOR_VERSION;
    version[2] = RPC_PROTO_PATCH_VERSION;
}

extern "C" int mullama_model_load_from_file(
    const char * path, const llama_model_params * params, llama_model ** result, char ** out) {
    *result = nullptr;
    return guarded(out, [&] {
        *result = llama_model_load_from_file(path, *params);
        return std::string();
    });
}

extern "C" int mullama_init_from_model(
    llama_model * model, const llama_context_params * params, llama_context ** result,
    char ** out) {
    *result = nullptr;
    return guarded(out, [&] {
        *result = llama_init_from_model(model, *params);
        return std::string();
    });
}

extern "C" int mullama_adapter_lora_init(
    llama_model * model, const char * path, llama_adapter_lora ** result, char ** out) {
    *result = nullptr;
    return guarded(out, [&] {
        *result = llama_adapter_lora_init(model, path);
        return std::string();
    });
}

extern "C" int mullama_decode(
    llama_context * context, const llama_batch * batch, int * status, char ** out) {
    *status = -1;
    return guarded(out, [&] {
        *status = llama_decode(context, *batch);
        return std::string();
    });
}

extern "C" int mullama_state_seq_get_data(
    llama_context * context, unsigned char * data, size_t size, int sequence, unsigned flags,
    size_t * written, char ** out) {
    return guarded(out, [&] {
        *written = llama_state_seq_get_data_ext(context, data, size, sequence, flags);
        return std::string();
    });
}

extern "C" int mullama_state_seq_set_data(
    llama_context * context, const unsigned char * data, size_t size, int sequence, unsigned flags,
    size_t * read, char ** out) {
    return guarded(out, [&] {
        *read = llama_state_seq_set_data_ext(context, data, size, sequence, flags);
        return std::string();
    });
}

extern "C" int mullama_tokenize(
    const llama_vocab * vocab, const char * text, int text_len, int * tokens, int n_tokens_max,
    bool add_special, bool parse_special, int * count, char ** out) {
    *count = 0;
    return guarded(out, [&] {
        *count = llama_tokenize(
            vocab, text, text_len, tokens, n_tokens_max, add_special, parse_special);
        return std::string();
    });
}

extern "C" int mullama_detokenize(
    const llama_vocab * vocab, const int * tokens, int n_tokens, char * text, int text_len_max,
    bool remove_special, bool unparse_special, int * length, char ** out) {
    *length = 0;
    return guarded(out, [&] {
        *length = llama_detokenize(
            vocab, tokens, n_tokens, text, text_len_max, remove_special, unparse_special);
        return std::string();
    });
}

extern "C" int mullama_threadpool_new(
    mullama_create_pool * create, int n_threads, ggml_threadpool ** pool, char ** out) {
    *pool = nullptr;
    return guarded(out, [&] {
        try_threads(n_threads - 1);
        auto params = ggml_threadpool_params_default(n_threads);
        *pool = create(&params);
        return std::string();
    });
}

extern "C" int mullama_try_threads(int count, char ** out) {
    return guarded(out, [&] {
        try_threads(count);
        return std::string();
    });
}

extern "C" int mullama_rpc_add_server(
    mullama_add_server * add, const char * endpoint, ggml_backend_reg ** result, char ** out) {
    *result = nullptr;
    return guarded(out, [&] {
        *result = add(endpoint);
        return std::string();
    });
}

extern "C" int mullama_chat_templates_init(
    const char * description, mullama_render * render, const void * renderer,
    const void * tool_use_renderer, mullama_chat_templates ** templates, char ** out) {
    *templates = nullptr;
    return guarded(out, [&] {
        const auto described = common_json::parse(description);
        const auto make = [&](const char * name, const void * renderer) {
            return mullama::make_template(
                described.at(name), described.at("bos_token"), described.at("eos_token"), render,
                renderer);
        };
        common_chat_templates_ptr inner(new common_chat_templates());
        inner->add_bos = described.value("add_bos", false);
        inner->add_eos = described.value("add_eos", false);
        inner->has_explicit_template = true;
        inner->template_default = make("default", renderer);
        if (tool_use_renderer) {
            inner->template_tool_use = make("tool_use", tool_use_renderer);
        }
        *templates = new mullama_chat_templates{ std::move(inner) };
        return std::string();
    });
}

extern "C" void mullama_chat_templates_free(mullama_chat_templates * templates) {
    delete templates;
}

extern "C" int mullama_chat_templates_can_think(
    const mullama_chat_templates * templates, bool * thinks, char ** out) {
    *thinks = false;
    return guarded(out, [&] {
        *thinks = common_chat_templates_support_enable_thinking(templates->inner.get());
        return std::string();
    });
}

extern "C" int mullama_chat_templates_apply(
    const mullama_chat_templates * templates, const char * request, mullama_chat_parser ** parser,
    char ** out) {
    *parser = nullptr;
    return guarded(out, [&] {
        const auto inputs = read_request(common_json::parse(request));
        const auto params = apply(templates->inner.get(), inputs);

        auto understood = std::make_unique<mullama_chat_parser>();
        understood->params = common_chat_parser_params(params);
        understood->params.reasoning_format = inputs.reasoning_format;
        if (!params.parser.empty()) {
            understood->params.parser.load(params.parser);
        }

        common_json triggers = common_json::array();
        for (const auto & trigger : params.grammar_triggers) {
            common_json item = common_json::object();
            item["type"] = trigger_type_name(trigger.type);
            item["value"] = trigger.value;
            item["token"] = trigger.token;
            triggers.push_back(item);
        }
        common_json result = common_json::object();
        result["prompt"] = params.prompt;
        result["generation_prompt"] = params.generation_prompt;
        result["grammar"] = params.grammar;
        result["grammar_lazy"] = params.grammar_lazy;
        result["parser"] = params.parser;
        result["grammar_triggers"] = triggers;
        result["preserved_tokens"] = texts(params.preserved_tokens);
        result["additional_stops"] = texts(params.additional_stops);
        result["thinking_start"] = params.thinking_start_tag;
        result["thinking_end"] = texts(params.thinking_end_tags);
        auto text = result.dump_safe();
        *parser = understood.release();
        return text;
    });
}

extern "C" int mullama_chat_parse(
    const mullama_chat_parser * parser, const char * text, size_t text_len, bool is_partial,
    char ** out) {
    return guarded(out, [&] {
        const auto message =
            common_chat_parse(std::string(text, text_len), is_partial, parser->params);
        return message.to_json_oaicompat().dump_safe();
    });
}

extern "C" int mullama_chat_parser_set_prompt(
    mullama_chat_parser * parser, const char * prompt, size_t prompt_len, char ** out) {
    return guarded(out, [&] {
        parser->params.generation_prompt.assign(prompt, prompt_len);
        return std::string();
    });
}

extern "C" void mullama_chat_parser_free(mullama_chat_parser * parser) {
    delete parser;
}

extern "C" int mullama_check_pattern(const char * pattern, char ** out) {
    return guarded(out, [&] {
        const std::regex compiled(pattern);
        return std::string();
    });
}

extern "C" int mullama_memory_breakdown(const llama_context * context, char ** out) {
    return guarded(out, [&] {
        common_json list = common_json::array();
        for (const auto & [buffer_type, bytes] : llama_get_memory_breakdown(context)) {
            ggml_backend_dev_t device = ggml_backend_buft_get_device(buffer_type);
            common_json item = common_json::object();
            item["buffer_type"] = ggml_backend_buft_name(buffer_type);
            item["device"] = device ? common_json(ggml_backend_dev_name(device)) : common_json();
            item["host"] = ggml_backend_buft_is_host(buffer_type);
            item["max_size"] = ggml_backend_buft_get_max_size(buffer_type);
            item["model"] = bytes.model;
            item["context"] = bytes.context;
            item["compute"] = bytes.compute;
            list.push_back(item);
        }
        return list.dump();
    });
}
