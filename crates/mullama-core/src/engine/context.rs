//! The engine's context, owned and used by one thread.

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use mullama_base::{Text, check_memory};
use mullama_sys::{self as sys, phrases};

use super::adapter::AdapterSet;
use super::batch::{Batch, SeqId};
use super::exit;
use super::failure::Failure;
use super::memory::{BufferShare, Placement};
use super::settings::ContextSettings;
use super::thread_pool::{ThreadPool, ThreadPoolApi};
use super::weights::Weights;
use super::window::Window;
use crate::device::kernels;
use crate::runtime::log as logging;
use crate::{CancelToken, Error, ErrorKind, Result};

/// What sequences of a model's memory can share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Nothing.
    None,
    /// Cells up to a checkpoint. The model also has a recurrent state or a sliding window, which can be copied and
    /// saved, but not truncated.
    Checkpoints,
    /// Cells up to any position.
    Any,
}

/// How much of a sequence's memory to save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saved {
    /// All of it.
    Whole,
    /// Only what cannot be truncated: the recurrent state, the cells of sliding windows. A sequence must already have
    /// the other cells before a checkpoint is restored.
    Checkpoint,
}

impl Saved {
    fn flags(self) -> sys::llama_state_seq_flags {
        match self {
            Self::Whole => 0,
            // LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
            Self::Checkpoint => 1,
        }
    }
}

/// The outcome of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// All tokens were computed.
    Done,
    /// The KV cache had no room; nothing was computed.
    NoRoom,
    /// All requests in the batch were cancelled during the computation.
    Aborted,
}

/// The engine's context with its batch.
pub(crate) struct Context {
    // Dropped in this order: the weights last.
    raw: RawContext,
    weights: Arc<Weights>,
    settings: ContextSettings,
    batch: Batch,
    /// Requests in the batch being computed, checked by [`should_abort`].
    watched: Box<UnsafeCell<Vec<CancelToken>>>,
    n_vocab: usize,
    /// The sliding window, if it has fewer cells than the context.
    window: Option<Window>,
    /// The adapters currently in use.
    adapters: AdapterSet,
}

impl Context {
    pub fn new(weights: Arc<Weights>, settings: &ContextSettings) -> Result<Self> {
        let raw = RawContext::new(&weights, settings)?;
        let watched: Box<UnsafeCell<Vec<CancelToken>>> = Box::default();
        raw.watch(&watched);
        let n_vocab = weights.n_vocab();
        let window = settings.short_window(&weights);
        Ok(Self {
            raw,
            settings: settings.clone(),
            batch: Batch::default(),
            watched,
            n_vocab,
            weights,
            window,
            adapters: AdapterSet::default(),
        })
    }

    pub fn n_ctx(&self) -> u32 {
        // SAFETY: a valid context (here and below).
        unsafe { sys::llama_n_ctx(self.raw.as_ptr()) }
    }

    /// Where weights, KV cache and buffers are allocated.
    pub fn placement(&self) -> Result<Placement> {
        Ok(self.place(&self.breakdown()?))
    }

    fn place(&self, buffers: &[BufferShare]) -> Placement {
        let placement = Placement::new(buffers, &self.weights.layers);
        match self.weights.settings.tensor_shares() {
            Some(gpus) => placement.spread(&gpus, self.weights.is_metadata_only),
            None => placement,
        }
    }

    fn breakdown(&self) -> Result<Vec<BufferShare>> {
        // SAFETY: a valid context, which only this thread uses.
        let breakdown = unsafe { sys::shim::memory_breakdown(self.raw.as_ptr()) }
            .map_err(|error| Error::new(ErrorKind::Internal, error))?;
        BufferShare::read(&breakdown)
    }

    /// As [`Self::placement`], for a context on weights of which only the metadata is loaded.
    ///
    /// In this case the engine plans buffers from a graph in which each layer's first normalisation may run on the
    /// previous device, so its result is copied along with the layer's input. When it computes, it runs both on one
    /// device (`ggml_backend_sched_reserve_size` ignores what `graph_get_cb` in llama-context.cpp requests). In a
    /// pipeline of devices, the plan of each device after the first therefore includes as many surplus copies of that
    /// result as there are copies of an input. They are subtracted here.
    pub fn planned_placement(&self) -> Result<Placement> {
        /// `GGML_SCHED_MAX_COPIES`
        const MAX_PIPELINE_COPIES: u64 = 4;
        let buffers: Vec<_> = self.breakdown()?.into_iter().map(BufferShare::allocated).collect();
        let mut placement = self.place(&buffers);
        if self.raw.is_pipelined {
            // SAFETY: the model is alive.
            let n_embd = unsafe { sys::llama_model_n_embd(self.weights.as_ptr()) }.max(0) as u64;
            let tokens = self.n_ubatch().min(self.n_ctx() as usize);
            let tokens = tokens.next_multiple_of(self.n_seq_max()) as u64;
            let surplus = n_embd * size_of::<f32>() as u64 * tokens * MAX_PIPELINE_COPIES;
            let order = self.weights.settings.gpus.iter().map(|gpu| gpu.name());
            let used = order.filter(|name| self.weights.layers.contains_key(name));
            for name in used.skip(1) {
                let shares = placement.devices.iter_mut();
                for share in shares.filter(|share| share.name == name) {
                    share.compute = share.compute.saturating_sub(surplus);
                }
            }
        }
        Ok(placement)
    }

    pub fn n_batch(&self) -> usize {
        // SAFETY: as above.
        unsafe { sys::llama_n_batch(self.raw.as_ptr()) as usize }
    }

    pub fn n_ubatch(&self) -> usize {
        // SAFETY: as above.
        unsafe { sys::llama_n_ubatch(self.raw.as_ptr()) as usize }
    }

    pub fn n_seq_max(&self) -> usize {
        // SAFETY: as above.
        unsafe { sys::llama_n_seq_max(self.raw.as_ptr()) as usize }
    }

    /// Size of the vocabulary, in tokens.
    pub fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    /// The most tokens in a step that may have an output.
    pub fn n_outputs_max(&self) -> usize {
        self.raw.n_outputs_max
    }

    /// The batch to fill for the next step.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Uses these adapters from now on.
    pub fn use_adapters(&mut self, adapters: &AdapterSet) {
        if self.adapters != *adapters {
            // SAFETY: a valid context, which only this thread uses; requests only have adapters of their model.
            unsafe { adapters.apply(self.raw.as_ptr()) }
            self.adapters = adapters.clone();
        }
    }

    /// Computes the batch. `owners` are the requests whose tokens are in it. If the engine failed in the middle of a
    /// computation, this returns an error until [`clear`](Self::clear) has recreated the context.
    pub fn decode(&mut self, owners: impl Iterator<Item = CancelToken>) -> Result<Decoded> {
        self.compute(None, owners)
    }

    /// Computes the batch, with embeddings in place of its tokens if given.
    fn compute(
        &mut self,
        embeddings: Option<&[f32]>,
        owners: impl Iterator<Item = CancelToken>,
    ) -> Result<Decoded> {
        if let Some(error) = &self.raw.broken {
            return Err(error.clone());
        }
        let watched = self.watched.get_mut();
        watched.clear();
        watched.extend(owners);
        let batch = self.batch.raw(embeddings);
        let adapters = self.weights.adapters.lock_for_reading();
        // The engine logs an error when a computation is aborted or finds no room. Real errors become an `Error` below.
        let (status, said) = logging::log_as_trace(|| {
            logging::capture(|| {
                kernels::with(self.weights.settings.cpu_kernels, || {
                    // SAFETY: the batch's arrays live in `self.batch` and all have `n_tokens` entries;
                    // embeddings have as many rows.
                    unsafe { sys::shim::decode(self.raw.as_ptr(), &batch) }
                })
            })
        });
        drop(adapters);
        if let Err(reason) = &status {
            let reason = said.problem().unwrap_or_else(|| reason.clone());
            self.raw.broken = Some(computation_failed(&reason));
        }
        // A result from a worker that has disconnected since is invalid.
        self.weights.settings.devices.check()?;
        match status {
            Ok(0) => Ok(Decoded::Done),
            Ok(1) => Ok(Decoded::NoRoom),
            Ok(2) => Ok(Decoded::Aborted),
            Ok(status) => {
                let reason = said.problem().unwrap_or_else(|| format!("status {status}"));
                Err(computation_failed(&reason))
            }
            Err(reason) => {
                Err(self.raw.broken.clone().unwrap_or_else(|| computation_failed(&reason)))
            }
        }
    }

    /// Computes embeddings in place of tokens: one row per position, all in one sequence. `sees_ahead` disables the
    /// causal mask, so that each position attends to all of them.
    pub fn decode_embeddings(
        &mut self,
        embeddings: &[f32],
        positions: Range<usize>,
        sequence: SeqId,
        sees_ahead: bool,
        owner: CancelToken,
    ) -> Result<Decoded> {
        assert_eq!(embeddings.len(), positions.len() * self.weights.n_embd_input());
        self.batch.clear();
        for position in positions {
            self.batch.add(0, position, sequence, false);
        }
        let context = self.raw.as_ptr();
        // SAFETY: a valid context, which only this thread uses (here and below).
        unsafe { sys::llama_set_causal_attn(context, !sees_ahead) };
        let decoded = self.compute(Some(embeddings), std::iter::once(owner));
        // SAFETY: as above.
        unsafe { sys::llama_set_causal_attn(context, true) };
        decoded
    }

    /// Runs the largest computation that will ever occur, so that everything backends allocate on first use is
    /// allocated now, or fails now: up to `n_sequences` sequences of up to `longest` tokens, with outputs for all
    /// tokens or only for the last.
    pub fn warm_up(&mut self, longest: usize, n_sequences: usize, all_outputs: bool) -> Result<()> {
        let count = self.n_ubatch().min(longest * n_sequences);
        self.batch.clear();
        for index in 0..count {
            let (sequence, position) = ((index / longest) as SeqId, index % longest);
            self.batch.add(0, position, sequence, all_outputs || index + 1 == count);
        }
        let computed = self.decode(std::iter::empty());
        self.clear();
        computed.map(drop).map_err(|error| {
            error.with_hint(Text::with_names(
                "a smaller {ubatch_size}, or fewer layers on GPUs, needs less memory",
            ))
        })
    }

    /// The logits of the token at `index` of the batch.
    pub fn logits(&mut self, index: usize) -> Result<&[f32]> {
        // SAFETY: the engine checks the index and returns null for a token without an output; otherwise there is a
        // logit for each token of the vocabulary, valid until the next step, which needs `&mut self`.
        unsafe {
            let logits = sys::llama_get_logits_ith(self.raw.as_ptr(), index as i32);
            self.check_received()?;
            if logits.is_null() {
                return Err(Error::new(ErrorKind::Internal, "the engine computed no logits"));
            }
            Ok(std::slice::from_raw_parts(logits, self.n_vocab))
        }
    }

    /// Fails if a worker has failed: the engine fetches results from workers on first use, after the step.
    fn check_received(&self) -> Result<()> {
        self.weights.settings.devices.check()
    }

    /// Size in bytes of a sequence's saved state.
    pub fn saved_size(&mut self, sequence: SeqId, saved: Saved) -> usize {
        // SAFETY: a valid context, which only this thread uses.
        unsafe { sys::llama_state_seq_get_size_ext(self.raw.as_ptr(), sequence, saved.flags()) }
    }

    /// Saves the state of a sequence for [`Self::restore`].
    pub fn save(&mut self, sequence: SeqId, saved: Saved) -> Result<Vec<u8>> {
        let (context, flags) = (self.raw.as_ptr(), saved.flags());
        let size = self.saved_size(sequence, saved);
        check_memory(size)?;
        let mut data = vec![0; size];
        let (written, said) = logging::capture(|| {
            // SAFETY: as above.
            unsafe { sys::shim::state_seq_get_data(context, &mut data, sequence, flags) }
        });
        self.weights.settings.devices.check()?;
        match written {
            Ok(written) if written > 0 => {
                data.truncate(written);
                Ok(data)
            }
            failed => {
                let reason = said.problem().or(failed.err());
                let reason = reason.unwrap_or_else(|| "the engine gave no reason".to_owned());
                let message = format!("the state could not be saved: {reason}");
                Err(Error::new(ErrorKind::Backend, message))
            }
        }
    }

    /// Restores a saved state into a sequence: a whole state into an empty sequence, a checkpoint into one with the
    /// cells of the same tokens. The sequence is empty if this fails.
    pub fn restore(&mut self, sequence: SeqId, saved: Saved, data: &[u8]) -> Result<()> {
        // The engine's error message becomes an `Error` below.
        let (read, said) = logging::log_as_trace(|| {
            logging::capture(|| {
                // SAFETY: a valid context, which only this thread uses; the engine checks what it reads.
                unsafe {
                    sys::shim::state_seq_set_data(self.raw.as_ptr(), data, sequence, saved.flags())
                }
            })
        });
        self.weights.settings.devices.check()?;
        match read {
            Ok(read) if read == data.len() => Ok(()),
            failed => {
                self.trim(sequence, 0);
                let reason = said.problem().or(failed.err());
                Err(damaged_cells(&reason.unwrap_or_else(|| "it is not whole".to_owned())))
            }
        }
    }

    /// The embedding, of `width` numbers, of the token at `index` of the batch.
    pub fn embedding(&mut self, index: usize, width: usize) -> Result<&[f32]> {
        // SAFETY: the engine checks the index and returns null for a token without an output; otherwise the row has the
        // length of the model's embeddings and is valid until the next step, which needs `&mut self`.
        unsafe {
            let row = sys::llama_get_embeddings_ith(self.raw.as_ptr(), index as i32);
            self.check_received()?;
            outputs(row, width)
        }
    }

    /// The `width` scores of a sequence in the batch.
    pub fn sequence_embedding(&mut self, sequence: SeqId, width: usize) -> Result<&[f32]> {
        // SAFETY: as above, with null for a sequence without an output.
        unsafe {
            let scores = sys::llama_get_embeddings_seq(self.raw.as_ptr(), sequence);
            self.check_received()?;
            outputs(scores, width)
        }
    }

    /// Whether the context can generate: attention is causal, and computed cells are stored.
    pub fn can_generate(&self) -> bool {
        // SAFETY: a valid context.
        unsafe { sys::llama_get_causal_attn(self.raw.as_ptr()) && self.memory().is_some() }
    }

    /// Frees the cells of a sequence.
    pub fn forget(&mut self, sequence: SeqId) {
        self.trim(sequence, 0);
    }

    /// Frees all cells.
    pub fn clear(&mut self) {
        self.clear_memory(false);
    }

    /// Frees all cells and clears their data: NaNs would spread from unused cells.
    pub fn clear_data(&mut self) {
        self.clear_memory(true);
    }

    fn clear_memory(&mut self, with_data: bool) {
        if self.raw.broken.is_some() {
            // If memory is too low for a new context, the next call returns the error.
            let devices = &self.weights.settings.devices;
            if devices.check().is_ok()
                && let Ok(raw) = RawContext::new(&self.weights, &self.settings)
            {
                raw.watch(&self.watched);
                self.raw = raw;
                self.adapters = AdapterSet::default();
            }
        } else if let Some(memory) = self.memory() {
            // SAFETY: a valid context's memory.
            unsafe { sys::llama_memory_clear(memory, with_data) }
        }
    }

    /// What sequences can share. Recurrent and hybrid models have a state per sequence, and sliding windows drop cells.
    pub fn sharing(&self) -> Sharing {
        match self.memory() {
            None => Sharing::None,
            Some(_) if self.weights.has_state() || self.window.is_some() => Sharing::Checkpoints,
            Some(_) => Sharing::Any,
        }
    }

    /// Whether the memory consists of the state only: there are no cells to share.
    pub fn is_recurrent(&self) -> bool {
        self.weights.is_recurrent()
    }

    /// Whether the last tokens of a sequence can be removed after the step that computed them. The cells that a sliding
    /// window then needs still exist.
    pub fn can_roll_back(&self) -> bool {
        self.memory().is_some() && !self.weights.has_state()
    }

    /// Shares the cells of `from` at these positions with `to`, and also its state or window if `from` ends there.
    pub fn share(&mut self, from: SeqId, to: SeqId, positions: Range<usize>) -> Result<()> {
        let Some(memory) = self.memory() else { return Ok(()) };
        let (start, end) = (positions.start as sys::llama_pos, positions.end as sys::llama_pos);
        // SAFETY: a valid context's memory, and two of its sequences.
        unsafe { sys::llama_memory_seq_cp(memory, from, to, start, end) }
        // The engine does not reuse window cells that two sequences share, so each sequence gets its own.
        if self.window.is_some() && self.is_intact(from, positions.end) {
            let data = self.save(from, Saved::Checkpoint)?;
            self.restore(to, Saved::Checkpoint, &data)?;
        }
        Ok(())
    }

    /// Whether a sequence has everything computed from its first `n_past` tokens, and nothing more. This can be false
    /// after an aborted computation if the memory cannot be truncated.
    pub fn is_intact(&self, sequence: SeqId, n_past: usize) -> bool {
        let Some(memory) = self.memory() else { return true };
        // SAFETY: a valid context's memory, and one of its sequences.
        let (first, last) = unsafe {
            (
                sys::llama_memory_seq_pos_min(memory, sequence),
                sys::llama_memory_seq_pos_max(memory, sequence),
            )
        };
        let needed = self.window.map(|window| window.start(n_past) as sys::llama_pos);
        last + 1 == n_past as sys::llama_pos && needed.is_none_or(|needed| first <= needed)
    }

    /// Frees the cells of a sequence from the position `keep` on.
    pub fn trim(&mut self, sequence: SeqId, keep: usize) {
        let first = if keep == 0 { -1 } else { keep as sys::llama_pos };
        if let Some(memory) = self.memory() {
            // SAFETY: a valid context's memory; a whole sequence can always be removed, and a part of one if `sharing`
            // allows it, which callers check.
            unsafe { sys::llama_memory_seq_rm(memory, sequence, first, -1) };
        }
    }

    fn memory(&self) -> Option<sys::llama_memory_t> {
        // SAFETY: a valid context.
        let memory = unsafe { sys::llama_get_memory(self.raw.as_ptr()) };
        (!memory.is_null()).then_some(memory)
    }
}

/// # Safety
/// `values` must be null, or point to `count` numbers that live as long as the result.
unsafe fn outputs<'a>(values: *const f32, count: usize) -> Result<&'a [f32]> {
    if values.is_null() {
        return Err(Error::new(ErrorKind::Internal, "the engine computed no embeddings"));
    }
    // SAFETY: guaranteed by the caller.
    Ok(unsafe { std::slice::from_raw_parts(values, count) })
}

fn computation_failed(reason: &str) -> Error {
    let kind = Failure::of(reason).kind(ErrorKind::Backend);
    Error::new(kind, format!("the computation failed: {reason}"))
}

/// The error of a state with cells that no prompt produces.
pub(crate) fn damaged_cells(reason: &str) -> Error {
    let message = format!("the state could not be restored: {reason}");
    Error::new(ErrorKind::InvalidArgument, message).with_hint("save it again")
}

/// Called by the engine (its CPU backend): whether to abort a computation that no request needs.
unsafe extern "C" fn should_abort(watched: *mut c_void) -> bool {
    // SAFETY: the pointer is that of `Context::watched`, which changes only between computations.
    let watched = unsafe { &*watched.cast::<Vec<CancelToken>>() };
    let unwanted = !watched.is_empty() && watched.iter().all(CancelToken::is_cancelled);
    unwanted || exit::is_shutting_down()
}

/// The engine's context and its threads.
struct RawContext {
    context: NonNull<sys::llama_context>,
    threads: Vec<ThreadPool>,
    /// The largest number of outputs of a step.
    n_outputs_max: usize,
    /// Whether several devices work on parts of one batch at the same time, as reported by the engine.
    is_pipelined: bool,
    /// Why it is unusable: an assertion of the engine, or an allocation, failed in the middle of a step.
    broken: Option<Error>,
}

impl Drop for RawContext {
    fn drop(&mut self) {
        if self.broken.is_some() {
            // A half-done step cannot be undone: the engine would free memory twice, or wait for threads that wait for
            // a step.
            std::mem::take(&mut self.threads).into_iter().for_each(std::mem::forget);
            return;
        }
        // SAFETY: owned, and not used elsewhere. The threads are dropped after it.
        unsafe { sys::llama_free(self.as_ptr()) }
    }
}

impl RawContext {
    fn new(weights: &Weights, settings: &ContextSettings) -> Result<Self> {
        check_memory(0)?;
        let params = settings.raw(weights);
        let (context, said) = logging::capture(|| {
            kernels::with(weights.settings.cpu_kernels, || {
                // SAFETY: the model is alive and stays so for longer than the context.
                unsafe { sys::shim::init_from_model(weights.as_ptr(), &params) }
            })
        });
        let failed = |problem: Option<String>| {
            let reason = problem.unwrap_or_else(|| "the engine gave no reason".to_owned());
            let message = format!("cannot make a context of {} tokens: {reason}", settings.n_ctx);
            Error::new(Failure::of(&reason).kind(ErrorKind::InvalidArgument), message).with_hint(
                Text::with_names("a smaller {context_size} or {batch_size} needs less memory"),
            )
        };
        weights.settings.devices.check()?;
        let context = context.map_err(|reason| failed(said.problem().or(Some(reason))))?;
        let context = NonNull::new(context).ok_or_else(|| failed(said.problem()))?;
        let mut raw = Self {
            context,
            threads: Vec::new(),
            n_outputs_max: params.n_outputs_max as usize,
            is_pipelined: said.lines().any(|line| phrases::PIPELINED.is_in(line)),
            broken: None,
        };
        // Nothing is computed on metadata, so threads are not needed.
        if !weights.is_metadata_only {
            raw.attach_threads(settings)?;
        }
        // Checks the memory left after all large allocations.
        check_memory(0)?;
        Ok(raw)
    }

    fn as_ptr(&self) -> *mut sys::llama_context {
        self.context.as_ptr()
    }

    /// Aborts a step once all requests in `watched` are cancelled.
    fn watch(&self, watched: &UnsafeCell<Vec<CancelToken>>) {
        // SAFETY: `watched` is boxed, so the pointer is valid until after the context, which is dropped first.
        unsafe {
            sys::llama_set_abort_callback(self.as_ptr(), Some(should_abort), watched.get().cast());
        }
    }

    /// Attaches persistent threads to the context. Otherwise the engine starts new ones for every step.
    fn attach_threads(&mut self, settings: &ContextSettings) -> Result<()> {
        let Some(api) = ThreadPoolApi::find() else { return Ok(()) };
        let mut by_size = BTreeMap::new();
        let [generate, batch] = settings.threads();
        for n_threads in [generate, batch] {
            if let std::collections::btree_map::Entry::Vacant(entry) = by_size.entry(n_threads) {
                let pool = ThreadPool::new(&api, n_threads)?;
                entry.insert(pool.pool);
                self.threads.push(pool);
            }
        }
        // SAFETY: the pools outlive the context, which is freed first.
        unsafe {
            sys::llama_attach_threadpool(self.as_ptr(), by_size[&generate], by_size[&batch]);
        }
        Ok(())
    }
}
