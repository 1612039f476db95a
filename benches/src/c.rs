//! The floor's C interface.

use std::ffi::{CStr, c_char};
use std::path::Path;

use crate::floor::{Floor, Settings, Timed, Token};

/// Loads a model; null, and a line on standard error, where that fails.
///
/// # Safety
/// `path` must be a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn floor_open(
    path: *const c_char,
    n_ctx: u32,
    n_batch: u32,
    n_ubatch: u32,
    n_threads: u32,
) -> *mut Floor {
    // SAFETY: the caller vouches for the string.
    let path = unsafe { CStr::from_ptr(path) }.to_string_lossy();
    let settings = Settings { n_ctx, n_batch, n_ubatch, n_threads };
    Floor::open(Path::new(&*path), settings)
        .map_err(|problem| eprintln!("floor: {problem}"))
        .map_or(std::ptr::null_mut(), |floor| Box::into_raw(Box::new(floor)))
}

/// Computes a prompt and chooses one token, which it leaves in `*token`. Gives the seconds that both
/// took; a negative number, and a line on standard error, where that fails.
///
/// # Safety
/// `floor` must come from [`floor_open`], `prompt` have `n_prompt` tokens, `token` room for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn floor_prefill(
    floor: *mut Floor,
    prompt: *const Token,
    n_prompt: usize,
    token: *mut Token,
) -> f64 {
    // SAFETY: the caller vouches for all of them.
    unsafe {
        let prompt = std::slice::from_raw_parts(prompt, n_prompt);
        report((*floor).prefill(prompt), token)
    }
}

/// Computes a prompt and generates `n_new` tokens, which it leaves in `tokens`. Gives the seconds
/// from the first to the last; a negative number, and a line on standard error, where that fails.
///
/// # Safety
/// `floor` must come from [`floor_open`], `prompt` have `n_prompt` tokens, `tokens` room for `n_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn floor_decode(
    floor: *mut Floor,
    prompt: *const Token,
    n_prompt: usize,
    n_new: usize,
    tokens: *mut Token,
) -> f64 {
    // SAFETY: the caller vouches for all of them.
    unsafe {
        let prompt = std::slice::from_raw_parts(prompt, n_prompt);
        report((*floor).decode(prompt, n_new), tokens)
    }
}

/// Frees what [`floor_open`] gave.
///
/// # Safety
/// `floor` must come from [`floor_open`], and is not to be used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn floor_close(floor: *mut Floor) {
    // SAFETY: the caller vouches for it.
    drop(unsafe { Box::from_raw(floor) });
}

/// Waits until the process hardly computes any more, see [`crate::settle`].
#[unsafe(no_mangle)]
pub extern "C" fn floor_settle() {
    crate::settle();
}

/// Processor time of everything but this process, see [`crate::others`].
#[unsafe(no_mangle)]
pub extern "C" fn floor_others() -> f64 {
    crate::others()
}

/// Whether other programs left a round alone, see [`crate::undisturbed`].
#[unsafe(no_mangle)]
pub extern "C" fn floor_undisturbed(used: f64, elapsed: f64) -> bool {
    crate::undisturbed(used, elapsed)
}

/// # Safety
/// `tokens` must have room for all that were generated.
unsafe fn report(timed: Result<Timed, String>, tokens: *mut Token) -> f64 {
    match timed {
        Ok(timed) => {
            // SAFETY: the caller vouches for the room.
            unsafe {
                std::ptr::copy_nonoverlapping(timed.tokens.as_ptr(), tokens, timed.tokens.len());
            }
            timed.duration.as_secs_f64()
        }
        Err(problem) => {
            eprintln!("floor: {problem}");
            -1.0
        }
    }
}
