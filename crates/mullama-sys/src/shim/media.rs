//! Converts pictures and sound to embeddings, with the engine's library mtmd.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

use llama_cpp_sys_2::{ggml_log_callback, llama_model};

use super::{ShimResult, call};

#[repr(C)]
struct RawProjector {
    _opaque: [u8; 0],
}

#[repr(C)]
struct RawChunks {
    _opaque: [u8; 0],
}

type ContinueCallback = unsafe extern "C" fn(asked: *const c_void) -> bool;

unsafe extern "C" {
    fn mullama_media_log(log: ggml_log_callback);
    fn mullama_projector_memory(path: *const c_char, out: *mut *mut c_char) -> c_int;
    fn mullama_projector_load(
        path: *const c_char,
        model: *const llama_model,
        n_threads: c_int,
        result: *mut *mut RawProjector,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_projector_free(projector: *mut RawProjector);
    fn mullama_media_prepare(
        projector: *const RawProjector,
        width: c_uint,
        height: c_uint,
        pixels: *const u8,
        result: *mut *mut RawChunks,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_media_free(chunks: *mut RawChunks);
    fn mullama_media_encode(
        projector: *mut RawProjector,
        chunks: *const RawChunks,
        index: usize,
        should_continue: ContinueCallback,
        asked: *const c_void,
        embeddings: *mut f32,
        count: usize,
        out: *mut *mut c_char,
    ) -> c_int;
}

/// Sets the log callback of the library.
///
/// # Safety
/// `log` must be callable from any thread, at any time until the process exits.
pub unsafe fn log_media(log: ggml_log_callback) {
    // SAFETY: the caller guarantees the validity of `log`.
    unsafe { mullama_media_log(log) }
}

/// Bytes that a loaded projector needs: weights and compute buffers. Its weights are not read.
pub fn projector_memory(path: &CStr) -> ShimResult<u64> {
    // SAFETY: the path outlives the call.
    let bytes = call(|out| unsafe { mullama_projector_memory(path.as_ptr(), out) })?;
    bytes.parse().map_err(|error| format!("{bytes} is not a number: {error}"))
}

/// A loaded projector, which converts pictures to embeddings for a model.
pub struct Projector {
    raw: NonNull<RawProjector>,
    /// Locked while encoding.
    encoding: Mutex<()>,
}

// SAFETY: a projector is not bound to a thread.
unsafe impl Send for Projector {}
// SAFETY: the library only reads constant data to prepare pictures, on any number of threads; encoding is serialised by
// the lock.
unsafe impl Sync for Projector {}

/// A picture prepared for a projector.
pub struct PreparedMedia(NonNull<RawChunks>);

// SAFETY: the list is only read.
unsafe impl Send for PreparedMedia {}
// SAFETY: as above.
unsafe impl Sync for PreparedMedia {}

impl Projector {
    /// Loads a projector from a file. Also returns its properties in JSON; see `mullama_projector_load`.
    ///
    /// # Safety
    /// `model` must be valid, and outlive the projector.
    pub unsafe fn load(
        path: &CStr,
        model: *const llama_model,
        n_threads: i32,
    ) -> ShimResult<(Self, String)> {
        let mut result = ptr::null_mut();
        // SAFETY: the caller guarantees the validity of `model`; everything else outlives the call.
        let about = call(|out| unsafe {
            mullama_projector_load(path.as_ptr(), model, n_threads, &raw mut result, out)
        })?;
        let raw = NonNull::new(result).ok_or("there is no projector")?;
        Ok((Self { raw, encoding: Mutex::default() }, about))
    }

    /// Prepares a picture of `width` x `height` pixels, with three bytes per pixel. Also returns its parts in JSON; see
    /// `mullama_media_prepare`.
    pub fn prepare(
        &self,
        width: u32,
        height: u32,
        pixels: &[u8],
    ) -> ShimResult<(PreparedMedia, String)> {
        let expected = u64::from(width) * u64::from(height) * 3;
        if pixels.len() as u64 != expected {
            return Err(format!("{} bytes where {expected} belong", pixels.len()));
        }
        let mut result = ptr::null_mut();
        // SAFETY: the length of `pixels` was checked.
        let described = call(|out| unsafe {
            let projector = self.raw.as_ptr();
            mullama_media_prepare(projector, width, height, pixels.as_ptr(), &raw mut result, out)
        });
        // Must be freed even on failure.
        let chunks = NonNull::new(result).map(PreparedMedia);
        let described = described?;
        Ok((chunks.ok_or("there is no picture")?, described))
    }

    /// Computes the embeddings of one part of a picture. `embeddings` must have the length of all their values. If
    /// `should_continue` returns false, the computation ends early, and the contents of `embeddings` are undefined.
    pub fn encode<F: Fn() -> bool>(
        &self,
        media: &PreparedMedia,
        part: usize,
        should_continue: &F,
        embeddings: &mut [f32],
    ) -> ShimResult<()> {
        unsafe extern "C" fn ask<F: Fn() -> bool>(asked: *const c_void) -> bool {
            // SAFETY: the pointer is that of `should_continue`, which outlives the call.
            unsafe { (*asked.cast::<F>())() }
        }
        let _encoding = self.encoding.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the lock excludes other threads; pointer and length describe `embeddings`.
        call(|out| unsafe {
            mullama_media_encode(
                self.raw.as_ptr(),
                media.0.as_ptr(),
                part,
                ask::<F>,
                ptr::from_ref(should_continue).cast(),
                embeddings.as_mut_ptr(),
                embeddings.len(),
                out,
            )
        })
        .map(drop)
    }
}

impl Drop for Projector {
    fn drop(&mut self) {
        // SAFETY: `self` owns the object.
        unsafe { mullama_projector_free(self.raw.as_ptr()) }
    }
}

impl Drop for PreparedMedia {
    fn drop(&mut self) {
        // SAFETY: `self` owns the object.
        unsafe { mullama_media_free(self.0.as_ptr()) }
    }
}
