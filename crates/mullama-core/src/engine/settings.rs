//! The settings of a context, with all defaults applied.

use std::hash::{Hash, Hasher};

use mullama_sys as sys;

use super::weights::Weights;
use super::window::Window;
use crate::options::{ContextParams, FlashAttention, KvCacheType, check_range};
use crate::runtime::{physical_cores, usable_threads};
use crate::{Error, Result};

/// The largest context size chosen by default.
const MAX_AUTOMATIC_CONTEXT: u32 = 8192;

/// Largest number of finished requests whose cells are cached.
const MAX_CACHED_SEQUENCES: u32 = 28;

/// The same for sequences with a fixed amount of memory: a recurrent state, a sliding window. The scheduler needs them
/// to copy states; everything else is cached in system RAM.
const MAX_CACHED_STATES: u32 = 2;

/// The engine rounds the cells of a sliding window up to a multiple of this (`llama_kv_cache_iswa`).
const WINDOW_PADDING: u32 = 256;

/// The output of a context for the tokens that it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outputs {
    /// Logits, for tokens that request them.
    Logits,
    /// The embedding of each token.
    Embeddings,
    /// The scores of the classification head for each sequence.
    Scores,
}

/// Context parameters with all defaults applied.
#[derive(Debug, Clone)]
pub(crate) struct ContextSettings {
    pub n_ctx: u32,
    pub n_batch: u32,
    pub n_ubatch: u32,
    pub n_threads: u32,
    pub n_threads_batch: u32,
    pub n_parallel: u32,
    /// Largest number of waiting requests.
    pub max_queue: u32,
    pub outputs: Outputs,
    /// Largest number of tokens cached for later requests.
    pub prefix_cache: u32,
    /// Bytes for data evicted from the KV cache and for checkpoints; `None` derives it from the free memory.
    pub cache_ram: Option<usize>,
    /// Tokens between checkpoints; 0 makes none.
    pub checkpoint_every: u32,
    /// Whether sliding windows have cells for the whole context.
    pub swa_full: bool,
    /// Limit of how many times longer a step with a part of a prompt may take than one without.
    pub max_stall: f32,
    pub type_k: KvCacheType,
    pub type_v: KvCacheType,
    pub offload_kqv: bool,
    pub flash_attention: FlashAttention,
    pub rope_freq_base: f32,
    pub rope_freq_scale: f32,
    /// Whether to run a computation before the context is ready; by default if a GPU is used.
    pub warmup: Option<bool>,
}

impl ContextSettings {
    /// Applies the defaults for a model that was trained with a context of `n_ctx_train` tokens.
    pub fn resolve(params: &ContextParams, n_ctx_train: u32) -> Result<Self> {
        // SAFETY: a constant of the engine.
        let most_sequences = unsafe { sys::llama_max_parallel_sequences() } as u32;
        params.check()?;
        let n_ctx = match params.n_ctx {
            None => n_ctx_train.clamp(1, MAX_AUTOMATIC_CONTEXT),
            Some(0) => n_ctx_train.clamp(1, i32::MAX as u32),
            Some(n_ctx) => n_ctx,
        };
        let n_batch = params.settled_n_batch();
        let n_ubatch = params.n_ubatch.unwrap_or(512.min(n_batch));
        check_range("ubatch_size", &n_ubatch, &(1..=n_batch))?;
        let n_parallel = params.settled_n_parallel();
        check_range("n_parallel", &n_parallel, &(1..=most_sequences))?;
        let n_threads = params.n_threads.unwrap_or_else(physical_cores);
        let kv = params.kv_cache_type.unwrap_or_default();
        let flash_attention = params.flash_attention.unwrap_or_default();
        let plain = [KvCacheType::F32, KvCacheType::F16, KvCacheType::Bf16];
        if flash_attention == FlashAttention::Off && !plain.contains(&kv.values) {
            let problem = "quantised values need flash attention, which is off";
            return Err(Error::option("kv_cache_type", problem));
        }
        Ok(Self {
            n_ctx,
            n_batch,
            n_ubatch,
            n_threads,
            n_threads_batch: params.n_threads_batch.unwrap_or(n_threads),
            n_parallel,
            max_queue: params.max_queue.unwrap_or(u32::MAX),
            outputs: Outputs::Logits,
            prefix_cache: params.prefix_cache.unwrap_or(u32::MAX),
            cache_ram: params.cache_ram.map(|size| usize::try_from(size.0).unwrap_or(usize::MAX)),
            checkpoint_every: params.settled_checkpoint_every(),
            swa_full: params.settled_swa_full(),
            max_stall: params.settled_max_stall(),
            type_k: kv.keys,
            type_v: kv.values,
            offload_kqv: params.settled_offload_kqv(),
            flash_attention,
            rope_freq_base: params.rope_freq_base.unwrap_or(0.0),
            rope_freq_scale: params.rope_freq_scale.unwrap_or(0.0),
            // A software renderer takes half a minute for what a GPU does at once.
            warmup: params.warmup.or_else(|| {
                std::env::var("MULLAMA_WARMUP").is_ok_and(|value| value == "0").then_some(false)
            }),
        })
    }

    /// The settings of a draft model's context. Guesses are taken back, which short windows do not allow.
    pub fn of_draft(&self) -> Self {
        Self {
            swa_full: true,
            type_k: KvCacheType::F16,
            type_v: KvCacheType::F16,
            rope_freq_base: 0.0,
            rope_freq_scale: 0.0,
            ..self.clone()
        }
    }

    /// Threads that generate, and threads that process prompts.
    pub fn threads(&self) -> [u32; 2] {
        [self.n_threads, self.n_threads_batch].map(usable_threads)
    }

    /// Number of sequences for running requests plus `kept` cached ones, within the engine's limit.
    fn n_sequences(&self, kept: u32) -> u32 {
        // SAFETY: a constant of the engine.
        let most = unsafe { sys::llama_max_parallel_sequences() } as u32;
        (self.n_parallel + kept).min(most)
    }

    /// The model's sliding window, if it has fewer cells than the context.
    pub(super) fn short_window(&self, weights: &Weights) -> Option<Window> {
        // Embeddings are computed in one piece, which can be longer than a window.
        let wanted = !self.swa_full && self.outputs == Outputs::Logits;
        let window = weights.window().filter(|_| wanted)?;
        let cells = window.size.saturating_mul(self.n_sequences(MAX_CACHED_STATES));
        let cells = cells.saturating_add(self.n_ubatch);
        (cells.next_multiple_of(WINDOW_PADDING) < self.n_ctx).then_some(window)
    }

    pub(super) fn raw(&self, weights: &Weights) -> sys::llama_context_params {
        let has_short_windows = self.short_window(weights).is_some();
        let kept = match self.outputs {
            Outputs::Logits if has_short_windows || weights.has_state() => MAX_CACHED_STATES,
            Outputs::Logits => MAX_CACHED_SEQUENCES,
            _ => 0,
        };
        // SAFETY: a plain struct of defaults.
        let mut raw = unsafe { sys::llama_context_default_params() };
        raw.n_ctx = self.n_ctx;
        // Each running request has a token in a step.
        raw.n_batch = self.n_batch.max(self.n_parallel);
        raw.n_ubatch = self.n_ubatch;
        raw.n_seq_max = self.n_sequences(kept);
        raw.swa_full = !has_short_windows;
        // The engine plans buffers for this number of outputs: one per sequence, or per guess.
        raw.n_outputs_max = match self.outputs {
            Outputs::Logits if !weights.has_state() => self.n_sequences(MAX_CACHED_SEQUENCES),
            _ => raw.n_seq_max,
        };
        [raw.n_threads, raw.n_threads_batch] = self.threads().map(|count| count as i32);
        raw.flash_attn_type = match self.flash_attention {
            FlashAttention::Auto => sys::LLAMA_FLASH_ATTN_TYPE_AUTO,
            FlashAttention::On => sys::LLAMA_FLASH_ATTN_TYPE_ENABLED,
            FlashAttention::Off => sys::LLAMA_FLASH_ATTN_TYPE_DISABLED,
        };
        raw.type_k = ggml_type(self.type_k);
        raw.type_v = ggml_type(self.type_v);
        raw.rope_freq_base = self.rope_freq_base;
        raw.rope_freq_scale = self.rope_freq_scale;
        raw.offload_kqv = self.offload_kqv;
        raw.no_perf = true;
        if self.outputs != Outputs::Logits {
            raw.embeddings = true;
            // The engine would pool each batch separately, but a batch may contain only part of a text.
            raw.pooling_type = match self.outputs {
                Outputs::Scores => sys::LLAMA_POOLING_TYPE_RANK,
                _ => sys::LLAMA_POOLING_TYPE_NONE,
            };
            raw.n_outputs_max = self.n_batch;
        }
        // All sequences share one pool of cells, so none is limited before the pool is full.
        raw.kv_unified = true;
        raw
    }
}

/// Hashes everything that decides how much memory a context takes.
impl Hash for ContextSettings {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            n_ctx,
            n_batch,
            n_ubatch,
            n_threads: _,
            n_threads_batch: _,
            n_parallel,
            outputs,
            prefix_cache: _,
            cache_ram: _,
            checkpoint_every: _,
            swa_full,
            max_stall: _,
            type_k,
            type_v,
            offload_kqv,
            flash_attention,
            rope_freq_base: _,
            rope_freq_scale: _,
            max_queue: _,
            warmup: _,
        } = self;
        (n_ctx, n_batch, n_ubatch, n_parallel, outputs).hash(state);
        (type_k, type_v, offload_kqv, flash_attention, swa_full).hash(state);
    }
}

fn ggml_type(ty: KvCacheType) -> sys::ggml_type {
    match ty {
        KvCacheType::F32 => sys::GGML_TYPE_F32,
        KvCacheType::F16 => sys::GGML_TYPE_F16,
        KvCacheType::Bf16 => sys::GGML_TYPE_BF16,
        KvCacheType::Q8_0 => sys::GGML_TYPE_Q8_0,
        KvCacheType::Q5_1 => sys::GGML_TYPE_Q5_1,
        KvCacheType::Q5_0 => sys::GGML_TYPE_Q5_0,
        KvCacheType::Q4_1 => sys::GGML_TYPE_Q4_1,
        KvCacheType::Q4_0 => sys::GGML_TYPE_Q4_0,
        KvCacheType::Iq4Nl => sys::GGML_TYPE_IQ4_NL,
    }
}
