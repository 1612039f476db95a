//! Bindings to `shim/mullama_shim.h`, which documents the functions.

mod chat;
mod grammar;
mod guarded;
mod header;
mod media;
mod simulated;
mod threads;
mod workers;

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

pub use chat::{ChatParser, ChatTemplates, Renderer};
pub use grammar::{check_pattern, parse_grammar, pattern_matches};
pub use guarded::{
    adapter_lora_init, decode, detokenize, init_from_model, memory_breakdown, model_load_from_file,
    state_seq_get_data, state_seq_set_data, tokenize,
};
pub use header::{quantised_tensors, shape_tensors};
pub use media::{PreparedMedia, Projector, log_media, projector_memory};
pub use simulated::{SimulatedDevice, SimulatedProfile};
pub use threads::{CreatePool, threadpool_new, try_threads};
pub use workers::{AddServer, rpc_add_server, rpc_protocol};

unsafe extern "C" {
    fn mullama_string_free(text: *mut c_char);
    fn mullama_install();
}

/// The result of a shim function. Errors are the message of the C++ exception.
pub type ShimResult<T> = Result<T, String>;

/// Calls a shim function and takes ownership of the text in `*out`.
fn call(function: impl FnOnce(*mut *mut c_char) -> c_int) -> ShimResult<String> {
    let mut out = ptr::null_mut();
    let status = function(&raw mut out);
    let text = if out.is_null() {
        String::from("out of memory")
    } else {
        // SAFETY: the shim returns a NUL-terminated string, which is owned here and freed once.
        unsafe {
            let text = CStr::from_ptr(out).to_string_lossy().into_owned();
            mullama_string_free(out);
            text
        }
    };
    if status == 0 { Ok(text) } else { Err(text) }
}

/// Disables the logger of llama-common, and installs the handler for failed assertions that the
/// guarded functions require. Call once, before any other function of the engine.
pub fn install() {
    // SAFETY: no arguments; the caller calls it only once.
    unsafe { mullama_install() }
}
