// C linkage for parts of llama.cpp that have only C++ interfaces, and guards around parts that have
// C ones but throw, or end the process.
//
// Every function that can fail returns 0, or -1 with a message in `*out`. Text in and out is UTF-8
// JSON unless said otherwise; what a function writes to `*out` is freed with mullama_string_free.
// No C++ exception leaves these functions.
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

// Call once, before anything else: silences llama-common's own logger, which writes to the process's
// standard streams, and sets the trap for failed assertions that the guarded functions rely on.
void mullama_install(void);

// The version of the protocol that the engine speaks with RPC workers: major, minor, patch.
void mullama_rpc_protocol(unsigned char version[3]);

// As the functions of llama.h of the same name. An assertion of the engine that fails on
// the calling thread (it would end the process) becomes a failure with the assertion as its message;
// what the engine had allocated by then may be lost. A null result is no failure here.
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

// Makes a pool of threads with `create`, ggml-cpu.h's `ggml_threadpool_new`. Threads that the system refuses are
// a failure: they are tried first, since the engine ends the process over one, and leaves the others.
typedef struct ggml_threadpool * mullama_create_pool(struct ggml_threadpool_params * params);
int mullama_threadpool_new(
    mullama_create_pool * create, int n_threads, struct ggml_threadpool ** pool, char ** out);

// Starts and ends this many threads, which are there at the same time.
int mullama_try_threads(int count, char ** out);

// As the function of ggml-rpc.h of the same name, which is given first.
typedef struct ggml_backend_reg * mullama_add_server(const char * endpoint);
int mullama_rpc_add_server(
    mullama_add_server * add, const char * endpoint, struct ggml_backend_reg ** result, char ** out);

// Renders a template with these variables, a JSON object. Gives the text, or where it fails what is wrong, to
// mullama_text_set; whether it failed.
typedef int mullama_render(const void * renderer, const char * variables, void * text);
void mullama_text_set(void * text, const char * bytes, size_t length);

// description: {"default": template, "tool_use": template or null, "bos_token": text, "eos_token": text,
//   "add_bos": bool, "add_eos": bool}, a template being
//   {"source": text, "names": [name of each variable that it may use], "caps": {name: bool}}
// The renderers outlive the templates; `tool_use_renderer` is null where there is no such template.
int mullama_chat_templates_init(
    const char * description, mullama_render * render, const void * renderer,
    const void * tool_use_renderer, struct mullama_chat_templates ** templates, char ** out);
void mullama_chat_templates_free(struct mullama_chat_templates * templates);

// Whether answers may begin with reasoning that can be switched off.
int mullama_chat_templates_can_think(
    const struct mullama_chat_templates * templates, bool * thinks, char ** out);

// request: {"messages": [...], "tools": [...], "tool_choice": "auto"|"required"|"none",
//   "parallel_tool_calls": bool, "json_schema": {...}, "grammar": text, "add_generation_prompt":
//   bool, "continue_final_message": bool, "enable_thinking": bool, "template_kwargs": {...}};
//   only "messages" must be there.
// result: {"prompt": text, "generation_prompt": text, "grammar": text, "grammar_lazy": bool, "parser": text,
//   "grammar_triggers": [{"type": "token"|"word"|"pattern"|"pattern_full", "value": text,
//   "token": id}], "preserved_tokens": [text], "additional_stops": [text],
//   "thinking_start": text, "thinking_end": [text]}; the generation prompt is the end of the prompt
//   that belongs to the answer, what a message that is continued says included
// parser: understands what the model answers to this prompt; freed with mullama_chat_parser_free.
int mullama_chat_templates_apply(
    const struct mullama_chat_templates * templates, const char * request,
    struct mullama_chat_parser ** parser, char ** out);

// text: what the model has produced so far (no JSON). result: an assistant message in OpenAI's shape.
int mullama_chat_parse(
    const struct mullama_chat_parser * parser, const char * text, size_t text_len, bool is_partial,
    char ** out);
void mullama_chat_parser_free(struct mullama_chat_parser * parser);

// result: {"root": number of the rule, "rules": [[[`llama_gretype`, value], ...], ...]}.
// Fails, with the reason, where a text is no grammar (GBNF, no JSON) with a rule "root" for tokens of
// this vocabulary, or one that is nested so deeply that the engine would run out of stack.
int mullama_parse_grammar(const struct llama_vocab * vocab, const char * gbnf, char ** out);

// Fails, with the reason, where a pattern is no regular expression that the engine takes (the
// grammar of ECMAScript, as std::regex has it).
int mullama_check_pattern(const char * pattern, char ** out);

// Whether a pattern of that grammar is somewhere in a text.
int mullama_pattern_matches(const char * pattern, const char * text, bool * matches, char ** out);

// Tensors as [[name, `ggml_type`, [length, ...]], ...], of the types that a quantisation (a `llama_ftype`)
// gives them. `header` is that of a GGUF file.

// Of a model whose metadata a header has. `is_tied`: the embedding is the output matrix too.
int mullama_shape_tensors(
    const void * header, size_t size, int file_type, bool is_tied, bool has_biases, char ** out);

// Of a header that lists a model's tensors.
int mullama_quantised_tensors(
    const struct llama_model * model, const void * header, size_t size, int file_type, char ** out);

// [{"buffer_type": name, "device": name or null for host memory, "host": bool,
//   "max_size": bytes of its largest buffer, "model": bytes, "context": bytes, "compute": bytes}]
int mullama_memory_breakdown(const struct llama_context * context, char ** out);

// What a device's backend asks of the engine's memory planning.
struct mullama_simulated_profile {
    // Tensors start at multiples of so many bytes.
    size_t alignment;
    // Rows of quantised tensors end at multiples of so many elements; 0 where they need not.
    size_t row_padding;
    // The capabilities of `ggml_backend_dev_caps`.
    bool async;
    bool host_buffer;
    bool buffer_from_host_ptr;
    bool events;
};

struct mullama_simulated_device;

// A GPU that is not there, for dry runs (`no_alloc`) and nothing else. It is in no registry. To be freed
// when no model or context refers to it any more.
struct mullama_simulated_device * mullama_simulated_device_new(
    const char * name, const char * description, size_t free, size_t total,
    const struct mullama_simulated_profile * profile);
struct ggml_backend_device * mullama_simulated_device_handle(
    struct mullama_simulated_device * device);
void mullama_simulated_device_free(struct mullama_simulated_device * device);

// What turns pictures into embeddings for a model.
struct mullama_projector;

// A picture, prepared for a projector: texts, and what is to be encoded.
struct mtmd_input_chunks;

// Whether a computation is to go on. It must not throw.
typedef bool mullama_go_on(const void * asked);

// Where mtmd logs, which has a logger of its own.
void mullama_media_log(ggml_log_callback log);

// Bytes that a projector takes on the processor, by a dry run: its weights are not read.
// result: a number.
int mullama_projector_memory(const char * path, char ** out);

// On the processor, with so many threads. `model` must outlive it.
// result: {"vision": bool, "has_grid_positions": bool}, the latter where places in a picture have coordinates.
int mullama_projector_load(
    const char * path, const struct llama_model * model, int n_threads,
    struct mullama_projector ** projector, char ** out);
void mullama_projector_free(struct mullama_projector * projector);

// `pixels`: three bytes each, red, green and blue, row by row. May run on several threads at a time.
// result: [{"tokens": [...]} or {"length": number of embeddings, "sees_ahead": bool}, ...]. `*chunks` is to be freed
// even if it fails.
int mullama_media_prepare(
    const struct mullama_projector * projector, unsigned width, unsigned height,
    const unsigned char * pixels, struct mtmd_input_chunks ** chunks, char ** out);
void mullama_media_free(struct mtmd_input_chunks * chunks);

// The `count` numbers of the embeddings of one of them, unless `go_on` said no meanwhile.
int mullama_media_encode(
    struct mullama_projector * projector, const struct mtmd_input_chunks * chunks, size_t index,
    mullama_go_on * go_on, const void * asked, float * embeddings, size_t count, char ** out);

#ifdef __cplusplus
}
#endif
