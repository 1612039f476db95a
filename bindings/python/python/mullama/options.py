"""Keyword arguments of calls, for type checkers and as documentation.

Every option can be omitted or be None; both mean its default.

Written by `generate_stubs.py` from the options of the core; do not edit.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypeAlias, TypedDict

from mullama._tools import Tool

__all__ = [
    "ChatOptions",
    "CudaSettings",
    "EmbedOptions",
    "GenerateOptions",
    "KvCacheType",
    "LoadOptions",
    "LogitsProcessor",
    "Lora",
    "PlanOptions",
    "RerankOptions",
    "SamplerKind",
]

KvCacheType: TypeAlias = Literal[
    "f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"
]
"""The data type of the KV cache."""

Lora: TypeAlias = (
    str | PathLike[str] | Sequence[str | PathLike[str] | tuple[str | PathLike[str], float]]
)
"""LoRA adapters: a path, or a list of paths and of pairs of a path and a scale."""

LogitsProcessor: TypeAlias = Callable[[list[int], "memoryview[float]"], None]
"""Changes the logits of the next token in place. It is called with the tokens so far (negative ones
stand for pictures), and with a buffer of `float32`, one for each token of the vocabulary, which
NumPy takes without a copy. The buffer is invalid after the call."""

SamplerKind: TypeAlias = Literal[
    "penalties", "dry", "top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "xtc", "temperature"
]
"""A sampler that can be put in an order."""


class CudaSettings(TypedDict, total=False):
    """Settings of the CUDA backend."""

    graphs: bool | None
    """Whether kernels are launched together, as CUDA graphs. Default: true."""

    fusion: bool | None
    """Whether consecutive operations are fused into one kernel. Default: true."""

    offload_min_batch: int | None
    """Minimum number of tokens in a step for which products with weights in system RAM are computed
    on the GPU. Default: 32."""

    allreduce: Literal["internal", "nccl", "none"] | None
    """How the results of several GPUs are added up in split mode `tensor`: `internal` (two GPUs),
    `nccl` (if the backend was built with NCCL), or `none` for copies through the engine. Default:
    `nccl` on Linux, `internal` elsewhere, each falling back to the next."""

    allreduce_type: Literal["bf16", "f32"] | None
    """Data type in which `internal` transfers 32-bit results between GPUs: `bf16` or `f32`.
    Default: `bf16`."""

    mmq: Literal["auto", "q4", "q8"] | None
    """Precision of the activations in matrix products with quantised weights: `auto`, `q4`, `q8`.
    Default: `auto`."""

    unified_memory: bool | None
    """Whether weights and caches that exceed the memory of the GPU may be moved to system RAM by
    the driver (unified memory). Default: false."""

    peer_access: bool | None
    """Whether GPUs access each other's memory directly (peer to peer). Default: false."""

    pinned_memory: bool | None
    """Whether buffers in system RAM are pinned for faster transfers. Default: true."""


class LoadOptions(TypedDict, total=False):
    """Options of loading a model."""

    n_gpu_layers: int | Literal["auto", "all"] | None
    """Number of layers on GPUs: -1 or `all` for all, 0 for none, N for that many, `auto` for as
    many as fit. The output layer counts as one. A number above the model's layers, such as 99 or
    999, means all, or as many as fit. Default: `auto`."""

    split_mode: Literal["none", "layer", "row", "tensor"] | None
    """How a model is split across several GPUs: `none`, `layer`, `row`, `tensor`. Default:
    `layer`."""

    tensor_split: Sequence[float] | None
    """Share of each GPU, in any unit. Default: by free memory; equal in split mode `tensor`."""

    main_gpu: int | None
    """Index of the GPU to fill first; in split mode `none`, the only one used. Default: 0."""

    devices: str | Sequence[str] | None
    """Names of the devices that may be used, or `none`; `auto` fills them in this order. Default:
    all."""

    max_gpus: int | None
    """Maximum number of GPUs to use: those with the most free memory, or the first of `devices`.
    Default: all."""

    rpc_servers: str | Sequence[str] | None
    """Remote workers that may be used, as `host:port`; their devices come before those of this
    machine. Default: none."""

    tensor_overrides: Mapping[str, str] | None
    """Devices for individual tensors, by regular expression over tensor names; the first match
    applies. `CPU` is system RAM. Default: none."""

    cpu_moe: bool | None
    """Whether all experts of a mixture-of-experts model are in system RAM. Default: false."""

    n_cpu_moe: int | None
    """Number of layers, from the first on, whose experts are in system RAM. Default: 0."""

    projector: str | None
    """Projector for pictures: the path of its file, `none`, or `auto` for the one that belongs to
    the model, in the store or next to its file (`mmproj*.gguf`). Default: `auto`."""

    load_projector: bool | None
    """Whether the projector is loaded with the model, instead of with the first picture. Default:
    false."""

    media_limits: Mapping[str, int] | None
    """Limits of pictures: `pixels` of each, `bytes` of its file, `pictures` in a chat. Default: 100
    million pixels, 64 MiB, 256 pictures."""

    cpu_kernels: Literal["auto", "own", "engine"] | None
    """Kernels that compute on the processor: `own` for mullama's, `engine` for llama.cpp's, `auto`
    for `own` where the processor has AVX2, unless `MULLAMA_KERNELS` says otherwise. Default:
    `auto`."""

    cuda: CudaSettings | None
    """Settings of the CUDA backend (`graphs`, `fusion`, `offload_min_batch`, `allreduce`, ...),
    which apply to the whole process. Default: the backend's."""

    use_mmap: bool | None
    """Whether the file is memory-mapped instead of read. Default: true."""

    use_mlock: bool | None
    """Whether the model is locked in memory, so that it cannot be swapped out. Default: false."""

    check_tensors: bool | None
    """Whether the weights are checked for invalid values while loading. Default: false."""

    vocab_only: bool | None
    """Whether only the vocabulary is loaded: such a model can only tokenise. Default: false."""

    metadata_overrides: Mapping[str, str | int | float | bool] | None
    """Values that override the file's metadata, by key. Default: none."""

    lora: Lora | None
    """LoRA adapters for requests that do not specify any: paths of GGUF files, each with an
    optional scale. Default: none."""

    draft_model: str | None
    """A second, smaller model with the same vocabulary that drafts tokens for this one (speculative
    decoding): a path or a name, as for the model itself; `none` for none. Default: the model's
    `DRAFT`, if its Modelfile has one."""

    draft_gpu_layers: int | Literal["auto", "all"] | None
    """Number of layers of the draft model on GPUs, like `n_gpu_layers`. Default: `auto`."""

    draft_devices: str | Sequence[str] | None
    """Names of the devices that the draft model may use. Default: those of the model."""

    chat_template: str | None
    """A chat template (Jinja) that replaces the model's. Default: the model's."""

    context_size: int | None
    """Context size in tokens, shared by all concurrent requests; 0 is the model's training context.
    Default: the model's training context, at most 8192."""

    batch_size: int | None
    """Maximum number of tokens in one step of the engine (the logical batch); every running request
    always has at least one. Default: 2048."""

    ubatch_size: int | None
    """Maximum number of tokens in one computation (the physical batch). Default: 512."""

    n_threads: int | None
    """Threads for generation. Default: one per physical core."""

    n_threads_batch: int | None
    """Threads for prompt processing. Default: the same as for generation."""

    n_parallel: int | None
    """Maximum number of concurrent requests; further ones wait. Default: 4."""

    max_queue: int | None
    """Maximum number of waiting requests; further ones are rejected as `Busy`. Default:
    unlimited."""

    prefix_cache: int | None
    """Maximum number of tokens of finished requests that stay in the KV cache, for reuse by
    requests with the same prefix. Default: as many as fit; 0 turns prefix sharing off, also between
    concurrent requests."""

    cache_ram: str | int | None
    """System RAM for tokens evicted from the KV cache and for checkpoints: both are copied back
    instead of recomputed. A number of bytes, or a text with a unit, such as `2GiB`. Default: a
    quarter of the free memory at load time, at most 8 GiB; 0 turns it off."""

    checkpoint_every: int | None
    """Tokens between checkpoints of state that cannot be truncated: recurrent states and sliding
    windows. A checkpoint is also made at the end of each prompt and before its last message. 0
    turns checkpoints off. Default: 2048."""

    swa_full: bool | None
    """Whether layers with a sliding window have cells for the whole context. If not, they need much
    less memory, but prompts share prefixes only up to a checkpoint. Default: false."""

    max_stall: float | None
    """How many times longer the time between tokens of other answers may become while a prompt is
    processed. Default: 4.0."""

    kv_cache_type: KvCacheType | tuple[KvCacheType, KvCacheType] | None
    """Data type of the KV cache, one value or a pair for keys and values: `f32`, `f16`, `bf16`,
    `q8_0`, `q5_1`, `q5_0`, `q4_1`, `q4_0` or `iq4_nl`. Quantised values require flash attention.
    Default: `f16`."""

    offload_kqv: bool | None
    """Whether the KV cache of a layer is on the layer's device; otherwise it is in system RAM.
    Default: true."""

    flash_attention: Literal["auto", "on", "off"] | None
    """Flash attention: `auto`, `on` or `off`. Default: `auto`."""

    rope_freq_base: float | None
    """Base frequency of the rotary position embedding. Default: the model's."""

    rope_freq_scale: float | None
    """Scale of the rotary position embedding's frequency. Default: the model's."""

    warmup: bool | None
    """Whether a full-size computation runs before the model is ready, so that a lack of memory is
    detected while loading. Default: true if a GPU is used, unless `MULLAMA_WARMUP` is 0."""


class GenerateOptions(TypedDict, total=False):
    """Options of a generation."""

    max_tokens: int | None
    """Maximum number of tokens to generate; 0 only processes the prompt, for later requests that
    start with it, -1 is the default. Default: until the model stops or the context is full."""

    timeout: float | None
    """Time limit in seconds, from the call on. The generation then ends with the partial answer, as
    if it were cancelled. Default: none."""

    temperature: float | None
    """Sampling temperature, which divides the logits: values below 1 sharpen the distribution,
    values above 1 flatten it, 0 always picks the most likely token. Default: 0.8."""

    top_k: int | None
    """Limit sampling to the K most likely tokens; 0 or -1 turns it off. Default: 40."""

    top_p: float | None
    """Limit sampling to the most likely tokens whose probabilities add up to P; 1 turns it off.
    Default: 0.95."""

    min_p: float | None
    """Limit sampling to tokens at least P times as likely as the most likely one; 0 turns it off.
    Default: 0.05."""

    typical_p: float | None
    """Locally typical sampling with mass P (arXiv:2202.00666); 1 turns it off. Default: 1.0."""

    top_n_sigma: float | None
    """Limit sampling to logits within N standard deviations of the highest (arXiv:2411.07641); -1
    turns it off. Default: -1.0."""

    xtc_probability: float | None
    """Probability of excluding the top choices; 0 turns it off. Default: 0.0."""

    xtc_threshold: float | None
    """Probability above which a token counts as a top choice for XTC. Default: 0.1."""

    dynatemp_range: float | None
    """Half the width of the dynamic temperature's range; 0 turns it off. Default: 0.0."""

    dynatemp_exponent: float | None
    """How entropy maps to the dynamic temperature. Default: 1.0."""

    dry_multiplier: float | None
    """Strength of the DRY penalty against repeated sequences; 0 turns it off. Default: 0.0."""

    dry_base: float | None
    """Base of the DRY penalty, which grows with the length of a repetition. Default: 1.75."""

    dry_allowed_length: int | None
    """Longest repetition, in tokens, that DRY does not penalise. Default: 2."""

    dry_penalty_last_n: int | None
    """Number of previous tokens that DRY considers; 0 turns it off, -1 means the whole context.
    Default: -1."""

    dry_sequence_breakers: Sequence[str] | None
    """Texts that end a repetition for DRY. Default: newline, `:`, `"` and `*`."""

    mirostat: int | None
    """Mirostat (arXiv:2007.14966), version 1 or 2, which replaces the truncating samplers; 0 turns
    it off. Default: 0."""

    mirostat_tau: float | None
    """Mirostat's target surprise, in bits. Default: 5.0."""

    mirostat_eta: float | None
    """Mirostat's learning rate. Default: 0.1."""

    adaptive_p: float | None
    """Adaptive-P: the probability near which tokens are chosen over time; -1 turns it off. Best
    with `min_p` as the only truncating sampler. Default: -1.0."""

    adaptive_p_decay: float | None
    """How fast Adaptive-P forgets earlier tokens: it looks back on about 1 / (1 - decay) of them.
    Default: 0.9."""

    repeat_penalty: float | None
    """Divides the logits of recent tokens; 1 turns it off. Default: 1.0."""

    frequency_penalty: float | None
    """Subtracted from a recent token's logit for each occurrence; 0 turns it off. Default: 0.0."""

    presence_penalty: float | None
    """Subtracted from a recent token's logit if it occurred at all; 0 turns it off. Default:
    0.0."""

    repeat_last_n: int | None
    """Number of previous tokens that the three penalties consider, including the prompt's; 0 turns
    them off, -1 means the whole context. Default: 64."""

    samplers: Sequence[SamplerKind] | None
    """The samplers that run, in this order. Samplers that are not named do not run; with
    `temperature` 0, the most likely of the remaining tokens is chosen in any case. Not for
    `mirostat`. Default: penalties, dry, top_n_sigma, top_k, typical_p, top_p, min_p, xtc,
    temperature."""

    logits_processors: LogitsProcessor | Sequence[LogitsProcessor] | None
    """Functions that change the logits before the samplers see them. Each is called with the tokens
    so far, those of the prompt included, and with the logits, which it changes in place. Default:
    none."""

    logit_bias: Mapping[int, float | Literal[False]] | None
    """Values added to the logits of tokens, by id; `false` instead of a number forbids the token.
    Default: none."""

    seed: int | None
    """Random seed. The same seed, prompt and options produce the same text, except where concurrent
    requests, cached tokens or drafting change the last bits of the results; `reproducible` rules
    that out. -1 is the default. Default: random."""

    reproducible: bool | None
    """Whether results are the same to the last bit each time, on the same machine with the same
    model options. The request then runs alone, after the KV cache has been emptied, and without
    drafting; other requests wait. Set `seed` too, or `temperature` to 0. Default: false."""

    stop: str | Sequence[str] | None
    """Stop sequences; they are not part of the result. Default: none."""

    banned_phrases: Sequence[str] | None
    """Texts that the generated text never contains, as they are written. When one has been
    generated, generation goes back to its first token and chooses another. Default: none."""

    ignore_eos: bool | None
    """Whether to continue when the model generates its end-of-generation token. Default: false."""

    overflow: Literal["error", "truncate", "shift", "compact"] | None
    """What happens when the context is full. `error`: a prompt that is too long fails, and an
    answer ends there (finish reason `length`). `truncate`, for chats: the oldest turns are left out
    of the prompt. `shift`, for `generate` and `stream`: the oldest tokens are dropped, and the
    generation continues. `compact`, for conversations (`start_chat`): the oldest turns are replaced
    by a summary. Default: `error`."""

    infill_suffix: str | None
    """The text after the gap to fill in (fill in the middle); the prompt is the text before it. For
    models that were trained for it. Default: none; the generated text continues the prompt."""

    grammar: str | None
    """A grammar (GBNF) that the text must match. Default: none."""

    lark: str | None
    """A Lark grammar that the text must match, in the dialect of llguidance: rules in lower case,
    terminals in upper case, `start` as the first rule, `%json {...}` for JSON schemas. Default:
    none."""

    regex: str | None
    """A regular expression that the whole text must match, in the syntax of Rust's library for them
    (<https://docs.rs/regex>). Default: none."""

    json_schema: Mapping[str, object] | str | bool | None
    """A JSON schema that the text must match. Default: none."""

    lora: Lora | None
    """LoRA adapters for this request, instead of the model's: paths of GGUF files, each with an
    optional scale; an empty list turns adapters off. Default: the adapters that the model was
    loaded with or that `set_lora` has set since."""

    prompt_lookup: int | None
    """Maximum number of tokens to draft per step, copied from the last place where the same tokens
    occurred (prompt lookup decoding). Each is verified against the model's own choice, so the text
    is the same except for ties: results of larger batches differ in the last bits. Useful when
    answers repeat the prompt. Default: 0, which is off."""

    draft: Literal["auto", "off", "model", "lookup", "mtp"] | None
    """How tokens are drafted: `model` by the draft model, `lookup` by prompt lookup (at most
    `prompt_lookup` tokens, or `draft_max`), `off` not at all, `auto` by the draft model if the
    model was loaded with one, and by prompt lookup if `prompt_lookup` is set. Drafting stops while
    it does not save time. Default: `auto`."""

    draft_max: int | None
    """Maximum number of tokens that the draft model drafts per step; 0 turns it off. Within it, the
    number follows how many drafted tokens are accepted, and how long steps take. Default: 8."""

    priority: int | None
    """Priority among waiting requests: higher values run first. Default: 0."""

    client: str | None
    """The client that the request belongs to. Waiting requests with the same priority are scheduled
    round-robin by client, so a client with many requests cannot starve others. Default: the same
    client for all."""

    request_id: str | None
    """The id of the request in `requests()` and for `cancel_request`, which no other active request
    may have. Default: a number."""

    prompt_progress: bool | None
    """Whether a stream reports the progress of prompt processing, in chunks before the first token.
    Default: false."""

    logprobs: int | None
    """Return log probabilities of each token and of this many of the most likely alternatives.
    Default: off."""


class ChatOptions(GenerateOptions, total=False):
    """Options of a chat."""

    tools: Sequence[Mapping[str, object] | Callable[..., object] | Tool] | None
    """Tools that the model may call, in OpenAI's format; in Python and Node.js also functions.
    Default: none."""

    tool_choice: Literal["auto", "none", "required"] | Mapping[str, object] | None
    """Which tools the model calls: `auto`, `none`, `required`, or a specific one as `{"type":
    "function", "function": {"name": ...}}`. Default: `auto`."""

    parallel_tool_calls: bool | None
    """Whether one answer may contain several tool calls. Default: false."""

    response_format: Mapping[str, object] | type[Any] | None
    """`{"type": "text"}`, `{"type": "json_object"}`, or `{"type": "json_schema", "json_schema":
    {"schema": ...}}`. Default: text."""

    reasoning: bool | None
    """Whether a model that can reason does so before it answers. Default: true."""

    reasoning_budget: int | None
    """Maximum number of reasoning tokens. When they are exhausted, the template's end-of-reasoning
    tag is inserted and the answer follows. Default: none."""

    parse_special: bool | None
    """Whether special tokens written in messages, tools and arguments are parsed as special tokens.
    Otherwise they are plain text, so the author of a message cannot end it and start another.
    Default: false."""

    continue_final_message: bool | None
    """Whether the answer continues a last message of the assistant; the result then contains only
    the continuation. Otherwise the answer is a separate message. Default: false."""

    chat_template: str | None
    """A chat template (Jinja) for this chat. Default: the model's."""

    template_kwargs: Mapping[str, object] | None
    """Arguments for the chat template. Default: none."""


class EmbedOptions(TypedDict, total=False):
    """Options of an embedding."""

    pooling: Literal["mean", "cls", "last", "none", "rank"] | None
    """How the token vectors of a text are combined: `mean` (their average), `cls` (the first),
    `last` (the last), `none` (no pooling: all of them, as a matrix), or `rank` (the scores of a
    classification head). Default: the model's, else `mean`."""

    normalize: bool | None
    """Whether each vector is scaled to length 1. Default: true, except for `pooling` `rank`."""

    dimensions: int | None
    """Number of dimensions to retain, from the first on, for models that were trained for it
    (Matryoshka); vectors are normalised afterwards. Default: all."""

    truncate: Literal["none", "end", "start"] | None
    """How to handle a text with more tokens than the model accepts: `none` (reject it), `end` or
    `start` (cut off that part; `usage` reports how much). Default: `none`."""

    add_special: bool | None
    """Whether to add the special tokens that the model expects around a text. Default: true."""

    parse_special: bool | None
    """Whether special tokens written in a text are parsed as special tokens. Default: false."""

    timeout: float | None
    """Time limit of the call, in seconds. Default: none."""


class RerankOptions(TypedDict, total=False):
    """Options of a reranking."""

    top_n: int | None
    """Number of best documents to return. Default: all."""

    truncate: Literal["none", "end", "start"] | None
    """How to handle a document that has, together with the query, more tokens than the model
    accepts: `none` (reject it), `end` or `start` (cut off that part of the document; `usage`
    reports how much). Default: `none`."""

    timeout: float | None
    """Time limit of the call, in seconds. Default: none."""


class PlanOptions(TypedDict, total=False):
    """Options of a plan, in addition to its devices."""

    host_memory: str | int | None
    """System RAM, as a size with a unit (`64GiB`) or in bytes. Default: the free memory of this
    machine; for a described device with shared memory, the part that the device does not use."""

    host_bandwidth: str | None
    """The bandwidth of system RAM, such as `80GB/s` or `2x DDR5-5600`. Default: measured on this
    machine."""

    alternatives: bool | None
    """Whether other settings and quantisations are planned too if the model does not fit on GPUs
    completely. Default: true."""

    n_gpu_layers: int | Literal["auto", "all"] | None
    """Number of layers on GPUs: -1 or `all` for all, 0 for none, N for that many, `auto` for as
    many as fit. The output layer counts as one. A number above the model's layers, such as 99 or
    999, means all, or as many as fit. Default: `auto`."""

    split_mode: Literal["none", "layer", "row", "tensor"] | None
    """How a model is split across several GPUs: `none`, `layer`, `row`, `tensor`. Default:
    `layer`."""

    tensor_split: Sequence[float] | None
    """Share of each GPU, in any unit. Default: by free memory; equal in split mode `tensor`."""

    main_gpu: int | None
    """Index of the GPU to fill first; in split mode `none`, the only one used. Default: 0."""

    max_gpus: int | None
    """Maximum number of GPUs to use: those with the most free memory, or the first of `devices`.
    Default: all."""

    rpc_servers: str | Sequence[str] | None
    """Remote workers that may be used, as `host:port`; their devices come before those of this
    machine. Default: none."""

    tensor_overrides: Mapping[str, str] | None
    """Devices for individual tensors, by regular expression over tensor names; the first match
    applies. `CPU` is system RAM. Default: none."""

    cpu_moe: bool | None
    """Whether all experts of a mixture-of-experts model are in system RAM. Default: false."""

    n_cpu_moe: int | None
    """Number of layers, from the first on, whose experts are in system RAM. Default: 0."""

    projector: str | None
    """Projector for pictures: the path of its file, `none`, or `auto` for the one that belongs to
    the model, in the store or next to its file (`mmproj*.gguf`). Default: `auto`."""

    load_projector: bool | None
    """Whether the projector is loaded with the model, instead of with the first picture. Default:
    false."""

    media_limits: Mapping[str, int] | None
    """Limits of pictures: `pixels` of each, `bytes` of its file, `pictures` in a chat. Default: 100
    million pixels, 64 MiB, 256 pictures."""

    cpu_kernels: Literal["auto", "own", "engine"] | None
    """Kernels that compute on the processor: `own` for mullama's, `engine` for llama.cpp's, `auto`
    for `own` where the processor has AVX2, unless `MULLAMA_KERNELS` says otherwise. Default:
    `auto`."""

    cuda: CudaSettings | None
    """Settings of the CUDA backend (`graphs`, `fusion`, `offload_min_batch`, `allreduce`, ...),
    which apply to the whole process. Default: the backend's."""

    use_mmap: bool | None
    """Whether the file is memory-mapped instead of read. Default: true."""

    use_mlock: bool | None
    """Whether the model is locked in memory, so that it cannot be swapped out. Default: false."""

    check_tensors: bool | None
    """Whether the weights are checked for invalid values while loading. Default: false."""

    vocab_only: bool | None
    """Whether only the vocabulary is loaded: such a model can only tokenise. Default: false."""

    metadata_overrides: Mapping[str, str | int | float | bool] | None
    """Values that override the file's metadata, by key. Default: none."""

    lora: Lora | None
    """LoRA adapters for requests that do not specify any: paths of GGUF files, each with an
    optional scale. Default: none."""

    draft_model: str | None
    """A second, smaller model with the same vocabulary that drafts tokens for this one (speculative
    decoding): a path or a name, as for the model itself; `none` for none. Default: the model's
    `DRAFT`, if its Modelfile has one."""

    draft_gpu_layers: int | Literal["auto", "all"] | None
    """Number of layers of the draft model on GPUs, like `n_gpu_layers`. Default: `auto`."""

    draft_devices: str | Sequence[str] | None
    """Names of the devices that the draft model may use. Default: those of the model."""

    chat_template: str | None
    """A chat template (Jinja) that replaces the model's. Default: the model's."""

    context_size: int | None
    """Context size in tokens, shared by all concurrent requests; 0 is the model's training context.
    Default: the model's training context, at most 8192."""

    batch_size: int | None
    """Maximum number of tokens in one step of the engine (the logical batch); every running request
    always has at least one. Default: 2048."""

    ubatch_size: int | None
    """Maximum number of tokens in one computation (the physical batch). Default: 512."""

    n_threads: int | None
    """Threads for generation. Default: one per physical core."""

    n_threads_batch: int | None
    """Threads for prompt processing. Default: the same as for generation."""

    n_parallel: int | None
    """Maximum number of concurrent requests; further ones wait. Default: 4."""

    max_queue: int | None
    """Maximum number of waiting requests; further ones are rejected as `Busy`. Default:
    unlimited."""

    prefix_cache: int | None
    """Maximum number of tokens of finished requests that stay in the KV cache, for reuse by
    requests with the same prefix. Default: as many as fit; 0 turns prefix sharing off, also between
    concurrent requests."""

    cache_ram: str | int | None
    """System RAM for tokens evicted from the KV cache and for checkpoints: both are copied back
    instead of recomputed. A number of bytes, or a text with a unit, such as `2GiB`. Default: a
    quarter of the free memory at load time, at most 8 GiB; 0 turns it off."""

    checkpoint_every: int | None
    """Tokens between checkpoints of state that cannot be truncated: recurrent states and sliding
    windows. A checkpoint is also made at the end of each prompt and before its last message. 0
    turns checkpoints off. Default: 2048."""

    swa_full: bool | None
    """Whether layers with a sliding window have cells for the whole context. If not, they need much
    less memory, but prompts share prefixes only up to a checkpoint. Default: false."""

    max_stall: float | None
    """How many times longer the time between tokens of other answers may become while a prompt is
    processed. Default: 4.0."""

    kv_cache_type: KvCacheType | tuple[KvCacheType, KvCacheType] | None
    """Data type of the KV cache, one value or a pair for keys and values: `f32`, `f16`, `bf16`,
    `q8_0`, `q5_1`, `q5_0`, `q4_1`, `q4_0` or `iq4_nl`. Quantised values require flash attention.
    Default: `f16`."""

    offload_kqv: bool | None
    """Whether the KV cache of a layer is on the layer's device; otherwise it is in system RAM.
    Default: true."""

    flash_attention: Literal["auto", "on", "off"] | None
    """Flash attention: `auto`, `on` or `off`. Default: `auto`."""

    rope_freq_base: float | None
    """Base frequency of the rotary position embedding. Default: the model's."""

    rope_freq_scale: float | None
    """Scale of the rotary position embedding's frequency. Default: the model's."""

    warmup: bool | None
    """Whether a full-size computation runs before the model is ready, so that a lack of memory is
    detected while loading. Default: true if a GPU is used, unless `MULLAMA_WARMUP` is 0."""
