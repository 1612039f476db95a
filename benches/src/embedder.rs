//! A raw loop over the engine's C interface that computes embeddings, with many texts per batch, packed as in
//! `mullama-core`.

use std::ffi::CString;
use std::path::Path;
use std::ptr::NonNull;

use mullama_sys as sys;

use crate::floor::{ThreadPool, Token};

/// Maximum number of texts per batch, as in `mullama-core`.
const SEQUENCES: u32 = 128;

/// A model with a context for embeddings, as in a program that calls the engine directly. The engine
/// does the pooling: it returns the mean of the token vectors of each text.
pub struct Embedder {
    // Freed in this order: see `Drop`.
    context: NonNull<sys::llama_context>,
    threads: Option<ThreadPool>,
    model: NonNull<sys::llama_model>,
    n_batch: usize,
    width: usize,
}

impl Embedder {
    /// Loads a model. The process must have loaded the engine's modules.
    pub fn open(path: &Path, n_batch: u32, n_threads: u32) -> Result<Self, String> {
        let file = path.to_str().and_then(|text| CString::new(text).ok());
        let file = file.ok_or_else(|| format!("{}: not a usable path", path.display()))?;
        // SAFETY: a NUL-terminated path; every pointer is checked before it is used, and freed by `Drop`
        // once it is part of an `Embedder`.
        unsafe {
            let model =
                sys::llama_model_load_from_file(file.as_ptr(), sys::llama_model_default_params());
            let model =
                NonNull::new(model).ok_or_else(|| format!("cannot load {}", path.display()))?;
            let mut params = sys::llama_context_default_params();
            params.n_ctx = n_batch;
            params.n_batch = n_batch;
            params.n_ubatch = n_batch;
            params.n_seq_max = SEQUENCES;
            params.n_threads = n_threads as i32;
            params.n_threads_batch = n_threads as i32;
            params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_AUTO;
            params.embeddings = true;
            params.pooling_type = sys::LLAMA_POOLING_TYPE_MEAN;
            params.no_perf = true;
            params.kv_unified = true;
            let Some(context) = NonNull::new(sys::llama_init_from_model(model.as_ptr(), params))
            else {
                sys::llama_model_free(model.as_ptr());
                return Err("cannot make a context".to_owned());
            };
            let threads = ThreadPool::new(n_threads);
            if let Some(threads) = &threads {
                threads.attach(context);
            }
            let width = sys::llama_model_n_embd_out(model.as_ptr()) as usize;
            Ok(Self { context, threads, model, n_batch: n_batch as usize, width })
        }
    }

    /// Returns the vectors of the texts, normalised to length 1 and concatenated. No text may be longer than
    /// a batch.
    pub fn embed(&mut self, texts: &[Vec<Token>]) -> Result<Vec<f32>, String> {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&text| texts[text].len());
        let mut vectors = vec![0.0; texts.len() * self.width];
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |&&text: &&usize| {
                tokens += texts[text].len();
                tokens <= self.n_batch
            };
            let count = rest.iter().take(SEQUENCES as usize).take_while(fits).count();
            let (batch, later) = rest.split_at(count);
            self.compute(texts, batch, &mut vectors)?;
            rest = later;
        }
        Ok(vectors)
    }

    fn compute(
        &mut self,
        texts: &[Vec<Token>],
        batch: &[usize],
        vectors: &mut [f32],
    ) -> Result<(), String> {
        // SAFETY: the batch has room for `n_batch` tokens of one sequence each, and is freed; the engine
        // returns `width` numbers per text.
        unsafe {
            let context = self.context.as_ptr();
            let memory = sys::llama_get_memory(context);
            if !memory.is_null() {
                sys::llama_memory_clear(memory, false);
            }
            let mut raw = sys::llama_batch_init(self.n_batch as i32, 0, 1);
            for (sequence, &text) in batch.iter().enumerate() {
                for (position, &token) in texts[text].iter().enumerate() {
                    let at = raw.n_tokens as usize;
                    *raw.token.add(at) = token;
                    *raw.pos.add(at) = position as i32;
                    *raw.n_seq_id.add(at) = 1;
                    **raw.seq_id.add(at) = sequence as i32;
                    *raw.logits.add(at) = 1;
                    raw.n_tokens += 1;
                }
            }
            let status = sys::llama_decode(context, raw);
            sys::llama_batch_free(raw);
            if status != 0 {
                return Err(format!("llama_decode gave {status}"));
            }
            for (sequence, &text) in batch.iter().enumerate() {
                let own = sys::llama_get_embeddings_seq(context, sequence as i32);
                if own.is_null() {
                    return Err("there are no embeddings".to_owned());
                }
                let own = std::slice::from_raw_parts(own, self.width);
                let length = own.iter().map(|number| number * number).sum::<f32>().sqrt();
                let vector = &mut vectors[text * self.width..][..self.width];
                for (number, own) in vector.iter_mut().zip(own) {
                    *number = own / length;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Embedder {
    fn drop(&mut self) {
        // SAFETY: all are owned; the context is freed before the threads and the weights that it uses.
        unsafe {
            sys::llama_free(self.context.as_ptr());
            drop(self.threads.take());
            sys::llama_model_free(self.model.as_ptr());
        }
    }
}
