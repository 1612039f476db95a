//! LoRA adapters: loaded once, then used by the requests that name them.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use mullama_base::{folders, open_file};
use mullama_sys as sys;

use super::failure::Failure;
use super::fingerprint::fingerprint_of_file;
use crate::options::Lora;
use crate::runtime::log as logging;
use crate::{Error, ErrorKind, Result};
use mullama_gguf::{GgufHeader, MetadataValue, TensorInfo, TensorType};

/// Types of matrices that every backend can multiply.
const TYPES: [TensorType; 4] =
    [TensorType::F32, TensorType::F16, TensorType::BF16, TensorType::Q8_0];

/// An adapter in the engine's memory. It is freed with its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RawAdapter(NonNull<sys::llama_adapter_lora>);

// SAFETY: the engine only reads an adapter once it is loaded.
unsafe impl Send for RawAdapter {}
// SAFETY: as above.
unsafe impl Sync for RawAdapter {}

/// The adapters of one request, with the bits of their scales. Cells computed with one set cannot be used with another.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AdapterSet(Arc<[(RawAdapter, u32)]>);

impl AdapterSet {
    /// Makes a context use these adapters from its next step on.
    ///
    /// # Safety
    /// The context is valid, not used elsewhere, and belongs to the model of the adapters.
    pub unsafe fn apply(&self, context: *mut sys::llama_context) {
        let mut adapters: Vec<_> = self.0.iter().map(|(adapter, _)| adapter.0.as_ptr()).collect();
        let mut scales: Vec<f32> = self.0.iter().map(|(_, scale)| f32::from_bits(*scale)).collect();
        // SAFETY: two arrays of the same length; the adapters live as long as the model.
        unsafe {
            sys::llama_set_adapters_lora(
                context,
                adapters.as_mut_ptr(),
                adapters.len(),
                scales.as_mut_ptr(),
            );
        }
    }

    /// Creates a set identified by a nonzero number, for tests. It cannot be used with an engine.
    #[cfg(test)]
    pub fn named(number: usize) -> Self {
        let address = std::ptr::without_provenance_mut(number);
        Self([(RawAdapter(NonNull::new(address).expect("it is not 0")), 1)].into())
    }
}

/// The adapters loaded for one model, with their open files, which may have been renamed or deleted since.
///
/// A context reads all of its model's adapters when it plans its buffers, so none may be added meanwhile: the thread
/// that computes must own the guard of [`Self::lock_for_reading`].
#[derive(Default)]
pub(crate) struct Adapters(RwLock<BTreeMap<PathBuf, (RawAdapter, File)>>);

impl Adapters {
    /// No adapter is added while the guard exists.
    pub fn lock_for_reading(&self) -> AdaptersGuard<'_> {
        AdaptersGuard { _lock: self.0.read().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Returns the set of these adapters and loads those that are not loaded yet.
    ///
    /// # Safety
    /// The model is valid, and all of these adapters are for it.
    pub unsafe fn resolve(&self, model: *mut sys::llama_model, lora: &Lora) -> Result<AdapterSet> {
        let mut set = BTreeMap::new();
        for (path, scale) in &lora.0 {
            let file = file_of(path, *scale)?;
            // SAFETY: as the caller promises.
            let adapter = unsafe { self.load(model, &file) }?;
            *set.entry(adapter).or_insert(0.0) += scale;
        }
        set.retain(|_, scale| *scale != 0.0);
        Ok(AdapterSet(set.into_iter().map(|(adapter, scale)| (adapter, scale.to_bits())).collect()))
    }

    /// Bytes that identify a set across processes: the fingerprints of the files, and the scales.
    pub fn fingerprint(&self, set: &AdapterSet) -> Result<Vec<u8>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut parts = Vec::new();
        for (adapter, scale) in set.0.iter() {
            let read = known.iter().find(|(_, (known, _))| known == adapter);
            let file =
                read.map_or(Ok([0; 32]), |(path, (_, file))| fingerprint_of_file(file, path))?;
            parts.push([file.as_slice(), &scale.to_le_bytes()].concat());
        }
        // The set is ordered by address, which differs between processes.
        parts.sort_unstable();
        Ok(parts.concat())
    }

    unsafe fn load(&self, model: *mut sys::llama_model, path: &Path) -> Result<RawAdapter> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((adapter, _)) = known.get(path) {
            return Ok(*adapter);
        }
        drop(known);
        check(path)?;
        let opened = open_file(path).map_err(|error| Error::unreadable(path, error))?;
        let file = path.to_str().and_then(|text| CString::new(text).ok()).ok_or_else(|| {
            let message = format!("the path {} is not valid UTF-8", path.display());
            Error::new(ErrorKind::InvalidArgument, message)
        })?;
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((adapter, _)) = known.get(path) {
            return Ok(*adapter);
        }
        // SAFETY: the model is valid, and no thread computes with it meanwhile.
        let (adapter, said) =
            logging::capture(|| unsafe { sys::shim::adapter_lora_init(model, &file) });
        let adapter = match adapter.map(NonNull::new) {
            Ok(Some(adapter)) => RawAdapter(adapter),
            Ok(None) => return Err(load_error(path, said.problem())),
            Err(reason) => return Err(load_error(path, Some(reason))),
        };
        // SAFETY: the adapter was just made.
        if unsafe { sys::llama_adapter_get_alora_n_invocation_tokens(adapter.0.as_ptr()) } > 0 {
            // SAFETY: as above, and nothing else refers to it.
            unsafe { sys::llama_adapter_lora_free(adapter.0.as_ptr()) };
            let message = format!(
                "{} is activated by a phrase of the prompt (aLoRA), which is not supported",
                path.display()
            );
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_context("path", path.display())
                .with_hint("use an adapter that applies to the whole prompt"));
        }
        known.insert(path.to_owned(), (adapter, opened));
        Ok(adapter)
    }
}

/// Guard returned by [`Adapters::lock_for_reading`].
pub(crate) struct AdaptersGuard<'a> {
    _lock: RwLockReadGuard<'a, BTreeMap<PathBuf, (RawAdapter, File)>>,
}

/// Checks adapters that are not loaded: their scales, and their files.
pub(crate) fn check_adapters(lora: &Lora) -> Result<()> {
    lora.0.iter().try_for_each(|(path, scale)| check(&file_of(path, *scale)?))
}

/// The file of an adapter with this scale.
fn file_of(path: &Path, scale: f32) -> Result<PathBuf> {
    if !scale.is_finite() {
        let problem = format!("the scale of {} is {scale}", path.display());
        return Err(Error::option("lora", problem));
    }
    // If the file does not exist, reading it reports so.
    let path = folders::expand_home(path);
    Ok(path.canonicalize().unwrap_or_else(|_| path.into_owned()))
}

/// Rejects adapters for which the engine would abort the process or compute garbage.
fn check(path: &Path) -> Result<()> {
    let header = &GgufHeader::read(path)?;
    let refuse = |problem: String, hint: &'static str| {
        let message = format!("cannot use {} as an adapter: {problem}", path.display());
        Err(Error::new(ErrorKind::InvalidModel, message)
            .with_context("path", path.display())
            .with_hint(hint))
    };
    for key in ["general.type", "general.architecture", "adapter.type"] {
        if header.text(key).is_none() {
            return refuse(
                format!("its metadata has no text {key}"),
                "an adapter is a GGUF file made by llama.cpp's convert_lora_to_gguf.py",
            );
        }
    }
    if header.text("general.type") != Some("adapter") {
        return refuse(
            "it is a model".to_owned(),
            "give an adapter (`general.type` is \"adapter\" in its metadata)",
        );
    }
    if !matches!(header.get("adapter.lora.alpha"), None | Some(MetadataValue::Float(_))) {
        return refuse(
            "adapter.lora.alpha is not a floating-point number".to_owned(),
            "the file is damaged",
        );
    }
    for tensor in &header.tensors {
        if let Some(problem) = tensor_problem(tensor, header) {
            return refuse(format!("tensor {} {problem}", tensor.name), "the file is damaged");
        }
    }
    Ok(())
}

fn tensor_problem(tensor: &TensorInfo, header: &GgufHeader) -> Option<String> {
    if tensor.shape.contains(&0) {
        return Some("has a shape without elements".to_owned());
    }
    if !TYPES.contains(&tensor.ty) {
        let known = TYPES.map(TensorType::name).join(", ");
        return Some(format!("has type {}; an adapter's are {known}", tensor.ty));
    }
    let (base, other) = if let Some(base) = tensor.name.strip_suffix(".lora_a") {
        (base, format!("{base}.lora_b"))
    } else {
        let base = tensor.name.strip_suffix(".lora_b")?;
        (base, format!("{base}.lora_a"))
    };
    let other = header.tensors.iter().find(|tensor| tensor.name == other)?;
    let dims = |shape: &[u64]| shape.iter().rposition(|size| *size != 1).map_or(1, |last| last + 1);
    let experts = |shape: &[u64]| shape.get(2).copied().unwrap_or(1);
    let most = if base.contains("_exps") { 3 } else { 2 };
    if dims(&tensor.shape) > most {
        return Some(format!("has more than {most} dimensions"));
    }
    if experts(&tensor.shape) != experts(&other.shape) {
        return Some("has another number of experts than its counterpart".to_owned());
    }
    None
}

/// Converts the engine's error message into an error.
fn load_error(path: &Path, problem: Option<String>) -> Error {
    let reason = problem.unwrap_or_else(|| "the engine gave no reason".to_owned());
    let failure = Failure::of(&reason);
    let message = format!("cannot use {} as an adapter: {reason}", path.display());
    let hint = match failure {
        Failure::OutOfMemory => None,
        Failure::IncompleteFile => failure.hint_for_file(),
        _ => Some("an adapter fits the model that it was trained for, and no other".into()),
    };
    let error = Error::new(failure.kind(ErrorKind::InvalidModel), message)
        .with_context("path", path.display());
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
