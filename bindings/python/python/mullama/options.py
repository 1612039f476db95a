"""What calls take as keyword arguments, for type checkers and for reading.

Every option can be left out or be None, which both mean its default.

Written by `generate_stubs.py` from the options of the core; do not edit.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypeAlias, TypedDict

from mullama._tools import Tool

__all__ = [
    "ChatOptions",
    "EmbedOptions",
    "GenerateOptions",
    "KvCacheType",
    "LoadOptions",
    "Lora",
    "PlanOptions",
    "RerankOptions",
]

KvCacheType: TypeAlias = Literal[
    "f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"
]
"""The number format of the KV cache."""

Lora: TypeAlias = (
    str | PathLike[str] | Sequence[str | PathLike[str] | tuple[str | PathLike[str], float]]
)
"""LoRA adapters: a path, or a list of paths and of pairs of a path and a scale."""


class LoadOptions(TypedDict, total=False):
    """What loading a model takes."""

    n_gpu_layers: int | Literal["auto"] | None
    """Layers on GPUs: -1 (`All`) all of them, 0 none, N that many, `Auto` what fits. The output
    layer counts as one. Default: `Auto`."""

    split_mode: Literal["none", "layer", "row", "tensor"] | None
    """How a model is divided among several GPUs: `none`, `layer`, `row`, `tensor`. Default:
    `layer`."""

    tensor_split: Sequence[float] | None
    """Share of the model for each GPU, in any unit. Default: by free memory."""

    main_gpu: int | None
    """The GPU that holds everything in split mode `none`, by its index. Default: 0."""

    devices: Sequence[str] | None
    """Devices that may be used, by their names; `auto` fills them in this order. Default: all."""

    rpc_servers: Sequence[str] | None
    """Workers on other machines that may be used, as `host:port`; their devices come before this
    machine's. Default: none."""

    tensor_overrides: Mapping[str, str] | None
    """Devices for tensors, by a pattern (regular expression) over their names, the first that
    matches; `CPU` is the machine's own memory. Default: none."""

    cpu_moe: bool | None
    """Whether the experts of a mixture stay in the machine's own memory. Default: false."""

    n_cpu_moe: int | None
    """Of how many layers, from the first on, the experts stay in the machine's own memory. Default:
    0."""

    use_mmap: bool | None
    """Whether the file is mapped into memory rather than read. Default: true."""

    use_mlock: bool | None
    """Whether the model is kept from being swapped out. Default: false."""

    check_tensors: bool | None
    """Whether the weights are checked for invalid values while loading. Default: false."""

    vocab_only: bool | None
    """Whether only the vocabulary is loaded: such a model tokenises and does nothing else. Default:
    false."""

    metadata_overrides: Mapping[str, str | int | float | bool] | None
    """Values that replace those of the file's metadata, by key. Default: none."""

    lora: Lora | None
    """LoRA adapters that requests use where they name none: paths of GGUF files, alone or each with
    a scale. Default: none."""

    chat_template: str | None
    """A chat template (Jinja) in place of the model's. Default: the model's."""

    context_size: int | None
    """Tokens of context, shared by all requests that run at once. Default: what the model was
    trained with, at most 8192."""

    batch_size: int | None
    """Most tokens in one step of the engine (the logical batch); each request that runs has one in
    any case. Default: 2048."""

    ubatch_size: int | None
    """Most tokens in one computation (the physical batch). Default: 512."""

    n_threads: int | None
    """Threads that generate. Default: one for each physical core."""

    n_threads_batch: int | None
    """Threads that process prompts. Default: as many as generate."""

    n_parallel: int | None
    """Most requests that run at once; the others wait. Default: 4."""

    prefix_cache: int | None
    """Most tokens of finished requests that are kept in the KV cache, for requests that begin
    alike. Default: as many as there is room for; 0 keeps none, and requests that run at once share
    nothing either."""

    cache_ram: int | None
    """Megabytes (MiB) of system RAM for what leaves the KV cache, and for checkpoints: both are
    copied back instead of computed again. Default: a quarter of what is free when the model is
    loaded, at most 8192; 0 turns it off."""

    checkpoint_every: int | None
    """Tokens between checkpoints of memory that cannot be cut: recurrent states and sliding
    windows. A checkpoint is also made at the end of each prompt and before its last message. 0
    makes none. Default: 2048."""

    swa_full: bool | None
    """Whether layers with a sliding window keep cells of the whole context. Without, they take much
    less memory, and prompts share what they begin with up to a checkpoint only. Default: false."""

    max_stall: float | None
    """How many times longer a prompt that is being processed may make the time between tokens of
    other answers. Default: 4.0."""

    kv_cache_type: KvCacheType | tuple[KvCacheType, KvCacheType] | None
    """Type of the KV cache, one or a pair for keys and values: `f32`, `f16`, `bf16`, `q8_0`,
    `q5_1`, `q5_0`, `q4_1`, `q4_0` or `iq4_nl`. Quantised values need flash attention. Default:
    `f16`."""

    offload_kqv: bool | None
    """Whether the KV cache of a layer lies on the layer's device, else in the machine's own memory.
    Default: true."""

    flash_attention: Literal["auto", "on", "off"] | None
    """Flash attention: `auto`, `on` or `off`. Default: `auto`."""

    rope_freq_base: float | None
    """Base frequency of the rotary position embedding. Default: the model's."""

    rope_freq_scale: float | None
    """Scale of the rotary position embedding's frequency. Default: the model's."""

    warmup: bool | None
    """Whether a computation of full size is made before the model is ready, so that a lack of
    memory shows then. Default: where a GPU is used, unless `MULLAMA_WARMUP` is 0."""


class GenerateOptions(TypedDict, total=False):
    """What a generation takes."""

    max_tokens: int | None
    """Most tokens to generate. Default: to the end that the model chooses, or of the context."""

    timeout: float | None
    """Seconds from the call on after which the generation ends with what there is, as if it were
    cancelled. Default: none."""

    temperature: float | None
    """Divides the logits before the draw: below 1 sharpens, above 1 flattens, 0 always takes the
    likeliest token. Default: 0.8."""

    top_k: int | None
    """Keep the K likeliest tokens; 0 keeps all. Default: 40."""

    top_p: float | None
    """Keep the likeliest tokens that together have probability P; 1 keeps all. Default: 0.95."""

    min_p: float | None
    """Keep tokens at least P times as likely as the likeliest; 0 keeps all. Default: 0.05."""

    typical_p: float | None
    """Locally typical sampling with mass P (arXiv:2202.00666); 1 is off. Default: 1.0."""

    top_n_sigma: float | None
    """Keep logits within N standard deviations of the highest (arXiv:2411.07641); -1 is off.
    Default: -1.0."""

    xtc_probability: float | None
    """Chance to exclude the top choices; 0 is off. Default: 0.0."""

    xtc_threshold: float | None
    """Probability above which a token counts as a top choice for XTC. Default: 0.1."""

    dynatemp_range: float | None
    """Half the width of the range of the dynamic temperature; 0 is off. Default: 0.0."""

    dynatemp_exponent: float | None
    """How entropy maps to the dynamic temperature. Default: 1.0."""

    dry_multiplier: float | None
    """Strength of the DRY penalty against repeated sequences; 0 is off. Default: 0.0."""

    dry_base: float | None
    """Base of the DRY penalty, which grows with the length of a repetition. Default: 1.75."""

    dry_allowed_length: int | None
    """Longest repetition, in tokens, that DRY lets pass. Default: 2."""

    dry_penalty_last_n: int | None
    """Tokens that DRY looks back; 0 is off, -1 the whole context. Default: -1."""

    dry_sequence_breakers: Sequence[str] | None
    """Texts that end a repetition for DRY. Default: newline, `:`, `"` and `*`."""

    mirostat: int | None
    """Mirostat (arXiv:2007.14966), version 1 or 2, in place of the truncating samplers; 0 is off.
    Default: 0."""

    mirostat_tau: float | None
    """Mirostat's target surprise, in bits. Default: 5.0."""

    mirostat_eta: float | None
    """Mirostat's learning rate. Default: 0.1."""

    repeat_penalty: float | None
    """Divides the logits of recent tokens; 1 is off. Default: 1.0."""

    frequency_penalty: float | None
    """Taken from a recent token's logit for each time it occurred; 0 is off. Default: 0.0."""

    presence_penalty: float | None
    """Taken from a recent token's logit if it occurred at all; 0 is off. Default: 0.0."""

    repeat_last_n: int | None
    """Tokens that the three penalties look back, the prompt's included; 0 is off, -1 the whole
    context. Default: 64."""

    logit_bias: Mapping[int, float | Literal[False]] | None
    """Added to the logits of tokens, by id; `false` in place of a number forbids the token.
    Default: none."""

    seed: int | None
    """Seed of the draw: the same seed gives the same text, as long as no other request runs beside
    it (what is computed together differs in the last bits). Such a prompt is always computed anew.
    Default: a random one."""

    stop: str | Sequence[str] | None
    """Texts that end the generation; they are not part of the result. Default: none."""

    ignore_eos: bool | None
    """Whether to go on when the model says that it is done. Default: false."""

    grammar: str | None
    """A grammar (GBNF) that the text must follow. Default: none."""

    json_schema: Mapping[str, Any] | str | bool | None
    """A JSON schema that the text must follow. Default: none."""

    lora: Lora | None
    """LoRA adapters for this request in place of the model's: paths of GGUF files, alone or each
    with a scale; an empty list is the model without any. Default: what the model was loaded with,
    or `set_lora` set since."""

    prompt_lookup: int | None
    """Most tokens to guess ahead in a step, from what followed in the text where it went the same
    way before (prompt lookup decoding). Each is held against the model's own choice, so that the
    text stays what it would be, but for ties: what is computed together differs in the last bits.
    Pays where answers repeat what the prompt says. Default: 0, which is off."""

    logprobs: int | None
    """Report log probabilities: of each token and of this many likeliest alternatives. Default:
    off."""


class ChatOptions(GenerateOptions, total=False):
    """What a chat takes."""

    tools: Sequence[Mapping[str, Any] | Callable[..., Any] | Tool] | None
    """Tools that the model may call, in OpenAI's shape; functions too, in Python and Node.js.
    Default: none."""

    tool_choice: Literal["auto", "none", "required"] | Mapping[str, Any] | None
    """Whether tools are called: `auto`, `none`, `required`, or one by name as `{"type": "function",
    "function": {"name": ...}}`. Default: `auto`."""

    parallel_tool_calls: bool | None
    """Whether several tools may be called in one answer. Default: false."""

    response_format: Mapping[str, Any] | None
    """`{"type": "text"}`, `{"type": "json_object"}`, or `{"type": "json_schema", "json_schema":
    {"schema": ...}}`. Default: text."""

    reasoning: bool | None
    """Whether a model that can reason does so before it answers. Default: true."""

    reasoning_budget: int | None
    """Most tokens of reasoning: when they are spent, it is ended with the tag of the model's own
    template, and the answer follows. Default: none."""

    parse_special: bool | None
    """Whether special tokens that are written out in messages, tools and arguments count as such.
    Else they are text, so that nobody who writes a message can end it and begin another. Default:
    false."""

    template_kwargs: Mapping[str, Any] | None
    """Arguments for the chat template. Default: none."""


class EmbedOptions(TypedDict, total=False):
    """What an embedding takes."""

    pooling: Literal["mean", "cls", "last", "none", "rank"] | None
    """How the vectors of a text's tokens become one: `mean` (their average), `cls` (the first),
    `last` (the last), `none` (all are given, as a matrix), or `rank` (the scores of a
    classification head). Default: the model's, else `mean`."""

    normalize: bool | None
    """Whether each vector is scaled to length 1. Default: true, except for `pooling` `rank`."""

    dimensions: int | None
    """How many numbers of each vector are kept, from the first on, for models that were trained for
    it (Matryoshka); it is scaled afterwards. Default: all."""

    truncate: Literal["none", "end", "start"] | None
    """What becomes of a text with more tokens than the model takes: `none` (it is refused), `end`
    or `start` (that part of it is cut off, and `usage` says how much). Default: `none`."""

    add_special: bool | None
    """Whether the tokens are added that the model expects around a text. Default: true."""

    parse_special: bool | None
    """Whether special tokens that are written out in a text count as such. Default: false."""

    timeout: float | None
    """Seconds after which the call gives up. Default: none."""


class RerankOptions(TypedDict, total=False):
    """What a reranking takes."""

    top_n: int | None
    """How many of the best documents are given. Default: all."""

    truncate: Literal["none", "end", "start"] | None
    """What becomes of a document that has, with the query, more tokens than the model takes: `none`
    (it is refused), `end` or `start` (that part of the document is cut off, and `usage` says how
    much). Default: `none`."""

    timeout: float | None
    """Seconds after which the call gives up. Default: none."""


class PlanOptions(TypedDict, total=False):
    """What a plan takes beside its devices."""

    host_memory: str | int | None
    """The machine's own memory, as a size with its unit (`64GiB`) or in bytes. Default: what is
    free here; of a described device that shares it, what the device leaves."""

    host_bandwidth: str | None
    """The bandwidth of the machine's own memory, such as `80GB/s` or `2x DDR5-5600`. Default:
    measured here."""

    alternatives: bool | None
    """Whether other settings and quantisations are planned too where the model does not fit GPUs as
    a whole. Default: true."""

    n_gpu_layers: int | Literal["auto"] | None
    """Layers on GPUs: -1 (`All`) all of them, 0 none, N that many, `Auto` what fits. The output
    layer counts as one. Default: `Auto`."""

    split_mode: Literal["none", "layer", "row", "tensor"] | None
    """How a model is divided among several GPUs: `none`, `layer`, `row`, `tensor`. Default:
    `layer`."""

    tensor_split: Sequence[float] | None
    """Share of the model for each GPU, in any unit. Default: by free memory."""

    main_gpu: int | None
    """The GPU that holds everything in split mode `none`, by its index. Default: 0."""

    rpc_servers: Sequence[str] | None
    """Workers on other machines that may be used, as `host:port`; their devices come before this
    machine's. Default: none."""

    tensor_overrides: Mapping[str, str] | None
    """Devices for tensors, by a pattern (regular expression) over their names, the first that
    matches; `CPU` is the machine's own memory. Default: none."""

    cpu_moe: bool | None
    """Whether the experts of a mixture stay in the machine's own memory. Default: false."""

    n_cpu_moe: int | None
    """Of how many layers, from the first on, the experts stay in the machine's own memory. Default:
    0."""

    use_mmap: bool | None
    """Whether the file is mapped into memory rather than read. Default: true."""

    use_mlock: bool | None
    """Whether the model is kept from being swapped out. Default: false."""

    check_tensors: bool | None
    """Whether the weights are checked for invalid values while loading. Default: false."""

    vocab_only: bool | None
    """Whether only the vocabulary is loaded: such a model tokenises and does nothing else. Default:
    false."""

    metadata_overrides: Mapping[str, str | int | float | bool] | None
    """Values that replace those of the file's metadata, by key. Default: none."""

    lora: Lora | None
    """LoRA adapters that requests use where they name none: paths of GGUF files, alone or each with
    a scale. Default: none."""

    chat_template: str | None
    """A chat template (Jinja) in place of the model's. Default: the model's."""

    context_size: int | None
    """Tokens of context, shared by all requests that run at once. Default: what the model was
    trained with, at most 8192."""

    batch_size: int | None
    """Most tokens in one step of the engine (the logical batch); each request that runs has one in
    any case. Default: 2048."""

    ubatch_size: int | None
    """Most tokens in one computation (the physical batch). Default: 512."""

    n_threads: int | None
    """Threads that generate. Default: one for each physical core."""

    n_threads_batch: int | None
    """Threads that process prompts. Default: as many as generate."""

    n_parallel: int | None
    """Most requests that run at once; the others wait. Default: 4."""

    prefix_cache: int | None
    """Most tokens of finished requests that are kept in the KV cache, for requests that begin
    alike. Default: as many as there is room for; 0 keeps none, and requests that run at once share
    nothing either."""

    cache_ram: int | None
    """Megabytes (MiB) of system RAM for what leaves the KV cache, and for checkpoints: both are
    copied back instead of computed again. Default: a quarter of what is free when the model is
    loaded, at most 8192; 0 turns it off."""

    checkpoint_every: int | None
    """Tokens between checkpoints of memory that cannot be cut: recurrent states and sliding
    windows. A checkpoint is also made at the end of each prompt and before its last message. 0
    makes none. Default: 2048."""

    swa_full: bool | None
    """Whether layers with a sliding window keep cells of the whole context. Without, they take much
    less memory, and prompts share what they begin with up to a checkpoint only. Default: false."""

    max_stall: float | None
    """How many times longer a prompt that is being processed may make the time between tokens of
    other answers. Default: 4.0."""

    kv_cache_type: KvCacheType | tuple[KvCacheType, KvCacheType] | None
    """Type of the KV cache, one or a pair for keys and values: `f32`, `f16`, `bf16`, `q8_0`,
    `q5_1`, `q5_0`, `q4_1`, `q4_0` or `iq4_nl`. Quantised values need flash attention. Default:
    `f16`."""

    offload_kqv: bool | None
    """Whether the KV cache of a layer lies on the layer's device, else in the machine's own memory.
    Default: true."""

    flash_attention: Literal["auto", "on", "off"] | None
    """Flash attention: `auto`, `on` or `off`. Default: `auto`."""

    rope_freq_base: float | None
    """Base frequency of the rotary position embedding. Default: the model's."""

    rope_freq_scale: float | None
    """Scale of the rotary position embedding's frequency. Default: the model's."""

    warmup: bool | None
    """Whether a computation of full size is made before the model is ready, so that a lack of
    memory shows then. Default: where a GPU is used, unless `MULLAMA_WARMUP` is 0."""
