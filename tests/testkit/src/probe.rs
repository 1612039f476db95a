//! Runs a model in the bare engine to determine how far it gets.

use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt;
use std::path::Path;
use std::ptr;
use std::sync::Once;

use mullama_sys::{
    GGML_LOG_LEVEL_ERROR, ggml_log_level, llama_backend_init, llama_batch_get_one, llama_context,
    llama_context_default_params, llama_decode, llama_detokenize, llama_free, llama_get_logits_ith,
    llama_init_from_model, llama_log_set, llama_model, llama_model_default_params,
    llama_model_free, llama_model_get_vocab, llama_model_load_from_file, llama_model_n_ctx_train,
    llama_tokenize, llama_vocab, llama_vocab_n_tokens,
    modules::{self, ModuleSet},
};

/// A step from a file to a text, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// `llama_model_load_from_file`.
    Load,
    /// `llama_tokenize` and `llama_detokenize`.
    Tokenize,
    /// `llama_init_from_model`.
    Context,
    /// `llama_decode`.
    Decode,
}

impl Stage {
    /// All stages.
    pub const ALL: [Self; 4] = [Self::Load, Self::Tokenize, Self::Context, Self::Decode];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load => "load",
            Self::Tokenize => "tokenize",
            Self::Context => "context",
            Self::Decode => "decode",
        })
    }
}

/// The behaviour of the bare engine for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every stage succeeds.
    Accepts,
    /// A stage reports a failure.
    Refuses(Stage),
    /// A stage ends the process: an assertion, an exception or an invalid access. [`probe`] never
    /// returns this.
    Dies(Stage),
    /// Every stage succeeds, but the logits are not finite.
    NotFinite,
    /// Loading allocates more memory than machines have, which may succeed. [`probe`] never returns
    /// this.
    ExhaustsMemory,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepts => f.write_str("accepts"),
            Self::Refuses(stage) => write!(f, "refuses-{stage}"),
            Self::Dies(stage) => write!(f, "dies-{stage}"),
            Self::NotFinite => f.write_str("not-finite"),
            Self::ExhaustsMemory => f.write_str("exhausts-memory"),
        }
    }
}

/// Loads the engine's modules and silences its log except for errors, once per process.
///
/// For programs in which nothing else initialises the engine.
pub fn start_engine() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        // SAFETY: the callback is static, `Once` makes other callers of this function wait, and
        // the modules are those of the build.
        unsafe {
            llama_log_set(Some(log_errors), ptr::null_mut());
            modules::load(&[], ModuleSet::WithoutDriver, |_| None, &std::env::temp_dir());
            llama_backend_init();
        }
    });
}

/// Runs a model through every [`Stage`], announcing each before it starts.
///
/// The engine ends the process for some broken files, so run this in a process that may crash.
pub fn probe(path: &Path, mut announce: impl FnMut(Stage)) -> Verdict {
    start_engine();
    announce(Stage::Load);
    let path = path.to_str().and_then(|path| CString::new(path).ok());
    let Some(path) = path else { return Verdict::Refuses(Stage::Load) };
    // SAFETY: a NUL-terminated path; model and context are freed once, after their last use.
    unsafe {
        let model = llama_model_load_from_file(path.as_ptr(), llama_model_default_params());
        if model.is_null() {
            return Verdict::Refuses(Stage::Load);
        }
        let verdict = use_model(model, &mut announce);
        llama_model_free(model);
        verdict
    }
}

/// # Safety
/// `model` must be valid.
unsafe fn use_model(model: *mut llama_model, announce: &mut impl FnMut(Stage)) -> Verdict {
    announce(Stage::Tokenize);
    // SAFETY: the vocabulary belongs to the model.
    let vocab = unsafe { llama_model_get_vocab(model) };
    // SAFETY: as above.
    if unsafe { round_trip(vocab, "Hello, wörld!\n") }.is_none() {
        return Verdict::Refuses(Stage::Tokenize);
    }
    announce(Stage::Context);
    // SAFETY: the context is freed once, before the model.
    unsafe {
        let mut params = llama_context_default_params();
        // 0 stays 0, which makes the engine use the model's own length.
        params.n_ctx = (llama_model_n_ctx_train(model) as u32).min(512);
        params.n_threads = 1;
        let context = llama_init_from_model(model, params);
        if context.is_null() {
            return Verdict::Refuses(Stage::Context);
        }
        announce(Stage::Decode);
        let verdict = decode(context, llama_vocab_n_tokens(vocab));
        llama_free(context);
        verdict
    }
}

/// # Safety
/// `context` must be valid, and its model must have `n_vocab` tokens.
unsafe fn decode(context: *mut llama_context, n_vocab: i32) -> Verdict {
    let mut token = 0;
    // SAFETY: the token outlives the batch; the logits are one row of the vocabulary's size, and
    // are read before the context is used again.
    unsafe {
        if llama_decode(context, llama_batch_get_one(&raw mut token, 1)) != 0 {
            return Verdict::Refuses(Stage::Decode);
        }
        let logits = llama_get_logits_ith(context, -1);
        if logits.is_null() {
            return Verdict::Refuses(Stage::Decode);
        }
        let logits = std::slice::from_raw_parts(logits, n_vocab as usize);
        if logits.iter().all(|logit| logit.is_finite()) {
            Verdict::Accepts
        } else {
            Verdict::NotFinite
        }
    }
}

/// Tokenises a text and converts the tokens back. Returns the resulting bytes and the number of
/// tokens; `None` if the engine reports a failure.
///
/// # Safety
/// `vocab` must be valid.
pub unsafe fn round_trip(vocab: *const llama_vocab, text: &str) -> Option<(Vec<u8>, usize)> {
    let mut tokens = vec![0; text.len() + 8];
    // SAFETY: lengths and pointers are those of the same buffers.
    let count = unsafe {
        let (text_len, capacity) = (text.len() as i32, tokens.len() as i32);
        llama_tokenize(
            vocab,
            text.as_ptr().cast(),
            text_len,
            tokens.as_mut_ptr(),
            capacity,
            true,
            true,
        )
    };
    let count = usize::try_from(count).ok()?;
    let mut bytes = vec![0u8; 64 * text.len() + 64];
    // SAFETY: as above; `count` tokens have been written.
    let length = unsafe {
        let capacity = bytes.len() as i32;
        llama_detokenize(
            vocab,
            tokens.as_ptr(),
            count as i32,
            bytes.as_mut_ptr().cast(),
            capacity,
            false,
            true,
        )
    };
    bytes.truncate(usize::try_from(length).ok()?);
    Some((bytes, count))
}

unsafe extern "C" fn log_errors(level: ggml_log_level, text: *const c_char, _: *mut c_void) {
    if level == GGML_LOG_LEVEL_ERROR {
        // SAFETY: the engine passes a NUL-terminated string that lives until this returns.
        let text = unsafe { CStr::from_ptr(text) };
        eprint!("{}", text.to_string_lossy());
    }
}
