//! Answers a question about a picture in a plain loop over the engine, for comparison with the library's answers.

use std::ffi::CString;
use std::path::Path;
use std::ptr;

use mullama_sys::shim::{PreparedMedia, Projector};
use mullama_sys::{
    llama_batch, llama_context, llama_context_default_params, llama_decode, llama_free,
    llama_get_logits_ith, llama_init_from_model, llama_model_default_params, llama_model_free,
    llama_model_get_vocab, llama_model_load_from_file, llama_model_n_embd_inp,
    llama_set_causal_attn, llama_tokenize, llama_vocab, llama_vocab_is_eog, llama_vocab_n_tokens,
};
use serde_json::Value;

/// A picture: width, height and pixels.
pub type Pixels<'a> = (u32, u32, &'a [u8]);

/// Returns the first `count` tokens after a text, a picture and another text, each the most likely one that is not an
/// end token, with the natural logarithms of the probabilities of the `n_top` most likely tokens at its position.
///
/// The engine's modules must have been loaded, for example by the library.
///
/// # Panics
/// Panics if anything fails.
pub fn raw_answer(
    model: &Path,
    projector: &Path,
    (before, picture, after): (&str, Pixels<'_>, &str),
    count: usize,
    n_top: usize,
) -> Vec<(i32, Vec<f32>)> {
    let path = |path: &Path| CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: NUL-terminated paths; everything is freed once, after its last use.
    unsafe {
        let model = llama_model_load_from_file(path(model).as_ptr(), llama_model_default_params());
        assert!(!model.is_null());
        let mut params = llama_context_default_params();
        (params.n_ctx, params.n_threads, params.n_threads_batch) = (512, 1, 1);
        let context = llama_init_from_model(model, params);
        assert!(!context.is_null());
        let (projector, _) = Projector::load(&path(projector), model, 1).unwrap();
        let (width, height, pixels) = picture;
        let (media, described) = projector.prepare(width, height, pixels).unwrap();
        let described: Vec<Value> = serde_json::from_str(&described).unwrap();
        let vocab = llama_model_get_vocab(model);
        let n_embd = llama_model_n_embd_inp(model) as usize;
        let mut run = Run { context, n_past: 0 };
        run.tokens(&tokenize(vocab, before, true));
        for (index, piece) in described.iter().enumerate() {
            if let Some(tokens) = piece["tokens"].as_array() {
                let tokens: Vec<_> =
                    tokens.iter().map(|token| token.as_i64().unwrap() as i32).collect();
                run.tokens(&tokens);
            } else {
                let embeddings = encode(&projector, &media, index, piece, n_embd);
                run.embeddings(embeddings, n_embd, piece["sees_ahead"] == true);
            }
        }
        run.tokens(&tokenize(vocab, after, false));
        let n_vocab = llama_vocab_n_tokens(vocab) as usize;
        let mut answer = Vec::new();
        for _ in 0..count {
            let logits = std::slice::from_raw_parts(llama_get_logits_ith(context, -1), n_vocab);
            let mut order: Vec<usize> = (0..n_vocab).collect();
            order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
            let highest = logits[order[0]];
            let sum: f32 = logits.iter().map(|logit| (logit - highest).exp()).sum();
            let logprob = |&token: &usize| logits[token] - highest - sum.ln();
            let ends = |token: &i32| llama_vocab_is_eog(vocab, *token);
            let best = order.iter().map(|&token| token as i32).find(|token| !ends(token)).unwrap();
            answer.push((best, order[..n_top].iter().map(logprob).collect()));
            run.tokens(&[best]);
        }
        drop(media);
        drop(projector);
        llama_free(context);
        llama_model_free(model);
        answer
    }
}

fn encode(
    projector: &Projector,
    media: &PreparedMedia,
    index: usize,
    piece: &Value,
    n_embd: usize,
) -> Vec<f32> {
    let mut embeddings = vec![0.0; piece["length"].as_u64().unwrap() as usize * n_embd];
    projector.encode(media, index, &|| true, &mut embeddings).unwrap();
    embeddings
}

/// # Safety
/// `vocab` must be valid.
unsafe fn tokenize(vocab: *const llama_vocab, text: &str, is_first: bool) -> Vec<i32> {
    let mut tokens = vec![0; text.len() + 2];
    let (bytes, size) = (text.as_ptr().cast(), text.len() as i32);
    // SAFETY: there is room for one token per byte, and two more.
    let count = unsafe {
        let room = tokens.len() as i32;
        llama_tokenize(vocab, bytes, size, tokens.as_mut_ptr(), room, is_first, true)
    };
    tokens.truncate(usize::try_from(count).unwrap());
    tokens
}

struct Run {
    context: *mut llama_context,
    n_past: i32,
}

impl Run {
    fn tokens(&mut self, tokens: &[i32]) {
        let mut tokens = tokens.to_vec();
        if !tokens.is_empty() {
            self.decode(tokens.len(), tokens.as_mut_ptr(), ptr::null_mut());
        }
    }

    fn embeddings(&mut self, mut embeddings: Vec<f32>, n_embd: usize, sees_ahead: bool) {
        // SAFETY: the context is valid for the lifetime of this value.
        unsafe { llama_set_causal_attn(self.context, !sees_ahead) };
        self.decode(embeddings.len() / n_embd, ptr::null_mut(), embeddings.as_mut_ptr());
        // SAFETY: as above.
        unsafe { llama_set_causal_attn(self.context, true) };
    }

    fn decode(&mut self, count: usize, token: *mut i32, embd: *mut f32) {
        let mut positions: Vec<i32> = (self.n_past..self.n_past + count as i32).collect();
        let mut sequence = 0;
        let mut sequences = vec![&raw mut sequence; count];
        let mut counts = vec![1; count];
        let mut outputs = vec![0_i8; count];
        outputs[count - 1] = i8::from(embd.is_null());
        let batch = llama_batch {
            n_tokens: count as i32,
            token,
            embd,
            pos: positions.as_mut_ptr(),
            n_seq_id: counts.as_mut_ptr(),
            seq_id: sequences.as_mut_ptr(),
            logits: outputs.as_mut_ptr(),
        };
        // SAFETY: all lists have `count` elements, or rows.
        assert_eq!(unsafe { llama_decode(self.context, batch) }, 0);
        self.n_past += count as i32;
    }
}
