//! Devices that are not there (`shim/simulated.cpp`).

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

/// What a device's backend asks of the engine's memory planning.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "they are the engine's")]
pub struct SimulatedProfile {
    /// Tensors start at multiples of so many bytes.
    pub alignment: usize,
    /// Rows of quantised tensors end at multiples of so many elements; 0 where they need not.
    pub row_padding: usize,
    /// Computations run beside the program.
    pub is_async: bool,
    /// The backend has host memory of its own kind for transfers.
    pub host_buffer: bool,
    /// The backend can use memory that the program owns.
    pub buffer_from_host_ptr: bool,
    /// Streams can wait for each other.
    pub events: bool,
}

/// A GPU that is not there, for dry runs and nothing else. It is in no registry.
#[derive(Debug)]
pub struct SimulatedDevice(NonNull<RawSimulated>);

// SAFETY: the C++ object is only read after construction.
unsafe impl Send for SimulatedDevice {}
// SAFETY: as above.
unsafe impl Sync for SimulatedDevice {}

impl SimulatedDevice {
    /// A device with so many bytes of memory.
    ///
    /// # Errors
    /// Where a text contains a NUL byte.
    pub fn new(
        name: &str,
        description: &str,
        free: usize,
        total: usize,
        profile: SimulatedProfile,
    ) -> ShimResult<Self> {
        let name = CString::new(name).map_err(|error| error.to_string())?;
        let description = CString::new(description).map_err(|error| error.to_string())?;
        // SAFETY: NUL-terminated texts and a struct, all copied by the call.
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

    /// The device, as the engine knows it. It must not be used when `self` is gone.
    pub fn handle(&self) -> ggml_backend_dev_t {
        // SAFETY: `self` owns a valid object.
        unsafe { mullama_simulated_device_handle(self.0.as_ptr()) }
    }
}

impl Drop for SimulatedDevice {
    fn drop(&mut self) {
        // SAFETY: `self` owns the object and gives it up here.
        unsafe { mullama_simulated_device_free(self.0.as_ptr()) }
    }
}
