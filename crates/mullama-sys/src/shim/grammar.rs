//! Parses grammars and tensor name patterns like the engine.

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

/// Parses a grammar for tokens of this vocabulary. Returns its rules in JSON, or the reason why it
/// is invalid.
///
/// # Safety
/// `vocab` must be valid.
pub unsafe fn parse_grammar(vocab: *const llama_vocab, gbnf: &CStr) -> ShimResult<String> {
    // SAFETY: the caller guarantees the validity of `vocab`; the string outlives the call.
    call(|out| unsafe { mullama_parse_grammar(vocab, gbnf.as_ptr(), out) })
}

/// Checks that the engine accepts a tensor name pattern. The error is the reason.
pub fn check_pattern(pattern: &CStr) -> ShimResult<()> {
    // SAFETY: a NUL-terminated string that outlives the call.
    call(|out| unsafe { mullama_check_pattern(pattern.as_ptr(), out) }).map(drop)
}

/// Whether a tensor name pattern matches a name, by the engine's rules.
pub fn pattern_matches(pattern: &CStr, text: &CStr) -> ShimResult<bool> {
    let mut matches = false;
    // SAFETY: NUL-terminated strings that outlive the call; the out pointers live on this stack.
    call(|out| unsafe {
        mullama_pattern_matches(pattern.as_ptr(), text.as_ptr(), &raw mut matches, out)
    })?;
    Ok(matches)
}
