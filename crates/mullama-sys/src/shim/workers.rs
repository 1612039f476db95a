//! RPC workers: the functions of the RPC module, guarded.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use llama_cpp_sys_2::ggml_backend_reg_t;

use super::{ShimResult, call};

/// The type of `ggml_backend_rpc_add_server`.
pub type AddServer = unsafe extern "C" fn(*const c_char) -> ggml_backend_reg_t;

unsafe extern "C" {
    fn mullama_rpc_protocol(version: *mut u8);
    fn mullama_rpc_add_server(
        add: AddServer,
        endpoint: *const c_char,
        result: *mut ggml_backend_reg_t,
        out: *mut *mut c_char,
    ) -> c_int;
}

/// The version of the engine's RPC protocol: major, minor, patch.
pub fn rpc_protocol() -> [u8; 3] {
    let mut version = [0; 3];
    // SAFETY: three bytes are written.
    unsafe { mullama_rpc_protocol(version.as_mut_ptr()) };
    version
}

/// Connects to a worker. The result may be null.
///
/// # Safety
/// `add` must be the `ggml_backend_rpc_add_server` of the RPC module.
pub unsafe fn rpc_add_server(add: AddServer, endpoint: &CStr) -> ShimResult<ggml_backend_reg_t> {
    let mut result = ptr::null_mut();
    // SAFETY: the caller guarantees the validity of `add`.
    call(|out| unsafe { mullama_rpc_add_server(add, endpoint.as_ptr(), &raw mut result, out) })?;
    Ok(result)
}
