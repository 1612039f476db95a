//! The floor's C interface.

use std::ffi::{CStr, c_char};
use std::path::Path;

use crate::floor::{Floor, Settings, Timed, Token};

/// Loads a model. On failure, returns null and writes a line to standard error.
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
    // SAFETY: the caller guarantees a valid string.
    let path = unsafe { CStr::from_ptr(path) }.to_string_lossy();
    let settings = Settings { n_ctx, n_batch, n_ubatch, n_threads };
    Floor::open(Path::new(&*path), settings)
        .map_err(|problem| eprintln!("floor: {problem}"))
        .map_or(std::ptr::null_mut(), |floor| Box::into_raw(Box::new(floor)))
}

/// Computes a prompt, chooses one token and writes it to `*token`. Returns the duration of both in
/// seconds. On failure, returns a negative number and writes a line to standard error.
///
/// # Safety
/// `floor` must come from [`floor_open`], `prompt` must have `n_prompt` tokens, and `token` must
/// have room for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn floor_prefill(
    floor: *mut Floor,
    prompt: *const Token,
    n_prompt: usize,
    token: *mut Token,
) -> f64 {
    // SAFETY: the caller guarantees that all pointers are valid.
    unsafe {
        let prompt = std::slice::from_raw_parts(prompt, n_prompt);
        report((*floor).prefill(prompt), token)
    }
}

/// Computes a prompt, generates `n_new` tokens and writes them to `tokens`. Returns the seconds from
/// the first token to the last. On failure, returns a negative number and writes a line to standard
/// error.
///
/// # Safety
/// `floor` must come from [`floor_open`], `prompt` must have `n_prompt` tokens, and `tokens` must
/// have room for `n_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn floor_decode(
    floor: *mut Floor,
    prompt: *const Token,
    n_prompt: usize,
    n_new: usize,
    tokens: *mut Token,
) -> f64 {
    // SAFETY: the caller guarantees that all pointers are valid.
    unsafe {
        let prompt = std::slice::from_raw_parts(prompt, n_prompt);
        report((*floor).decode(prompt, n_new), tokens)
    }
}

/// Frees a value that [`floor_open`] returned.
///
/// # Safety
/// `floor` must come from [`floor_open`] and must not be used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn floor_close(floor: *mut Floor) {
    // SAFETY: the caller guarantees that it came from `floor_open`.
    drop(unsafe { Box::from_raw(floor) });
}

/// Waits until the process is nearly idle, see [`crate::settle`].
#[unsafe(no_mangle)]
pub extern "C" fn floor_settle() {
    crate::settle();
}

/// CPU time of all other processes, see [`crate::others`].
#[unsafe(no_mangle)]
pub extern "C" fn floor_others() -> f64 {
    crate::others()
}

/// Whether other programs did not disturb a round, see [`crate::undisturbed`].
#[unsafe(no_mangle)]
pub extern "C" fn floor_undisturbed(used: f64, elapsed: f64) -> bool {
    crate::undisturbed(used, elapsed)
}

/// # Safety
/// `tokens` must have room for all generated tokens.
unsafe fn report(timed: Result<Timed, String>, tokens: *mut Token) -> f64 {
    match timed {
        Ok(timed) => {
            // SAFETY: the caller guarantees the room.
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
