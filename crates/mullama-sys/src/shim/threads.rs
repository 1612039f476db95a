//! Threads of the engine, which the system may refuse.

use std::ffi::{c_char, c_int};
use std::ptr;

use llama_cpp_sys_2::{ggml_threadpool_params, ggml_threadpool_t};

use super::{ShimResult, call};

/// The type of `ggml_threadpool_new`, which is a function of the CPU module.
pub type CreatePool = unsafe extern "C" fn(*mut ggml_threadpool_params) -> ggml_threadpool_t;

unsafe extern "C" {
    fn mullama_threadpool_new(
        create: CreatePool,
        n_threads: c_int,
        pool: *mut ggml_threadpool_t,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_try_threads(count: c_int, out: *mut *mut c_char) -> c_int;
}

/// Makes a pool of threads, the caller's among them; fails where the system refuses one. May give null.
///
/// # Safety
/// `create` must be the `ggml_threadpool_new` of the CPU module.
pub unsafe fn threadpool_new(create: CreatePool, n_threads: u32) -> ShimResult<ggml_threadpool_t> {
    let mut pool = ptr::null_mut();
    // SAFETY: the caller vouches for `create`.
    call(|out| unsafe { mullama_threadpool_new(create, n_threads as c_int, &raw mut pool, out) })?;
    Ok(pool)
}

/// Starts and ends this many threads; fails where there are not so many to be had.
pub fn try_threads(count: u32) -> ShimResult<()> {
    // SAFETY: nothing is pointed to but the text.
    call(|out| unsafe { mullama_try_threads(count as c_int, out) }).map(drop)
}
