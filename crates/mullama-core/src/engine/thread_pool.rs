//! The threads that a context computes with.

use std::ffi::c_void;

use mullama_sys as sys;

/// The functions of the CPU module that make and free thread pools.
pub(super) struct ThreadPoolApi {
    new: NewThreadPool,
    free: FreeThreadPool,
}

type NewThreadPool =
    unsafe extern "C" fn(*mut sys::ggml_threadpool_params) -> sys::ggml_threadpool_t;
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
                new: std::mem::transmute::<*mut c_void, NewThreadPool>(find(
                    c"ggml_threadpool_new",
                )?),
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
    pub fn new(api: &ThreadPoolApi, n_threads: u32) -> Option<Self> {
        // SAFETY: a struct of defaults, and the constructor that belongs to it.
        let pool = unsafe {
            let mut params = sys::ggml_threadpool_params_default(n_threads as i32);
            (api.new)(&raw mut params)
        };
        (!pool.is_null()).then_some(Self { pool, free: api.free })
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // SAFETY: owned; the context that used it is gone.
        unsafe { (self.free)(self.pool) }
    }
}
