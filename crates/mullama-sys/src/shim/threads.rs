//! Threads of the engine, with errors if the system cannot create them.

use std::ffi::{c_char, c_int};
use std::ptr;

use llama_cpp_sys_2::{ggml_threadpool_params, ggml_threadpool_t};

use super::{ShimResult, call};

/// The type of `ggml_threadpool_new` in the CPU module.
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

/// Creates a thread pool that includes the calling thread. Fails if the system cannot create all threads. The result
/// may be null.
///
/// # Safety
/// `create` must be the `ggml_threadpool_new` of the CPU module.
pub unsafe fn threadpool_new(create: CreatePool, n_threads: u32) -> ShimResult<ggml_threadpool_t> {
    let mut pool = ptr::null_mut();
    // SAFETY: the caller guarantees the validity of `create`.
    call(|out| unsafe { mullama_threadpool_new(create, n_threads as c_int, &raw mut pool, out) })?;
    Ok(pool)
}

/// Starts and ends `count` threads. Fails if the system cannot create all of them.
pub fn try_threads(count: u32) -> ShimResult<()> {
    // SAFETY: the only pointer is `out`.
    call(|out| unsafe { mullama_try_threads(count as c_int, out) }).map(drop)
}
