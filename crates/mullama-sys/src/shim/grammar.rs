//! Grammars, and patterns over the names of tensors, as the engine takes them.

use std::ffi::{CStr, c_char, c_int};

use llama_cpp_sys_2::llama_vocab;

use super::{ShimResult, call};

unsafe extern "C" {
    fn mullama_parse_grammar(
        vocab: *const llama_vocab,
        gbnf: *const c_char,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_check_pattern(pattern: *const c_char, out: *mut *mut c_char) -> c_int;
    fn mullama_pattern_matches(
        pattern: *const c_char,
        text: *const c_char,
        matches: *mut bool,
        out: *mut *mut c_char,
    ) -> c_int;
}

/// The rules of a grammar for tokens of this vocabulary, in JSON; else what is wrong with it.
///
/// # Safety
/// `vocab` must be valid.
pub unsafe fn parse_grammar(vocab: *const llama_vocab, gbnf: &CStr) -> ShimResult<String> {
    // SAFETY: the caller vouches for `vocab`; the string outlives the call.
    call(|out| unsafe { mullama_parse_grammar(vocab, gbnf.as_ptr(), out) })
}

/// Whether the engine takes a pattern over the names of tensors; else the reason.
pub fn check_pattern(pattern: &CStr) -> ShimResult<()> {
    // SAFETY: a NUL-terminated string that outlives the call.
    call(|out| unsafe { mullama_check_pattern(pattern.as_ptr(), out) }).map(drop)
}

/// Whether a pattern over the names of tensors matches this one, as the engine tries it.
pub fn pattern_matches(pattern: &CStr, text: &CStr) -> ShimResult<bool> {
    let mut matches = false;
    // SAFETY: NUL-terminated strings that outlive the call; the out pointers live on this stack.
    call(|out| unsafe {
        mullama_pattern_matches(pattern.as_ptr(), text.as_ptr(), &raw mut matches, out)
    })?;
    Ok(matches)
}
