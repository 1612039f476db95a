//! A raw loop over the engine's C interface with greedy sampling, for one or several sequences per batch.

use std::ffi::{CStr, CString, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use mullama_sys as sys;

/// The id of a token.
pub type Token = sys::llama_token;

/// Sizes of the context and the batches, and the number of threads.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Context size in tokens.
    pub n_ctx: u32,
    /// Maximum number of tokens per call (the logical batch).
    pub n_batch: u32,
    /// Maximum number of tokens per computation (the physical batch).
    pub n_ubatch: u32,
    /// Number of threads, for prompts as well.
    pub n_threads: u32,
}

/// Generated tokens, and the time taken.
#[derive(Debug, Clone)]
pub struct Timed {
    /// Duration of the measured part.
    pub duration: Duration,
    /// All generated tokens.
    pub tokens: Vec<Token>,
}

/// A model with a context, as in a program that calls the engine directly.
///
/// All settings that affect the speed of the engine are those of `mullama-core`: default model
/// parameters, the same number of sequences in one pool of KV cells, the same number of outputs,
/// automatic flash attention, a persistent thread pool. The additional work of `mullama-core` is left out on
/// purpose: a separate thread, cancellation, sampler chains, text, delivery.
pub struct Floor {
    // Freed in this order: see `Drop`.
    context: NonNull<sys::llama_context>,
    threads: Option<ThreadPool>,
    model: NonNull<sys::llama_model>,
    n_vocab: usize,
    /// End tokens, which are never chosen, so that the loop continues (`ignore_eos`).
    ends: Vec<Token>,
    n_batch: usize,
}

// SAFETY: the engine's objects may move between threads; `&mut` prevents concurrent use.
unsafe impl Send for Floor {}

/// The default number of sequences of `mullama-core`: for running requests and for cached ones.
const SEQUENCES: u32 = 32;

impl Floor {
    /// Loads a model. The process must have loaded the engine's modules.
    pub fn open(path: &Path, settings: Settings) -> Result<Self, String> {
        let file = path.to_str().and_then(|text| CString::new(text).ok());
        let file = file.ok_or_else(|| format!("{}: not a usable path", path.display()))?;
        // SAFETY: a NUL-terminated path; every pointer is checked before it is used, and freed by
        // `Drop` once it is part of a `Floor`.
        unsafe {
            if sys::ggml_backend_dev_count() == 0 {
                return Err("no backend module is loaded: use mullama first".to_owned());
            }
            let model =
                sys::llama_model_load_from_file(file.as_ptr(), sys::llama_model_default_params());
            let model =
                NonNull::new(model).ok_or_else(|| format!("cannot load {}", path.display()))?;
            let Some(context) = context(model, settings) else {
                sys::llama_model_free(model.as_ptr());
                return Err("cannot make a context".to_owned());
            };
            let threads = ThreadPool::new(settings.n_threads);
            if let Some(threads) = &threads {
                threads.attach(context);
            }
            let vocab = sys::llama_model_get_vocab(model.as_ptr());
            let n_vocab = sys::llama_vocab_n_tokens(vocab);
            let ends =
                (0..n_vocab).filter(|&token| sys::llama_vocab_is_eog(vocab, token)).collect();
            let n_batch = settings.n_batch as usize;
            Ok(Self { context, threads, model, n_vocab: n_vocab as usize, ends, n_batch })
        }
    }

    /// Computes a prompt and chooses one token. Measures both.
    pub fn prefill(&mut self, prompt: &[Token]) -> Result<Timed, String> {
        self.forget();
        let start = Instant::now();
        let token = self.start(prompt)?;
        Ok(Timed { duration: start.elapsed(), tokens: vec![token] })
    }

    /// Computes a prompt and generates `n_new` tokens. Measures from the first token to the last.
    pub fn decode(&mut self, prompt: &[Token], n_new: usize) -> Result<Timed, String> {
        self.forget();
        let mut token = self.start(prompt)?;
        let mut tokens = Vec::with_capacity(n_new);
        tokens.push(token);
        let start = Instant::now();
        while tokens.len() < n_new {
            self.compute(&mut [token])?;
            token = self.choose(-1)?;
            tokens.push(token);
        }
        Ok(Timed { duration: start.elapsed(), tokens })
    }

    /// Computes prompts together, and generates `n_new` tokens after each: one token of each per step.
    /// Measures all of it. The tokens are returned prompt after prompt.
    pub fn together(&mut self, prompts: &[Vec<Token>], n_new: usize) -> Result<Timed, String> {
        self.forget();
        let start = Instant::now();
        let mut answers = vec![Vec::with_capacity(n_new); prompts.len()];
        let mut batch = Batch::default();
        for (sequence, prompt) in prompts.iter().enumerate() {
            for (position, &token) in prompt.iter().enumerate() {
                let last = position + 1 == prompt.len();
                batch.add(token, position, sequence, last);
                if batch.tokens.len() == self.n_batch {
                    self.compute_batch(&mut batch, &mut answers)?;
                }
            }
        }
        self.compute_batch(&mut batch, &mut answers)?;
        for step in 1..n_new {
            for (sequence, prompt) in prompts.iter().enumerate() {
                let position = prompt.len() + step - 1;
                batch.add(answers[sequence][step - 1], position, sequence, true);
            }
            self.compute_batch(&mut batch, &mut answers)?;
        }
        Ok(Timed { duration: start.elapsed(), tokens: answers.concat() })
    }

    fn compute_batch(
        &mut self,
        batch: &mut Batch,
        answers: &mut [Vec<Token>],
    ) -> Result<(), String> {
        // SAFETY: the batch's arrays have the lengths that it states, and are only read.
        let status = unsafe { sys::llama_decode(self.context.as_ptr(), batch.raw()) };
        if status != 0 {
            return Err(format!("llama_decode gave {status}"));
        }
        for (index, sequence) in batch.outputs() {
            let token = self.choose(index as i32)?;
            answers[sequence].push(token);
        }
        *batch = Batch::default();
        Ok(())
    }

    fn forget(&mut self) {
        // SAFETY: a valid context.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.context.as_ptr()), false) }
    }

    fn start(&mut self, prompt: &[Token]) -> Result<Token, String> {
        for part in prompt.to_vec().chunks_mut(self.n_batch) {
            self.compute(part)?;
        }
        self.choose(-1)
    }

    fn compute(&mut self, tokens: &mut [Token]) -> Result<(), String> {
        // SAFETY: pointer and count describe `tokens`, which the engine only reads.
        let status = unsafe {
            let batch = sys::llama_batch_get_one(tokens.as_mut_ptr(), tokens.len() as i32);
            sys::llama_decode(self.context.as_ptr(), batch)
        };
        if status == 0 { Ok(()) } else { Err(format!("llama_decode gave {status}")) }
    }

    /// Returns the token with the highest logit (the first of equal ones) at an index of the batch; -1 is
    /// the last.
    fn choose(&mut self, index: i32) -> Result<Token, String> {
        // SAFETY: there is a logit for each token of the vocabulary; they are valid until the next
        // step and may be modified.
        let logits = unsafe {
            let logits = sys::llama_get_logits_ith(self.context.as_ptr(), index);
            if logits.is_null() {
                return Err("there are no logits".to_owned());
            }
            std::slice::from_raw_parts_mut(logits, self.n_vocab)
        };
        for &token in &self.ends {
            logits[token as usize] = f32::NEG_INFINITY;
        }
        let mut best = (0, f32::NEG_INFINITY);
        for (id, &logit) in logits.iter().enumerate() {
            if logit > best.1 {
                best = (id, logit);
            }
        }
        Ok(best.0 as Token)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // SAFETY: all are owned; the context is freed before the threads and the weights that it uses.
        unsafe {
            sys::llama_free(self.context.as_ptr());
            drop(self.threads.take());
            sys::llama_model_free(self.model.as_ptr());
        }
    }
}

/// Tokens of several sequences for one call.
#[derive(Default)]
struct Batch {
    tokens: Vec<Token>,
    positions: Vec<sys::llama_pos>,
    sequences: Vec<sys::llama_seq_id>,
    wanted: Vec<i8>,
    counts: Vec<i32>,
    pointers: Vec<*mut sys::llama_seq_id>,
}

impl Batch {
    fn add(&mut self, token: Token, position: usize, sequence: usize, wanted: bool) {
        self.tokens.push(token);
        self.positions.push(position as sys::llama_pos);
        self.sequences.push(sequence as sys::llama_seq_id);
        self.wanted.push(wanted.into());
        self.counts.push(1);
    }

    /// The indices in the batch with outputs, each with its sequence.
    fn outputs(&self) -> impl Iterator<Item = (usize, usize)> {
        let wanted = self.wanted.iter().zip(&self.sequences).enumerate();
        wanted.filter(|(_, (wanted, _))| **wanted != 0).map(|(at, (_, &of))| (at, of as usize))
    }

    fn raw(&mut self) -> sys::llama_batch {
        self.pointers = self.sequences.iter_mut().map(ptr::from_mut).collect();
        sys::llama_batch {
            n_tokens: self.tokens.len() as i32,
            token: self.tokens.as_mut_ptr(),
            embd: ptr::null_mut(),
            pos: self.positions.as_mut_ptr(),
            n_seq_id: self.counts.as_mut_ptr(),
            seq_id: self.pointers.as_mut_ptr(),
            logits: self.wanted.as_mut_ptr(),
        }
    }
}

/// A context with the parameters that `mullama-core` uses (its `engine/context.rs`).
///
/// # Safety
/// `model` must be valid, and outlive the context.
unsafe fn context(
    model: NonNull<sys::llama_model>,
    settings: Settings,
) -> Option<NonNull<sys::llama_context>> {
    // SAFETY: a plain struct of defaults, and a valid model.
    unsafe {
        let mut params = sys::llama_context_default_params();
        params.n_ctx = settings.n_ctx;
        params.n_batch = settings.n_batch;
        params.n_ubatch = settings.n_ubatch;
        params.n_seq_max = SEQUENCES;
        params.n_outputs_max = SEQUENCES;
        params.n_threads = settings.n_threads as i32;
        params.n_threads_batch = settings.n_threads as i32;
        params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_AUTO;
        params.no_perf = true;
        params.kv_unified = true;
        NonNull::new(sys::llama_init_from_model(model.as_ptr(), params))
    }
}

/// Persistent threads: without them, the engine starts new ones for every step. The functions are from
/// the CPU module, which is loaded at run time, as in `mullama-core`.
pub(crate) struct ThreadPool {
    pool: sys::ggml_threadpool_t,
    free: unsafe extern "C" fn(sys::ggml_threadpool_t),
}

impl ThreadPool {
    /// Makes a context use these threads.
    ///
    /// # Safety
    /// The context must be valid, and not outlive them.
    pub(crate) unsafe fn attach(&self, context: NonNull<sys::llama_context>) {
        // SAFETY: the caller guarantees that the context is valid.
        unsafe { sys::llama_attach_threadpool(context.as_ptr(), self.pool, self.pool) }
    }

    pub(crate) fn new(n_threads: u32) -> Option<Self> {
        type New = unsafe extern "C" fn(*mut sys::ggml_threadpool_params) -> sys::ggml_threadpool_t;
        type Free = unsafe extern "C" fn(sys::ggml_threadpool_t);
        // SAFETY: the names and types are those of ggml-cpu.h.
        unsafe {
            let device = sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU);
            let device = NonNull::new(device)?;
            let registration = sys::ggml_backend_dev_backend_reg(device.as_ptr());
            let find = |name: &CStr| {
                NonNull::new(sys::ggml_backend_reg_get_proc_address(registration, name.as_ptr()))
                    .map(NonNull::as_ptr)
            };
            let new = std::mem::transmute::<*mut c_void, New>(find(c"ggml_threadpool_new")?);
            let free = std::mem::transmute::<*mut c_void, Free>(find(c"ggml_threadpool_free")?);
            let mut params = sys::ggml_threadpool_params_default(n_threads as i32);
            let pool = new(&raw mut params);
            (!ptr::eq(pool, ptr::null())).then_some(Self { pool, free })
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // SAFETY: owned; the context that used it is gone.
        unsafe { (self.free)(self.pool) }
    }
}
