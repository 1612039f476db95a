//! The engine's context, its batch and its threads: owned and used by one thread.

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use mullama_sys as sys;

use crate::adapter::AdapterSet;
use crate::device::physical_cores;
use crate::engine::host_cache::HostCache;
use crate::engine::prefix::{Cells, Sharing};
use crate::engine::{SavedCells, exit};
use crate::params::{ContextParams, FlashAttention, KvCacheType};
use crate::placement::{BufferShare, Placement};
use crate::weights::Weights;
use crate::{CancelToken, Error, ErrorKind, Result, Token, logging};

/// The largest context that is chosen without being asked for.
const LARGEST_AUTOMATIC_CONTEXT: u32 = 8192;

/// Most finished requests whose cells are kept.
const KEPT_SEQUENCES: u32 = 28;

/// What a context gives for the tokens that it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outputs {
    /// Logits, for tokens that ask for them.
    Logits,
    /// The vector of each token.
    Embeddings,
    /// The classification head's scores of each sequence.
    Scores,
}

/// Context parameters with every default settled.
#[derive(Debug, Clone)]
pub(crate) struct ContextSettings {
    pub n_ctx: u32,
    pub n_batch: u32,
    pub n_ubatch: u32,
    pub n_threads: u32,
    pub n_threads_batch: u32,
    pub n_parallel: u32,
    pub outputs: Outputs,
    /// Most tokens that are kept for later requests.
    pub prefix_cache: u32,
    /// Bytes for what leaves the KV cache.
    pub cache_ram: usize,
    /// How many times longer a step with a piece of a prompt may be than one without.
    pub max_stall: f32,
    pub type_k: KvCacheType,
    pub type_v: KvCacheType,
    pub offload_kqv: bool,
    pub flash_attention: FlashAttention,
    pub rope_freq_base: f32,
    pub rope_freq_scale: f32,
    /// Whether to compute once before the context is ready; by default where a GPU is used.
    pub warmup: Option<bool>,
}

impl ContextSettings {
    /// Settles the defaults for a model that was trained with `n_ctx_train` tokens of context.
    pub fn resolve(params: &ContextParams, n_ctx_train: u32) -> Result<Self> {
        // SAFETY: a constant of the engine.
        let most_sequences = unsafe { sys::llama_max_parallel_sequences() } as u32;
        let in_range = |name, value: Option<u32>, most: u32, default: u32| match value {
            None => Ok(default),
            Some(value) if (1..=most).contains(&value) => Ok(value),
            Some(value) => {
                let problem = format!("must lie between 1 and {most}, and is {value}");
                Err(Error::option(name, problem))
            }
        };
        let positive = |name, value: Option<f32>| match value {
            None => Ok(0.0),
            Some(value) if value.is_normal() && value > 0.0 => Ok(value),
            Some(value) => Err(Error::option(name, format!("must be more than 0, and is {value}"))),
        };
        let automatic = n_ctx_train.clamp(1, LARGEST_AUTOMATIC_CONTEXT);
        let n_ctx = in_range("context_size", params.n_ctx, i32::MAX as u32, automatic)?;
        let n_batch = in_range("batch_size", params.n_batch, 1 << 20, 2048)?;
        let n_ubatch = in_range("ubatch_size", params.n_ubatch, n_batch, 512.min(n_batch))?;
        // GGML_MAX_N_THREADS
        let n_threads = in_range("n_threads", params.n_threads, 512, physical_cores())?;
        let n_threads_batch = in_range("n_threads_batch", params.n_threads_batch, 512, n_threads)?;
        let n_parallel = in_range("n_parallel", params.n_parallel, most_sequences, 4)?;
        let max_stall = params.max_stall.unwrap_or(4.0);
        if !max_stall.is_finite() || max_stall < 1.0 {
            return Err(Error::option(
                "max_stall",
                format!("must be 1 or more, and is {max_stall}"),
            ));
        }
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
            n_threads_batch,
            n_parallel,
            outputs: Outputs::Logits,
            prefix_cache: params.prefix_cache.unwrap_or(u32::MAX),
            cache_ram: (params.cache_ram.unwrap_or(0) as usize).saturating_mul(1 << 20),
            max_stall,
            type_k: kv.keys,
            type_v: kv.values,
            offload_kqv: params.offload_kqv.unwrap_or(true),
            flash_attention,
            rope_freq_base: positive("rope_freq_base", params.rope_freq_base)?,
            rope_freq_scale: positive("rope_freq_scale", params.rope_freq_scale)?,
            // A software renderer takes half a minute over what a GPU does at once.
            warmup: params.warmup.or_else(|| {
                std::env::var("MULLAMA_WARMUP").is_ok_and(|value| value == "0").then_some(false)
            }),
        })
    }

    /// Sequences of requests that run, and of those that are kept.
    fn n_sequences(&self, has_state: bool) -> u32 {
        // SAFETY: a constant of the engine.
        let most = unsafe { sys::llama_max_parallel_sequences() } as u32;
        let kept = match self.outputs {
            // Where each has memory of its own, used or not, fewer are kept.
            Outputs::Logits if has_state => self.n_parallel.min(KEPT_SEQUENCES),
            Outputs::Logits => KEPT_SEQUENCES,
            _ => 0,
        };
        (self.n_parallel + kept).min(most)
    }

    fn raw(&self, has_state: bool) -> sys::llama_context_params {
        // SAFETY: a plain struct of defaults.
        let mut raw = unsafe { sys::llama_context_default_params() };
        raw.n_ctx = self.n_ctx;
        // All that run have a token in a step.
        raw.n_batch = self.n_batch.max(self.n_parallel);
        raw.n_ubatch = self.n_ubatch;
        raw.n_seq_max = self.n_sequences(has_state);
        // The engine plans for one output of each sequence.
        raw.n_outputs_max = raw.n_seq_max;
        raw.n_threads = self.n_threads as i32;
        raw.n_threads_batch = self.n_threads_batch as i32;
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
            // The engine would pool what it computes at once, which need not be all of a text.
            raw.pooling_type = match self.outputs {
                Outputs::Scores => sys::LLAMA_POOLING_TYPE_RANK,
                _ => sys::LLAMA_POOLING_TYPE_NONE,
            };
            raw.n_outputs_max = self.n_batch;
        }
        // All sequences share one pool of cells: none is cut off before the pool is full.
        raw.kv_unified = true;
        raw
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

/// A sequence of the context: the place of one request.
pub(crate) type SeqId = sys::llama_seq_id;

/// What became of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// All tokens were computed.
    Done,
    /// There was no room in the KV cache; nothing was computed.
    NoRoom,
    /// All requests in the batch were cancelled meanwhile.
    Aborted,
}

/// The engine's context with its batch.
pub(crate) struct Context {
    // Dropped in this order: the threads after the context that uses them, the weights last.
    raw: RawContext,
    _threads: Vec<ThreadPool>,
    weights: Arc<Weights>,
    batch: Batch,
    /// Requests of the batch that is being computed, watched by [`should_abort`].
    watched: Box<UnsafeCell<Vec<CancelToken>>>,
    n_vocab: usize,
    pub host_cache: HostCache,
    /// What it computes with.
    adapters: AdapterSet,
    /// Whether several devices work on pieces of one batch at a time, as the engine says.
    is_pipelined: bool,
}

impl Context {
    pub fn new(weights: Arc<Weights>, settings: &ContextSettings) -> Result<Self> {
        let params = settings.raw(weights.has_state());
        let (raw, said) = logging::capture(|| {
            // SAFETY: the model is alive and stays so for longer than the context.
            unsafe { sys::shim::init_from_model(weights.as_ptr(), &params) }
        });
        let failed = |problem: Option<String>| {
            let reason = problem.unwrap_or_else(|| "the engine gave no reason".to_owned());
            let message = format!("cannot make a context of {} tokens: {reason}", settings.n_ctx);
            let kind = if reason.contains("allocate") || reason.contains("memory") {
                ErrorKind::OutOfMemory
            } else {
                ErrorKind::InvalidArgument
            };
            Error::new(kind, message)
                .with_hint("a smaller `context_size` or `batch_size` needs less memory")
        };
        weights.devices.check()?;
        let raw = raw.map_err(|reason| failed(said.problem().or(Some(reason))))?;
        let raw = NonNull::new(raw).map(RawContext).ok_or_else(|| failed(said.problem()))?;
        let threads = raw.attach_threads(settings);
        let watched: Box<UnsafeCell<Vec<CancelToken>>> = Box::default();
        // SAFETY: `watched` is boxed, so the pointer holds until the context, which is dropped
        // first, is gone.
        unsafe {
            sys::llama_set_abort_callback(raw.0.as_ptr(), Some(should_abort), watched.get().cast());
        }
        // SAFETY: the model is alive.
        let n_vocab =
            unsafe { sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(weights.as_ptr())) };
        Ok(Self {
            raw,
            _threads: threads,
            weights,
            batch: Batch::default(),
            watched,
            n_vocab: n_vocab.max(0) as usize,
            host_cache: HostCache::new(settings.cache_ram),
            adapters: AdapterSet::default(),
            is_pipelined: said.lines().any(|line| line.contains("pipeline parallelism enabled")),
        })
    }

    pub fn n_ctx(&self) -> u32 {
        // SAFETY: a valid context (here and below).
        unsafe { sys::llama_n_ctx(self.raw.0.as_ptr()) }
    }

    /// Where the weights, the cells and the buffers are.
    pub fn placement(&self) -> Result<Placement> {
        Ok(Placement::new(&self.breakdown()?, &self.weights.layers))
    }

    fn breakdown(&self) -> Result<Vec<BufferShare>> {
        // SAFETY: a valid context, which only this thread uses.
        let breakdown = unsafe { sys::shim::memory_breakdown(self.raw.0.as_ptr()) }
            .map_err(|error| Error::new(ErrorKind::Internal, error))?;
        BufferShare::read(&breakdown)
    }

    /// As [`Self::placement`], for a context on weights that are only pretended.
    ///
    /// There the engine plans buffers from a graph in which each layer's first normalisation may run on
    /// the device before, so that its result crosses over beside the layer's input; when it computes, it
    /// keeps both together (`ggml_backend_sched_reserve_size` forgets what `graph_get_cb` in
    /// llama-context.cpp asks for). Where devices work in a pipeline, each after the first has as many
    /// copies of that result as of any input too many.
    pub fn planned_placement(&self) -> Result<Placement> {
        /// `GGML_SCHED_MAX_COPIES`
        const COPIES: u64 = 4;
        let buffers: Vec<_> = self.breakdown()?.into_iter().map(BufferShare::allocated).collect();
        let mut placement = Placement::new(&buffers, &self.weights.layers);
        if self.is_pipelined {
            // SAFETY: the model is alive.
            let n_embd = unsafe { sys::llama_model_n_embd(self.weights.as_ptr()) }.max(0) as u64;
            let tokens = self.n_ubatch().min(self.n_ctx() as usize);
            let tokens = tokens.next_multiple_of(self.n_seq_max()) as u64;
            let surplus = n_embd * size_of::<f32>() as u64 * tokens * COPIES;
            let order = self.weights.devices_in_order.iter();
            let used = order.filter(|name| self.weights.layers.contains_key(*name));
            for name in used.skip(1) {
                let shares = placement.devices.iter_mut();
                for share in shares.filter(|share| share.name == *name) {
                    share.compute = share.compute.saturating_sub(surplus);
                }
            }
        }
        Ok(placement)
    }

    pub fn n_batch(&self) -> usize {
        // SAFETY: as above.
        unsafe { sys::llama_n_batch(self.raw.0.as_ptr()) as usize }
    }

    pub fn n_ubatch(&self) -> usize {
        // SAFETY: as above.
        unsafe { sys::llama_n_ubatch(self.raw.0.as_ptr()) as usize }
    }

    pub fn n_seq_max(&self) -> usize {
        // SAFETY: as above.
        unsafe { sys::llama_n_seq_max(self.raw.0.as_ptr()) as usize }
    }

    /// The batch to fill for the next step.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Computes with these adapters from now on.
    pub fn use_adapters(&mut self, adapters: &AdapterSet) {
        if self.adapters != *adapters {
            // SAFETY: a valid context, which only this thread uses; requests bring adapters of their model.
            unsafe { adapters.apply(self.raw.0.as_ptr()) }
            self.adapters = adapters.clone();
        }
    }

    /// Computes the batch. `owners` are those whose tokens are in it.
    pub fn decode(&mut self, owners: impl Iterator<Item = CancelToken>) -> Result<Decoded> {
        let watched = self.watched.get_mut();
        watched.clear();
        watched.extend(owners);
        let batch = self.batch.raw();
        let still = self.weights.adapters.still();
        // The engine calls it an error that a computation was given up, or found no room. What is
        // one becomes an `Error` below.
        let (status, said) = logging::quietly(|| {
            // SAFETY: the batch's arrays live in `self.batch` and all have `n_tokens` entries.
            logging::capture(|| unsafe { sys::shim::decode(self.raw.0.as_ptr(), &batch) })
        });
        drop(still);
        // What a worker gave that has gone away since is no result.
        self.weights.devices.check()?;
        match status {
            Ok(0) => Ok(Decoded::Done),
            Ok(1) => Ok(Decoded::NoRoom),
            Ok(2) => Ok(Decoded::Aborted),
            _ => {
                let status =
                    status.map_or_else(|reason| reason, |status| format!("status {status}"));
                let reason = said.problem().unwrap_or(status);
                let kind = if reason.contains("allocate") {
                    ErrorKind::OutOfMemory
                } else {
                    ErrorKind::Backend
                };
                Err(Error::new(kind, format!("the computation failed: {reason}")))
            }
        }
    }

    /// Computes as much at once as ever will be, so that what backends allocate on first use is there,
    /// or shows now that it cannot be.
    pub fn warm_up(&mut self) -> Result<()> {
        let count = self.n_ubatch().min(self.n_ctx() as usize);
        self.batch.clear();
        for position in 0..count {
            self.batch.add(0, position, 0, position + 1 == count);
        }
        let computed = self.decode(std::iter::empty());
        self.clear();
        computed.map(drop).map_err(|error| {
            error.with_hint("a smaller `ubatch_size`, or fewer layers on GPUs, needs less memory")
        })
    }

    /// The logits of the output that the batch asked for at `index`.
    pub fn logits(&mut self, index: usize) -> Result<&[f32]> {
        // SAFETY: the engine checks the index and gives null for one without an output; otherwise
        // there is a logit for each token of the vocabulary, valid until the next step, which needs
        // `&mut self`.
        unsafe {
            let logits = sys::llama_get_logits_ith(self.raw.0.as_ptr(), index as i32);
            if logits.is_null() {
                return Err(Error::new(ErrorKind::Internal, "the engine computed no logits"));
            }
            Ok(std::slice::from_raw_parts(logits, self.n_vocab))
        }
    }

    /// What the engine needs to have the cells of a sequence again.
    pub fn save(&mut self, sequence: SeqId) -> Result<Vec<u8>> {
        // SAFETY: a valid context, which only this thread uses.
        let size = unsafe { sys::llama_state_seq_get_size(self.raw.0.as_ptr(), sequence) };
        let mut data = vec![0; size];
        let (written, said) = logging::capture(|| {
            // SAFETY: as above.
            unsafe { sys::shim::state_seq_get_data(self.raw.0.as_ptr(), &mut data, sequence) }
        });
        self.weights.devices.check()?;
        match written {
            Ok(written) if written > 0 => {
                data.truncate(written);
                Ok(data)
            }
            failed => Err(state_error("saved", said.problem().or(failed.err()))),
        }
    }

    /// Fills an empty sequence with cells that were saved.
    pub fn restore(&mut self, sequence: SeqId, data: &[u8]) -> Result<()> {
        let (read, said) = logging::capture(|| {
            // SAFETY: a valid context, which only this thread uses; the engine checks what it reads.
            unsafe { sys::shim::state_seq_set_data(self.raw.0.as_ptr(), data, sequence) }
        });
        self.weights.devices.check()?;
        match read {
            Ok(read) if read == data.len() => Ok(()),
            failed => {
                self.trim(sequence, 0);
                Err(state_error("restored", said.problem().or(failed.err())))
            }
        }
    }

    /// The vector, of `width` numbers, of the token that is in the batch at `index`.
    pub fn embedding(&mut self, index: usize, width: usize) -> Result<&[f32]> {
        // SAFETY: the engine checks the index and gives null for one without an output; otherwise there
        // are as many numbers as the model's embeddings have, valid until the next step, which needs
        // `&mut self`.
        unsafe {
            let row = sys::llama_get_embeddings_ith(self.raw.0.as_ptr(), index as i32);
            outputs(row, width)
        }
    }

    /// The scores, `width` of them, of a sequence that is in the batch.
    pub fn sequence_embedding(&mut self, sequence: SeqId, width: usize) -> Result<&[f32]> {
        // SAFETY: as above, with null for a sequence without an output.
        unsafe {
            let scores = sys::llama_get_embeddings_seq(self.raw.0.as_ptr(), sequence);
            outputs(scores, width)
        }
    }

    /// Whether what comes after a token is hidden from it, and what came before is kept: what it takes to
    /// generate.
    pub fn can_generate(&self) -> bool {
        // SAFETY: a valid context.
        unsafe { sys::llama_get_causal_attn(self.raw.0.as_ptr()) && self.memory().is_some() }
    }

    /// Frees the cells of a sequence.
    pub fn forget(&mut self, sequence: SeqId) {
        self.trim(sequence, 0);
    }

    /// Frees all cells.
    pub fn clear(&mut self) {
        if let Some(memory) = self.memory() {
            // SAFETY: a valid context's memory; what is in its buffers need not be cleared.
            unsafe { sys::llama_memory_clear(memory, false) }
        }
    }

    /// What sequences can have in common: recurrent models, and those that are so in part, keep a state for
    /// each sequence.
    pub fn sharing(&self) -> Sharing {
        match self.memory() {
            None => Sharing::None,
            Some(_) if self.weights.has_state() => Sharing::Whole,
            Some(_) => Sharing::Any,
        }
    }

    fn memory(&self) -> Option<sys::llama_memory_t> {
        // SAFETY: a valid context.
        let memory = unsafe { sys::llama_get_memory(self.raw.0.as_ptr()) };
        (!memory.is_null()).then_some(memory)
    }
}

/// # Safety
/// `values` must be null, or point to `count` numbers that live as long as the result.
unsafe fn outputs<'a>(values: *const f32, count: usize) -> Result<&'a [f32]> {
    if values.is_null() {
        return Err(Error::new(ErrorKind::Internal, "the engine computed no embeddings"));
    }
    // SAFETY: the caller vouches for it.
    Ok(unsafe { std::slice::from_raw_parts(values, count) })
}

impl Cells for Context {
    fn share(&mut self, from: SeqId, to: SeqId, positions: Range<usize>) {
        let (start, end) = (positions.start as sys::llama_pos, positions.end as sys::llama_pos);
        if let Some(memory) = self.memory() {
            // SAFETY: a valid context's memory, and two of its sequences.
            unsafe { sys::llama_memory_seq_cp(memory, from, to, start, end) }
        }
    }

    fn give_up(&mut self, sequence: SeqId, adapters: &AdapterSet, tokens: Vec<Token>) {
        if self.host_cache.wants(adapters, &tokens)
            && let Ok(data) = self.save(sequence)
        {
            let adapters = adapters.clone();
            self.host_cache.keep(SavedCells { adapters, tokens, data });
        }
    }

    fn trim(&mut self, sequence: SeqId, keep: usize) {
        let first = if keep == 0 { -1 } else { keep as sys::llama_pos };
        if let Some(memory) = self.memory() {
            // SAFETY: a valid context's memory; a whole sequence can always be removed, and a part of
            // one where `sharing` says so, else nobody asks for it.
            unsafe { sys::llama_memory_seq_rm(memory, sequence, first, -1) };
        }
    }
}

fn state_error(what: &str, reason: Option<String>) -> Error {
    let reason = reason.unwrap_or_else(|| "the engine gave no reason".to_owned());
    Error::new(ErrorKind::Backend, format!("the state could not be {what}: {reason}"))
}

/// Tells the engine to give up a computation that nobody waits for. (The CPU backend asks.)
unsafe extern "C" fn should_abort(watched: *mut c_void) -> bool {
    // SAFETY: the pointer is that of `Context::watched`, which changes between computations only.
    let watched = unsafe { &*watched.cast::<Vec<CancelToken>>() };
    let unwanted = !watched.is_empty() && watched.iter().all(CancelToken::is_cancelled);
    unwanted || exit::is_under_way()
}

struct RawContext(NonNull<sys::llama_context>);

impl Drop for RawContext {
    fn drop(&mut self) {
        // SAFETY: owned, and used by no one else.
        unsafe { sys::llama_free(self.0.as_ptr()) }
    }
}

impl RawContext {
    /// Gives the context threads that stay: without, the engine starts new ones for every step.
    fn attach_threads(&self, settings: &ContextSettings) -> Vec<ThreadPool> {
        let Some(api) = ThreadPoolApi::find() else { return Vec::new() };
        let mut pools = Vec::new();
        let mut by_size = BTreeMap::new();
        for n_threads in [settings.n_threads, settings.n_threads_batch] {
            if let std::collections::btree_map::Entry::Vacant(entry) = by_size.entry(n_threads) {
                let Some(pool) = ThreadPool::new(&api, n_threads) else { return Vec::new() };
                entry.insert(pool.pool);
                pools.push(pool);
            }
        }
        // SAFETY: the pools outlive the context, by the order of `Context`'s fields.
        unsafe {
            sys::llama_attach_threadpool(
                self.0.as_ptr(),
                by_size[&settings.n_threads],
                by_size[&settings.n_threads_batch],
            );
        }
        pools
    }
}

/// The functions of the CPU module that make and free thread pools.
struct ThreadPoolApi {
    new: NewThreadPool,
    free: FreeThreadPool,
}

type NewThreadPool =
    unsafe extern "C" fn(*mut sys::ggml_threadpool_params) -> sys::ggml_threadpool_t;
type FreeThreadPool = unsafe extern "C" fn(sys::ggml_threadpool_t);

impl ThreadPoolApi {
    fn find() -> Option<Self> {
        // SAFETY: the names and types are those of ggml-cpu.h; a null address is an `Option`'s none.
        unsafe {
            let device = sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU);
            if device.is_null() {
                return None;
            }
            let registration = sys::ggml_backend_dev_backend_reg(device);
            let find = |name: &std::ffi::CStr| {
                let address = sys::ggml_backend_reg_get_proc_address(registration, name.as_ptr());
                (!address.is_null()).then_some(address)
            };
            Some(Self {
                new: std::mem::transmute::<*mut c_void, NewThreadPool>(find(
                    c"ggml_threadpool_new",
                )?),
                free: std::mem::transmute::<*mut c_void, FreeThreadPool>(find(
                    c"ggml_threadpool_free",
                )?),
            })
        }
    }
}

struct ThreadPool {
    pool: sys::ggml_threadpool_t,
    free: FreeThreadPool,
}

impl ThreadPool {
    fn new(api: &ThreadPoolApi, n_threads: u32) -> Option<Self> {
        // SAFETY: a struct of defaults, and the constructor that belongs to it.
        let pool = unsafe {
            let mut params = sys::ggml_threadpool_params_default(n_threads as i32);
            (api.new)(&raw mut params)
        };
        (!pool.is_null()).then_some(Self { pool, free: api.free })
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // SAFETY: owned; the context that used it is gone.
        unsafe { (self.free)(self.pool) }
    }
}

/// The tokens of one step.
#[derive(Default)]
pub(crate) struct Batch {
    tokens: Vec<Token>,
    positions: Vec<sys::llama_pos>,
    sequences: Vec<SeqId>,
    outputs: Vec<i8>,
    // What the engine's struct wants of one sequence per token.
    sequence_counts: Vec<i32>,
    sequence_pointers: Vec<*mut SeqId>,
}

impl Batch {
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.sequences.clear();
        self.outputs.clear();
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Adds a token of a sequence at a position; gives its index.
    pub fn add(&mut self, token: Token, position: usize, sequence: SeqId, output: bool) -> usize {
        self.tokens.push(token);
        self.positions.push(position as sys::llama_pos);
        self.sequences.push(sequence);
        self.outputs.push(output.into());
        self.tokens.len() - 1
    }

    fn raw(&mut self) -> sys::llama_batch {
        self.sequence_counts.resize(self.tokens.len(), 1);
        self.sequence_pointers.clear();
        self.sequence_pointers.extend(self.sequences.iter_mut().map(ptr::from_mut));
        sys::llama_batch {
            n_tokens: self.tokens.len() as i32,
            token: self.tokens.as_mut_ptr(),
            embd: ptr::null_mut(),
            pos: self.positions.as_mut_ptr(),
            n_seq_id: self.sequence_counts.as_mut_ptr(),
            seq_id: self.sequence_pointers.as_mut_ptr(),
            logits: self.outputs.as_mut_ptr(),
        }
    }
}
