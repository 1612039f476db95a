//! Simulated devices (`shim/simulated.cpp`).

use std::ffi::{CString, c_char};
use std::ptr::NonNull;

use llama_cpp_sys_2::ggml_backend_dev_t;
use serde::Deserialize;

use super::ShimResult;

#[repr(C)]
struct RawSimulated {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn mullama_simulated_device_new(
        name: *const c_char,
        description: *const c_char,
        free: usize,
        total: usize,
        profile: *const SimulatedProfile,
    ) -> *mut RawSimulated;
    fn mullama_simulated_device_handle(device: *mut RawSimulated) -> ggml_backend_dev_t;
    fn mullama_simulated_device_free(device: *mut RawSimulated);
}

/// The properties of a device's backend that affect the engine's memory planning.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "they are the engine's")]
pub struct SimulatedProfile {
    /// Alignment of tensors in bytes.
    pub alignment: usize,
    /// Rows of quantised tensors are padded to a multiple of this number of elements; 0 for no
    /// padding.
    pub row_padding: usize,
    /// Computations run asynchronously.
    pub is_async: bool,
    /// The backend has its own type of host memory for transfers.
    pub host_buffer: bool,
    /// The backend can use memory that the program allocated.
    pub buffer_from_host_ptr: bool,
    /// Streams can wait for each other.
    pub events: bool,
}

/// A simulated GPU, which can only be used in dry runs. It is not registered with the engine.
#[derive(Debug)]
pub struct SimulatedDevice(NonNull<RawSimulated>);

// SAFETY: the C++ object is only read after construction.
unsafe impl Send for SimulatedDevice {}
// SAFETY: as above.
unsafe impl Sync for SimulatedDevice {}

impl SimulatedDevice {
    /// Creates a device with the given memory sizes in bytes.
    ///
    /// # Errors
    /// If a text contains a NUL byte.
    pub fn new(
        name: &str,
        description: &str,
        free: usize,
        total: usize,
        profile: SimulatedProfile,
    ) -> ShimResult<Self> {
        let name = CString::new(name).map_err(|error| error.to_string())?;
        let description = CString::new(description).map_err(|error| error.to_string())?;
        // SAFETY: NUL-terminated texts and a struct, which the call copies.
        let device = unsafe {
            mullama_simulated_device_new(
                name.as_ptr(),
                description.as_ptr(),
                free,
                total,
                &raw const profile,
            )
        };
        NonNull::new(device).map(Self).ok_or_else(|| String::from("out of memory"))
    }

    /// The engine's handle of the device. It must not be used after `self` is dropped.
    pub fn handle(&self) -> ggml_backend_dev_t {
        // SAFETY: `self` owns a valid object.
        unsafe { mullama_simulated_device_handle(self.0.as_ptr()) }
    }
}

impl Drop for SimulatedDevice {
    fn drop(&mut self) {
        // SAFETY: `self` owns the object and frees it here.
        unsafe { mullama_simulated_device_free(self.0.as_ptr()) }
    }
}
