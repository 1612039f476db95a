// C linkage for parts of llama.cpp that only have C++ interfaces, and guards around C functions that throw or abort the
// process.
//
// Every function that can fail returns 0, or -1 with a message in `*out`. Input and output texts are UTF-8 JSON unless
// noted otherwise. Texts in `*out` must be freed with mullama_string_free. No C++ exception leaves these functions.
#pragma once

#include "ggml.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ggml_backend_device;
struct ggml_backend_reg;
struct ggml_threadpool;
struct ggml_threadpool_params;
struct llama_adapter_lora;
struct llama_batch;
struct llama_context;
struct llama_context_params;
struct llama_model;
struct llama_model_params;
struct llama_vocab;

struct mullama_chat_templates;
struct mullama_chat_parser;

void mullama_string_free(char * text);

// Call once, before any other function: disables the logger of llama-common, which writes to the process's standard
// streams, and installs the handler for failed assertions that the guarded functions require.
void mullama_install(void);

// The version of the engine's RPC protocol: major, minor, patch.
void mullama_rpc_protocol(unsigned char version[3]);

// Like the functions of the same name in llama.h. An assertion of the engine that fails on the calling thread does not
// abort the process: the function fails with the assertion as its message, and memory that the engine had allocated may
// leak. A null result is not a failure here.
int mullama_model_load_from_file(
    const char * path, const struct llama_model_params * params, struct llama_model ** result,
    char ** out);
int mullama_init_from_model(
    struct llama_model * model, const struct llama_context_params * params,
    struct llama_context ** result, char ** out);
int mullama_adapter_lora_init(
    struct llama_model * model, const char * path, struct llama_adapter_lora ** result, char ** out);
int mullama_decode(
    struct llama_context * context, const struct llama_batch * batch, int * status, char ** out);
int mullama_state_seq_get_data(
    struct llama_context * context, unsigned char * data, size_t size, int sequence, unsigned flags,
    size_t * written, char ** out);
int mullama_state_seq_set_data(
    struct llama_context * context, const unsigned char * data, size_t size, int sequence,
    unsigned flags, size_t * read, char ** out);
int mullama_tokenize(
    const struct llama_vocab * vocab, const char * text, int text_len, int * tokens,
    int n_tokens_max, bool add_special, bool parse_special, int * count, char ** out);
int mullama_detokenize(
    const struct llama_vocab * vocab, const int * tokens, int n_tokens, char * text,
    int text_len_max, bool remove_special, bool unparse_special, int * length, char ** out);

// Creates a thread pool with `create`, which is `ggml_threadpool_new` of ggml-cpu.h. Fails if the system cannot create
// the threads. They are tried first, since the engine aborts the process on a failure and does not end the other
// threads.
typedef struct ggml_threadpool * mullama_create_pool(struct ggml_threadpool_params * params);
int mullama_threadpool_new(
    mullama_create_pool * create, int n_threads, struct ggml_threadpool ** pool, char ** out);

// Starts and ends `count` threads, which exist at the same time.
int mullama_try_threads(int count, char ** out);

// Like the function of the same name in ggml-rpc.h, which is passed as `add`.
typedef struct ggml_backend_reg * mullama_add_server(const char * endpoint);
int mullama_rpc_add_server(
    mullama_add_server * add, const char * endpoint, struct ggml_backend_reg ** result, char ** out);

// Renders a template with these variables, a JSON object. Passes the text, or on failure the reason, to
// mullama_text_set. Returns 0 on success.
typedef int mullama_render(const void * renderer, const char * variables, void * text);
void mullama_text_set(void * text, const char * bytes, size_t length);

// description: {"default": template, "tool_use": template or null, "bos_token": text, "eos_token": text,
//   "add_bos": bool, "add_eos": bool}, where a template is
//   {"source": text, "names": [names of the variables that it may use], "caps": {name: bool}}
// The renderers must outlive the templates. `tool_use_renderer` is null if there is no such template.
int mullama_chat_templates_init(
    const char * description, mullama_render * render, const void * renderer,
    const void * tool_use_renderer, struct mullama_chat_templates ** templates, char ** out);
void mullama_chat_templates_free(struct mullama_chat_templates * templates);

// Whether answers may begin with reasoning that can be disabled.
int mullama_chat_templates_can_think(
    const struct mullama_chat_templates * templates, bool * thinks, char ** out);

// request: {"messages": [...], "tools": [...], "tool_choice": "auto"|"required"|"none",
//   "parallel_tool_calls": bool, "json_schema": {...}, "grammar": text, "add_generation_prompt":
//   bool, "continue_final_message": bool, "enable_thinking": bool, "template_kwargs": {...}};
//   only "messages" is required.
// result: {"prompt": text, "generation_prompt": text, "grammar": text, "grammar_lazy": bool, "parser": text,
//   "grammar_triggers": [{"type": "token"|"word"|"pattern"|"pattern_full", "value": text,
//   "token": id}], "preserved_tokens": [text], "additional_stops": [text],
//   "thinking_start": text, "thinking_end": [text]}; the generation prompt is the end of the prompt
//   that belongs to the answer, including the text of a continued message.
// parser: parses the model's answer to this prompt; must be freed with mullama_chat_parser_free.
int mullama_chat_templates_apply(
    const struct mullama_chat_templates * templates, const char * request,
    struct mullama_chat_parser ** parser, char ** out);

// text: the output of the model so far (not JSON). result: an assistant message in OpenAI's format.
int mullama_chat_parse(
    const struct mullama_chat_parser * parser, const char * text, size_t text_len, bool is_partial,
    char ** out);

// Sets the end of the prompt that belongs to the answer; answers are parsed together with it.
int mullama_chat_parser_set_prompt(
    struct mullama_chat_parser * parser, const char * prompt, size_t prompt_len, char ** out);
void mullama_chat_parser_free(struct mullama_chat_parser * parser);

// result: {"root": index of the rule, "rules": [[[`llama_gretype`, value], ...], ...]}.
// Fails with the reason if the text is not a grammar (in GBNF, not JSON) with a rule "root" for tokens of this
// vocabulary, or if it is nested so deeply that the engine would overflow the stack.
int mullama_parse_grammar(const struct llama_vocab * vocab, const char * gbnf, char ** out);

// Fails with the reason if the pattern is not a regular expression that the engine accepts (std::regex with the
// ECMAScript grammar).
int mullama_check_pattern(const char * pattern, char ** out);

// Whether a pattern of this grammar matches anywhere in a text.
int mullama_pattern_matches(const char * pattern, const char * text, bool * matches, char ** out);

// The following functions list tensors as [[name, `ggml_type`, [length, ...]], ...], with the types that a quantisation
// (a `llama_ftype`) assigns. `header` is the header of a GGUF file.

// The tensors of a model with the metadata in `header`. `is_tied`: the embedding is also the output matrix.
int mullama_shape_tensors(
    const void * header, size_t size, int file_type, bool is_tied, bool has_biases, char ** out);

// The tensors listed in `header`.
int mullama_quantised_tensors(
    const struct llama_model * model, const void * header, size_t size, int file_type, char ** out);

// [{"buffer_type": name, "device": name or null for host memory, "host": bool,
//   "max_size": bytes of its largest buffer, "model": bytes, "context": bytes, "compute": bytes}]
int mullama_memory_breakdown(const struct llama_context * context, char ** out);

// The properties of a device's backend that affect the engine's memory planning.
struct mullama_simulated_profile {
    // Alignment of tensors in bytes.
    size_t alignment;
    // Rows of quantised tensors are padded to a multiple of this number of elements; 0 for no padding.
    size_t row_padding;
    // The capabilities of `ggml_backend_dev_caps`.
    bool async;
    bool host_buffer;
    bool buffer_from_host_ptr;
    bool events;
};

struct mullama_simulated_device;

// A simulated GPU, which can only be used in dry runs (`no_alloc`). It is not registered with the engine. Must be freed
// after all models and contexts that use it.
struct mullama_simulated_device * mullama_simulated_device_new(
    const char * name, const char * description, size_t free, size_t total,
    const struct mullama_simulated_profile * profile);
struct ggml_backend_device * mullama_simulated_device_handle(
    struct mullama_simulated_device * device);
void mullama_simulated_device_free(struct mullama_simulated_device * device);

// A projector, which converts pictures to embeddings for a model.
struct mullama_projector;

// A picture prepared for a projector: texts, and parts to encode.
struct mtmd_input_chunks;

// Whether to continue a computation. Must not throw.
typedef bool mullama_go_on(const void * asked);

// Sets the log callback of mtmd, which has its own logger.
void mullama_media_log(ggml_log_callback log);

// Memory in bytes that a projector needs on the CPU, measured by a dry run that does not read its weights.
// result: a number.
int mullama_projector_memory(const char * path, char ** out);

// Loads a projector on the CPU, for computation with `n_threads` threads. `model` must outlive it.
// result: {"vision": bool, "has_grid_positions": bool}; the latter is whether positions in a picture have several
// coordinates (M-RoPE).
int mullama_projector_load(
    const char * path, const struct llama_model * model, int n_threads,
    struct mullama_projector ** projector, char ** out);
void mullama_projector_free(struct mullama_projector * projector);

// `pixels`: three bytes per pixel (red, green, blue), row by row. Thread-safe.
// result: [{"tokens": [...]} or {"length": number of embeddings, "sees_ahead": bool}, ...]. `*chunks` must be freed
// even on failure.
int mullama_media_prepare(
    const struct mullama_projector * projector, unsigned width, unsigned height,
    const unsigned char * pixels, struct mtmd_input_chunks ** chunks, char ** out);
void mullama_media_free(struct mtmd_input_chunks * chunks);

// Computes the `count` values of the embeddings of one part. They are undefined if `go_on` returned false.
int mullama_media_encode(
    struct mullama_projector * projector, const struct mtmd_input_chunks * chunks, size_t index,
    mullama_go_on * go_on, const void * asked, float * embeddings, size_t count, char ** out);

#ifdef __cplusplus
}
#endif
