//! Signatures of calls that take options, for `inspect.signature` and `help`.
//!
//! Written by `generate_stubs.py` from the options of the core; do not edit.

/// The first line of the documentation of what has the given name: its parameters, with all options
/// of a kind. It is for items with `text_signature = None`.
macro_rules! signature {
    ($name:literal, $parameters:literal, $options:ident) => {
        concat!($name, "(", $parameters, option_names!($options), ")\n--\n")
    };
}

/// The options of a kind, as keyword parameters.
#[rustfmt::skip]
macro_rules! option_names {
    (cuda) => { concat!(
        "graphs=None, fusion=None, offload_min_batch=None, allreduce=None, allreduce_type=None, ",
        "mmq=None, unified_memory=None, peer_access=None, pinned_memory=None",
    ) };
    (load) => { concat!(
        "n_gpu_layers=None, split_mode=None, tensor_split=None, main_gpu=None, devices=None, ",
        "max_gpus=None, rpc_servers=None, tensor_overrides=None, cpu_moe=None, n_cpu_moe=None, ",
        "projector=None, load_projector=None, media_limits=None, cpu_kernels=None, cuda=None, ",
        "use_mmap=None, use_mlock=None, check_tensors=None, vocab_only=None, ",
        "metadata_overrides=None, lora=None, draft_model=None, draft_gpu_layers=None, ",
        "draft_devices=None, chat_template=None, context_size=None, batch_size=None, ",
        "ubatch_size=None, n_threads=None, n_threads_batch=None, n_parallel=None, max_queue=None, ",
        "prefix_cache=None, cache_ram=None, checkpoint_every=None, swa_full=None, max_stall=None, ",
        "kv_cache_type=None, offload_kqv=None, flash_attention=None, rope_freq_base=None, ",
        "rope_freq_scale=None, warmup=None",
    ) };
    (generate) => { concat!(
        "max_tokens=None, timeout=None, temperature=None, top_k=None, top_p=None, min_p=None, ",
        "typical_p=None, top_n_sigma=None, xtc_probability=None, xtc_threshold=None, ",
        "dynatemp_range=None, dynatemp_exponent=None, dry_multiplier=None, dry_base=None, ",
        "dry_allowed_length=None, dry_penalty_last_n=None, dry_sequence_breakers=None, ",
        "mirostat=None, mirostat_tau=None, mirostat_eta=None, adaptive_p=None, ",
        "adaptive_p_decay=None, repeat_penalty=None, frequency_penalty=None, presence_penalty=None, ",
        "repeat_last_n=None, samplers=None, logits_processors=None, logit_bias=None, seed=None, ",
        "reproducible=None, stop=None, banned_phrases=None, ignore_eos=None, overflow=None, ",
        "infill_suffix=None, grammar=None, lark=None, regex=None, json_schema=None, lora=None, ",
        "prompt_lookup=None, draft=None, draft_max=None, priority=None, client=None, ",
        "request_id=None, prompt_progress=None, logprobs=None",
    ) };
    (chat) => { concat!(
        "max_tokens=None, timeout=None, temperature=None, top_k=None, top_p=None, min_p=None, ",
        "typical_p=None, top_n_sigma=None, xtc_probability=None, xtc_threshold=None, ",
        "dynatemp_range=None, dynatemp_exponent=None, dry_multiplier=None, dry_base=None, ",
        "dry_allowed_length=None, dry_penalty_last_n=None, dry_sequence_breakers=None, ",
        "mirostat=None, mirostat_tau=None, mirostat_eta=None, adaptive_p=None, ",
        "adaptive_p_decay=None, repeat_penalty=None, frequency_penalty=None, presence_penalty=None, ",
        "repeat_last_n=None, samplers=None, logits_processors=None, logit_bias=None, seed=None, ",
        "reproducible=None, stop=None, banned_phrases=None, ignore_eos=None, overflow=None, ",
        "infill_suffix=None, grammar=None, lark=None, regex=None, json_schema=None, lora=None, ",
        "prompt_lookup=None, draft=None, draft_max=None, priority=None, client=None, ",
        "request_id=None, prompt_progress=None, logprobs=None, tools=None, tool_choice=None, ",
        "parallel_tool_calls=None, response_format=None, reasoning=None, reasoning_budget=None, ",
        "parse_special=None, continue_final_message=None, chat_template=None, template_kwargs=None",
    ) };
    (embed) => { concat!(
        "pooling=None, normalize=None, dimensions=None, truncate=None, add_special=None, ",
        "parse_special=None, timeout=None",
    ) };
    (rerank) => { concat!(
        "top_n=None, truncate=None, timeout=None",
    ) };
    (plan) => { concat!(
        "host_memory=None, host_bandwidth=None, alternatives=None, n_gpu_layers=None, ",
        "split_mode=None, tensor_split=None, main_gpu=None, max_gpus=None, rpc_servers=None, ",
        "tensor_overrides=None, cpu_moe=None, n_cpu_moe=None, projector=None, load_projector=None, ",
        "media_limits=None, cpu_kernels=None, cuda=None, use_mmap=None, use_mlock=None, ",
        "check_tensors=None, vocab_only=None, metadata_overrides=None, lora=None, draft_model=None, ",
        "draft_gpu_layers=None, draft_devices=None, chat_template=None, context_size=None, ",
        "batch_size=None, ubatch_size=None, n_threads=None, n_threads_batch=None, n_parallel=None, ",
        "max_queue=None, prefix_cache=None, cache_ram=None, checkpoint_every=None, swa_full=None, ",
        "max_stall=None, kv_cache_type=None, offload_kqv=None, flash_attention=None, ",
        "rope_freq_base=None, rope_freq_scale=None, warmup=None",
    ) };
}
