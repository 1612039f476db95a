//! Functions of the engine, guarded: exceptions and failed assertions become errors.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::ptr;

use llama_cpp_sys_2::{
    llama_adapter_lora, llama_batch, llama_context, llama_context_params, llama_model,
    llama_model_params, llama_seq_id, llama_state_seq_flags, llama_token, llama_vocab,
};

use super::{ShimResult, call};

unsafe extern "C" {
    fn mullama_model_load_from_file(
        path: *const c_char,
        params: *const llama_model_params,
        result: *mut *mut llama_model,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_init_from_model(
        model: *mut llama_model,
        params: *const llama_context_params,
        result: *mut *mut llama_context,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_adapter_lora_init(
        model: *mut llama_model,
        path: *const c_char,
        result: *mut *mut llama_adapter_lora,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_state_seq_get_data(
        context: *mut llama_context,
        data: *mut u8,
        size: usize,
        sequence: c_int,
        flags: c_uint,
        written: *mut usize,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_state_seq_set_data(
        context: *mut llama_context,
        data: *const u8,
        size: usize,
        sequence: c_int,
        flags: c_uint,
        read: *mut usize,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_decode(
        context: *mut llama_context,
        batch: *const llama_batch,
        status: *mut c_int,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_tokenize(
        vocab: *const llama_vocab,
        text: *const c_char,
        text_len: c_int,
        tokens: *mut llama_token,
        n_tokens_max: c_int,
        add_special: bool,
        parse_special: bool,
        count: *mut c_int,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_detokenize(
        vocab: *const llama_vocab,
        tokens: *const llama_token,
        n_tokens: c_int,
        text: *mut c_char,
        text_len_max: c_int,
        remove_special: bool,
        unparse_special: bool,
        length: *mut c_int,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_memory_breakdown(context: *const llama_context, out: *mut *mut c_char) -> c_int;
}

/// `llama_model_load_from_file`, guarded: a failed assertion becomes an error. The result may be null.
///
/// # Safety
/// Everything that `params` points to must be valid for the duration of the call.
pub unsafe fn model_load_from_file(
    path: &CStr,
    params: &llama_model_params,
) -> ShimResult<*mut llama_model> {
    let mut result = ptr::null_mut();
    // SAFETY: the caller guarantees the validity of `params`.
    call(|out| unsafe {
        mullama_model_load_from_file(path.as_ptr(), params, &raw mut result, out)
    })?;
    Ok(result)
}

/// `llama_init_from_model`, guarded: a failed assertion becomes an error. The result may be null.
///
/// # Safety
/// `model` must be valid, and outlive the context.
pub unsafe fn init_from_model(
    model: *mut llama_model,
    params: &llama_context_params,
) -> ShimResult<*mut llama_context> {
    let mut result = ptr::null_mut();
    // SAFETY: the caller guarantees the validity of `model`.
    call(|out| unsafe { mullama_init_from_model(model, params, &raw mut result, out) })?;
    Ok(result)
}

/// `llama_adapter_lora_init`, guarded: a failed assertion becomes an error. The result may be null.
///
/// # Safety
/// `model` must be valid and outlive the adapter, and no context of it may be computing.
pub unsafe fn adapter_lora_init(
    model: *mut llama_model,
    path: &CStr,
) -> ShimResult<*mut llama_adapter_lora> {
    let mut result = ptr::null_mut();
    // SAFETY: the caller guarantees the validity of `model`.
    call(|out| unsafe { mullama_adapter_lora_init(model, path.as_ptr(), &raw mut result, out) })?;
    Ok(result)
}

/// `llama_decode`, guarded: an assertion that fails on this thread becomes an error.
///
/// # Safety
/// `context` must be valid and not in use; the arrays of `batch` must have `n_tokens` entries.
pub unsafe fn decode(context: *mut llama_context, batch: &llama_batch) -> ShimResult<c_int> {
    let mut status = 0;
    // SAFETY: the caller guarantees the validity of both.
    call(|out| unsafe { mullama_decode(context, batch, &raw mut status, out) })?;
    Ok(status)
}

/// `llama_state_seq_get_data_ext`, guarded. Returns the number of bytes written, 0 on failure.
///
/// # Safety
/// `context` must be valid and not in use.
pub unsafe fn state_seq_get_data(
    context: *mut llama_context,
    data: &mut [u8],
    sequence: llama_seq_id,
    flags: llama_state_seq_flags,
) -> ShimResult<usize> {
    let mut written = 0;
    let (start, size) = (data.as_mut_ptr(), data.len());
    // SAFETY: the caller guarantees the validity of `context`; pointer and size describe the slice.
    call(|out| unsafe {
        mullama_state_seq_get_data(context, start, size, sequence, flags, &raw mut written, out)
    })?;
    Ok(written)
}

/// `llama_state_seq_set_data_ext`, guarded. Returns the number of bytes read, 0 on failure.
///
/// # Safety
/// `context` must be valid and not in use.
pub unsafe fn state_seq_set_data(
    context: *mut llama_context,
    data: &[u8],
    sequence: llama_seq_id,
    flags: llama_state_seq_flags,
) -> ShimResult<usize> {
    let mut read = 0;
    let (start, size) = (data.as_ptr(), data.len());
    // SAFETY: as above.
    call(|out| unsafe {
        mullama_state_seq_set_data(context, start, size, sequence, flags, &raw mut read, out)
    })?;
    Ok(read)
}

/// `llama_tokenize`, guarded: an exception or a failed assertion becomes an error.
///
/// # Safety
/// `vocab` must be valid.
pub unsafe fn tokenize(
    vocab: *const llama_vocab,
    text: &str,
    tokens: &mut [llama_token],
    add_special: bool,
    parse_special: bool,
) -> ShimResult<c_int> {
    let mut count = 0;
    // SAFETY: the caller guarantees the validity of `vocab`; pointers and lengths describe the slices, limited to the
    // range of `c_int`.
    call(|out| unsafe {
        mullama_tokenize(
            vocab,
            text.as_ptr().cast(),
            c_int::try_from(text.len()).unwrap_or(c_int::MAX),
            tokens.as_mut_ptr(),
            c_int::try_from(tokens.len()).unwrap_or(c_int::MAX),
            add_special,
            parse_special,
            &raw mut count,
            out,
        )
    })?;
    Ok(count)
}

/// `llama_detokenize`, guarded: an exception or a failed assertion becomes an error.
///
/// # Safety
/// `vocab` must be valid and contain every token.
pub unsafe fn detokenize(
    vocab: *const llama_vocab,
    tokens: &[llama_token],
    text: &mut [u8],
    remove_special: bool,
    unparse_special: bool,
) -> ShimResult<c_int> {
    let mut length = 0;
    // SAFETY: as for `tokenize`.
    call(|out| unsafe {
        mullama_detokenize(
            vocab,
            tokens.as_ptr(),
            c_int::try_from(tokens.len()).unwrap_or(c_int::MAX),
            text.as_mut_ptr().cast(),
            c_int::try_from(text.len()).unwrap_or(c_int::MAX),
            remove_special,
            unparse_special,
            &raw mut length,
            out,
        )
    })?;
    Ok(length)
}

/// Bytes of weights, KV cache and compute buffers per buffer type, as JSON.
///
/// # Safety
/// `context` must be valid, and not in use on another thread.
pub unsafe fn memory_breakdown(context: *const llama_context) -> ShimResult<String> {
    // SAFETY: the caller guarantees the validity of `context`.
    call(|out| unsafe { mullama_memory_breakdown(context, out) })
}
