//! The threads that a context computes with.

use std::ffi::c_void;

use mullama_base::thread_error;
use mullama_sys as sys;
use sys::shim::CreatePool;

use crate::Result;

/// The functions of the CPU module that create and free thread pools.
pub(super) struct ThreadPoolApi {
    new: CreatePool,
    free: FreeThreadPool,
}

type FreeThreadPool = unsafe extern "C" fn(sys::ggml_threadpool_t);

impl ThreadPoolApi {
    pub fn find() -> Option<Self> {
        // SAFETY: the names and types are those of ggml-cpu.h; a null address is an `Option`'s none.
        unsafe {
            let device = sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU);
            if device.is_null() {
                return None;
            }
            let registration = sys::ggml_backend_dev_backend_reg(device);
            let find = |name: &std::ffi::CStr| {
                let address = sys::ggml_backend_reg_get_proc_address(registration, name.as_ptr());
                (!address.is_null()).then_some(address)
            };
            Some(Self {
                new: std::mem::transmute::<*mut c_void, CreatePool>(find(c"ggml_threadpool_new")?),
                free: std::mem::transmute::<*mut c_void, FreeThreadPool>(find(
                    c"ggml_threadpool_free",
                )?),
            })
        }
    }
}

pub(super) struct ThreadPool {
    pub pool: sys::ggml_threadpool_t,
    free: FreeThreadPool,
}

impl ThreadPool {
    pub fn new(api: &ThreadPoolApi, n_threads: u32) -> Result<Self> {
        let what = || format!("{n_threads} threads to compute with");
        // SAFETY: the CPU module's own function.
        let pool = unsafe { sys::shim::threadpool_new(api.new, n_threads) }
            .map_err(|reason| thread_error(&what(), reason))?;
        if pool.is_null() {
            return Err(thread_error(&what(), "the engine gave no reason"));
        }
        Ok(Self { pool, free: api.free })
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // SAFETY: owned; the context that used it is gone.
        unsafe { (self.free)(self.pool) }
    }
}
