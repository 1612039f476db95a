//! The tensors of models that do not exist (`shim/header.cpp`).

use std::ffi::{c_char, c_int, c_void};

use llama_cpp_sys_2::{llama_ftype, llama_model};

use super::{ShimResult, call};

unsafe extern "C" {
    fn mullama_shape_tensors(
        header: *const c_void,
        size: usize,
        file_type: c_int,
        is_tied: bool,
        has_biases: bool,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_quantised_tensors(
        model: *const llama_model,
        header: *const c_void,
        size: usize,
        file_type: c_int,
        out: *mut *mut c_char,
    ) -> c_int;
}

/// The tensors of a model with the metadata in `header`, with the types of a quantisation, in JSON:
/// `[[name, type, [length, ...]], ...]`.
pub fn shape_tensors(
    header: &[u8],
    file_type: llama_ftype,
    is_tied: bool,
    has_biases: bool,
) -> ShimResult<String> {
    let (start, size) = (header.as_ptr().cast(), header.len());
    // SAFETY: pointer and size describe `header`, which outlives the call.
    call(|out| unsafe {
        mullama_shape_tensors(start, size, file_type as c_int, is_tied, has_biases, out)
    })
}

/// The tensors listed in `header`, with the types of a quantisation, in JSON as above.
///
/// # Safety
/// `model` must be valid.
pub unsafe fn quantised_tensors(
    model: *const llama_model,
    header: &[u8],
    file_type: llama_ftype,
) -> ShimResult<String> {
    let (start, size) = (header.as_ptr().cast(), header.len());
    // SAFETY: the caller guarantees the validity of `model`; pointer and size describe `header`,
    // which outlives the call.
    call(|out| unsafe { mullama_quantised_tensors(model, start, size, file_type as c_int, out) })
}
