//! A model's weights in memory, and the metadata of its file.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::ptr::NonNull;

use mullama_base::check_memory;
use mullama_sys::{self as sys, phrases};

use super::adapter::{AdapterSet, Adapters};
use super::exit;
use super::failure::Failure;
use super::weight_settings::WeightSettings;
use super::window::Window;
use crate::device::{DeviceSet, HOST, kernels};
use crate::options::Lora;
use crate::runtime::log as logging;
use crate::{Error, ErrorKind, Result};

/// The engine's model. It is read-only once loaded, so threads share it freely.
pub(crate) struct Weights {
    model: Owned,
    /// Number of layers by device name, as reported by the engine.
    pub layers: BTreeMap<String, u32>,
    /// Whether only the header was read. Such weights are for dry runs.
    pub is_metadata_only: bool,
    /// The settings with which they were loaded. They own references to the devices.
    pub settings: WeightSettings,
    /// The adapters loaded for this model.
    pub adapters: Adapters,
}

// SAFETY: the engine only reads a loaded model (llama.cpp shares one between contexts on different
// threads).
unsafe impl Send for Weights {}
// SAFETY: as above.
unsafe impl Sync for Weights {}

/// The engine's model, with the devices that it may be on.
struct Owned {
    model: NonNull<sys::llama_model>,
    devices: DeviceSet,
}

impl Drop for Owned {
    fn drop(&mut self) {
        let freed = FreeOnDrop(self.model, self.devices.clone());
        match self.devices.shutdown_timeout() {
            None => drop(freed),
            // Freeing may wait for a worker that computes for another model, so it runs on a thread of its own.
            Some(shutdown_timeout) => exit::run_with_timeout(shutdown_timeout, move || drop(freed)),
        }
    }
}

/// A model that is no longer used. Dropping it frees it.
struct FreeOnDrop(
    NonNull<sys::llama_model>,
    #[allow(dead_code, reason = "what is held")] DeviceSet,
);

// SAFETY: no other reference exists.
unsafe impl Send for FreeOnDrop {}

impl Drop for FreeOnDrop {
    fn drop(&mut self) {
        // SAFETY: owned; contexts own an `Arc` of the weights, so none is left.
        unsafe { sys::llama_model_free(self.0.as_ptr()) }
    }
}

/// Receives the progress of loading, from 0 to 1; returning false cancels.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(f32) -> bool;

impl Weights {
    /// Loads a model file whose header has already been checked.
    pub fn load(path: &Path, settings: &WeightSettings, progress: Progress<'_>) -> Result<Self> {
        Self::make(path, settings, progress, false)
    }

    /// Reads only the header and allocates nothing. The result can report how much memory a context would take.
    pub fn load_metadata_only(path: &Path, settings: &WeightSettings) -> Result<Self> {
        Self::make(path, settings, &mut |_| true, true)
    }

    fn make(
        path: &Path,
        settings: &WeightSettings,
        progress: Progress<'_>,
        is_metadata_only: bool,
    ) -> Result<Self> {
        let file = path.to_str().and_then(|text| CString::new(text).ok()).ok_or_else(|| {
            let message = format!("the path {} is not valid UTF-8", path.display());
            Error::new(ErrorKind::InvalidArgument, message)
        })?;
        check_memory(0)?;
        let mut hook = ProgressHook { callback: progress, cancelled: false };
        let mut settled = settings.raw()?;
        let raw = &mut settled.params;
        if is_metadata_only {
            raw.no_alloc = true;
            raw.load_mode = sys::LLAMA_LOAD_MODE_NONE;
        }
        raw.progress_callback = Some(on_progress);
        raw.progress_callback_user_data = (&raw mut hook).cast();

        let (model, said) = logging::capture(|| {
            kernels::with(settings.cpu_kernels, || {
                // SAFETY: everything that `raw` points to lives until the call returns.
                unsafe { sys::shim::model_load_from_file(&file, raw) }
            })
        });
        let model = model.map(NonNull::new);
        let Ok(Some(model)) = model else {
            settings.devices.check()?;
            return Err(if hook.cancelled {
                let message = format!("loading {} was cancelled", path.display());
                Error::new(ErrorKind::Cancelled, message)
            } else {
                load_error(path, said.problem().or(model.err()))
            }
            .with_context("path", path.display()));
        };
        let model = Owned { model, devices: settings.devices.clone() };
        if let Some(problem) = said.lines().find_map(|line| phrases::OVERRIDE_IGNORED.after(line)) {
            let problem = format!("`{}", problem.replacen('\'', "`", 1));
            return Err(
                Error::option("metadata_overrides", problem).with_context("path", path.display())
            );
        }
        let mut layers = BTreeMap::new();
        for device in said.lines().filter_map(read_assignment) {
            *layers.entry(device.to_owned()).or_default() += 1;
        }
        if layers.is_empty() && !settings.vocab_only {
            let message = "the engine did not say where it put the layers";
            return Err(
                Error::new(ErrorKind::Internal, message).with_context("path", path.display())
            );
        }
        let weights = Self {
            model,
            layers,
            is_metadata_only,
            settings: settings.clone(),
            adapters: Adapters::default(),
        };
        settings.devices.check()?;
        Ok(weights)
    }

    /// Number of layers on GPUs; the output layer counts as one.
    pub fn gpu_layers(&self) -> u32 {
        self.layers.iter().filter(|(name, _)| *name != HOST).map(|(_, count)| count).sum()
    }

    /// Number of layers (blocks), without the output layer.
    pub fn n_layers(&self) -> u32 {
        // SAFETY: a valid model (here and below).
        unsafe { sys::llama_model_n_layer(self.as_ptr()) }.max(0) as u32
    }

    /// Length of a token's output embedding.
    pub fn n_embd(&self) -> usize {
        // SAFETY: as above.
        unsafe { sys::llama_model_n_embd_out(self.as_ptr()) }.max(0) as usize
    }

    /// Length of a token's input embedding.
    pub fn n_embd_input(&self) -> usize {
        // SAFETY: as above.
        unsafe { sys::llama_model_n_embd_inp(self.as_ptr()) }.max(0) as usize
    }

    /// Number of scores that the classification head returns for a text.
    pub fn n_scores(&self) -> usize {
        // SAFETY: as above.
        unsafe { sys::llama_model_n_cls_out(self.as_ptr()) as usize }
    }

    /// Size of the vocabulary.
    pub fn n_vocab(&self) -> usize {
        // SAFETY: as above; a model's vocabulary lives as long as it does.
        unsafe { sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(self.as_ptr())) }.max(0)
            as usize
    }

    /// Number of parameters.
    pub fn n_params(&self) -> u64 {
        // SAFETY: as above.
        unsafe { sys::llama_model_n_params(self.as_ptr()) }
    }

    /// Size of all tensors in bytes.
    pub fn size(&self) -> u64 {
        // SAFETY: as above.
        unsafe { sys::llama_model_size(self.as_ptr()) }
    }

    /// Whether the model has a decoder and no encoder before it.
    pub fn is_decoder(&self) -> bool {
        // SAFETY: as above.
        unsafe {
            sys::llama_model_has_decoder(self.as_ptr())
                && !sys::llama_model_has_encoder(self.as_ptr())
        }
    }

    /// Whether the model has a state per sequence, as recurrent models and hybrids do.
    pub fn has_state(&self) -> bool {
        // SAFETY: a valid model.
        self.is_recurrent() || unsafe { sys::llama_model_is_hybrid(self.as_ptr()) }
    }

    /// Whether the model has only such a state, and no KV cache.
    pub fn is_recurrent(&self) -> bool {
        // SAFETY: a valid model.
        unsafe { sys::llama_model_is_recurrent(self.as_ptr()) }
    }

    /// The sliding window, if some layers have one.
    pub fn window(&self) -> Option<Window> {
        // SAFETY: a valid model.
        let size = unsafe { sys::llama_model_n_swa(self.as_ptr()) }.max(0) as u32;
        // The engine's API does not expose the kind of window; `models/` of llama.cpp sets it.
        let is_chunked =
            || self.metadata_value("general.architecture").as_deref() == Some("llama4");
        (size > 0).then(|| Window { size, is_chunked: is_chunked() })
    }

    /// Returns the set of these adapters and loads those that are not loaded yet.
    pub fn adapters(&self, lora: &Lora) -> Result<AdapterSet> {
        // SAFETY: a valid model, which frees its adapters with itself.
        let set = unsafe { self.adapters.resolve(self.as_ptr(), lora) };
        self.settings.devices.check()?;
        set
    }

    /// Bytes that identify these adapters across processes.
    pub fn fingerprint_of(&self, adapters: &AdapterSet) -> Result<Vec<u8>> {
        self.adapters.fingerprint(adapters)
    }

    pub fn as_ptr(&self) -> *mut sys::llama_model {
        self.model.model.as_ptr()
    }

    /// The tensors listed in a header, in JSON, with the types that a quantisation of this model would give them.
    pub fn quantised_tensors(&self, header: &[u8], file_type: u32) -> Result<String, String> {
        // SAFETY: a valid model.
        unsafe { sys::shim::quantised_tensors(self.as_ptr(), header, file_type) }
    }

    /// One value of the file's metadata, as text.
    pub fn metadata_value(&self, key: &str) -> Option<String> {
        let key = CString::new(key).ok()?;
        // SAFETY: a valid model, and a NUL-terminated key that outlives the call.
        read_text(|buffer, size| unsafe {
            sys::llama_model_meta_val_str(self.as_ptr(), key.as_ptr(), buffer, size)
        })
    }

    /// The file's metadata as text, without arrays (vocabularies).
    pub fn metadata(&self) -> BTreeMap<String, String> {
        // SAFETY: a valid model; indices are below the count.
        unsafe {
            (0..sys::llama_model_meta_count(self.as_ptr()))
                .filter_map(|index| {
                    let key = read_text(|buffer, size| {
                        sys::llama_model_meta_key_by_index(self.as_ptr(), index, buffer, size)
                    })?;
                    let value = read_text(|buffer, size| {
                        sys::llama_model_meta_val_str_by_index(self.as_ptr(), index, buffer, size)
                    })?;
                    Some((key, value))
                })
                .collect()
        }
    }
}

struct ProgressHook<'a> {
    callback: Progress<'a>,
    cancelled: bool,
}

unsafe extern "C" fn on_progress(progress: f32, hook: *mut c_void) -> bool {
    // SAFETY: the engine passes back the pointer that `load` gave it, while `load` waits.
    let hook = unsafe { &mut *hook.cast::<ProgressHook<'_>>() };
    let go_on = (hook.callback)(progress);
    hook.cancelled |= !go_on;
    go_on
}

/// Parses `layer  7 assigned to device Vulkan0, is_swa = 0` and returns the device.
fn read_assignment(line: &str) -> Option<&str> {
    // The name of the device for split mode `tensor` has commas: `Meta(CUDA0,CUDA1)`.
    phrases::LAYER_DEVICE.after(line)?.rsplit_once(',').map(|(name, _)| name)
}

fn load_error(path: &Path, problem: Option<String>) -> Error {
    let reason = problem.unwrap_or_else(|| "the engine gave no reason".to_owned());
    let failure = Failure::of(&reason);
    let message = format!("cannot load {}: {reason}", path.display());
    let error = Error::new(failure.kind(ErrorKind::InvalidModel), message);
    match failure.hint_for_file() {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Calls an engine function that writes text into a buffer and returns its full length, or a negative number if there
/// is none.
fn read_text(write: impl Fn(*mut c_char, usize) -> i32) -> Option<String> {
    let mut buffer = vec![0_u8; 256];
    loop {
        let length = usize::try_from(write(buffer.as_mut_ptr().cast(), buffer.len())).ok()?;
        // The engine also writes a terminating NUL.
        if length < buffer.len() {
            buffer.truncate(length);
            return Some(String::from_utf8_lossy(&buffer).into_owned());
        }
        buffer.resize(length + 1, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_devices_are_read_from_the_log() {
        let line = "load_tensors: layer   7 assigned to device Vulkan0, is_swa = 0";
        assert_eq!(read_assignment(line), Some("Vulkan0"));
        let line = "load_tensors: layer   7 assigned to device Meta(CUDA0,CUDA1), is_swa = 0";
        assert_eq!(read_assignment(line), Some("Meta(CUDA0,CUDA1)"));
        assert_eq!(read_assignment("load_tensors: offloaded 9/9 layers to GPU"), None);
    }
}
