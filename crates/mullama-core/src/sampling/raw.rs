//! Samplers of the engine.

use std::ptr::NonNull;

use mullama_sys as sys;

/// One sampler of the engine, owned.
pub(crate) struct RawSampler(NonNull<sys::llama_sampler>);

impl RawSampler {
    pub fn as_ptr(&self) -> *mut sys::llama_sampler {
        self.0.as_ptr()
    }

    /// Takes ownership of a sampler that the engine created.
    pub fn from_raw(sampler: *mut sys::llama_sampler) -> Option<Self> {
        NonNull::new(sampler).map(Self)
    }
}

impl Drop for RawSampler {
    fn drop(&mut self) {
        // SAFETY: owned, and freed only here; a chain frees what was added to it.
        unsafe { sys::llama_sampler_free(self.as_ptr()) }
    }
}

// SAFETY: samplers have no thread-bound state, and are used by one thread at a time (`&mut`).
unsafe impl Send for RawSampler {}
