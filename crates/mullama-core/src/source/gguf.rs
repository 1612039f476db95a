//! A model file's header: read and checked before the engine touches the file.

use std::ffi::{CStr, CString, c_char};
use std::fs::File;
use std::io::{ErrorKind as IoErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};

use mullama_sys as sys;
use serde::Serialize;

use crate::runtime::{self, log as logging};
use crate::{Error, ErrorKind, Result};

/// The header of a GGUF file: everything before the weights.
#[derive(Debug, Clone, Serialize)]
pub struct GgufHeader {
    /// Version of the format.
    pub version: u32,
    /// Metadata in the file's order.
    pub metadata: Vec<(String, MetadataValue)>,
    /// Tensors in the file's order.
    pub tensors: Vec<TensorInfo>,
    /// Bytes of the file.
    pub file_size: u64,
}

/// A value of a file's metadata.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum MetadataValue {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number above the range of `Int`.
    Uint(u64),
    /// A number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list, such as a vocabulary: only its length is kept.
    Array {
        /// How many values it has.
        length: usize,
    },
}

/// One tensor of a model file.
#[derive(Debug, Clone, Serialize)]
pub struct TensorInfo {
    /// Name.
    pub name: String,
    /// The number format: `f16`, `q4_K`, ...
    pub ty: String,
    /// Numbers along each dimension, the contiguous one first.
    pub shape: Vec<u64>,
    /// Bytes.
    pub size: u64,
}

impl GgufHeader {
    /// Reads and checks a file's header.
    ///
    /// Gives `NotFound` where there is no file, `InvalidModel` for a folder, an empty file, one that
    /// is no GGUF, has another version, ends too soon or points outside itself.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        read(path).map_err(|error| error.with_context("path", path.display()))
    }

    /// As [`Self::read`], with the tensors of the other files where the model is split: theirs lie beside
    /// the first, as `NAME-00002-of-00003.gguf`. The size is that of all.
    pub(crate) fn read_all(path: &Path) -> Result<Self> {
        let mut header = Self::read(path)?;
        for shard in header.shards_of(path) {
            let other = Self::read(shard)?;
            header.tensors.extend(other.tensors);
            header.file_size = header.file_size.saturating_add(other.file_size);
        }
        Ok(header)
    }

    /// The files of a split model after the first.
    pub(crate) fn shards_of(&self, first: &Path) -> Vec<PathBuf> {
        let Some(MetadataValue::Int(count @ 2..=99_999)) = self.get("split.count") else {
            return Vec::new();
        };
        let name = first.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(&format!("-00001-of-{count:05}.gguf")) else {
            return Vec::new();
        };
        let shard = |index| first.with_file_name(format!("{stem}-{index:05}-of-{count:05}.gguf"));
        (2..=*count).map(shard).collect()
    }

    /// Bytes that a file with this header has, which need not be there.
    pub(crate) fn length(path: &Path) -> Result<u64> {
        check_beginning(path)?;
        let context = open(path)?;
        let header = context.header(0);
        let mut ends = (0..header.tensors.len()).map(|index| context.end(index, &header));
        let end = ends.try_fold(context.data(), |length, end| Some(length.max(end?)));
        end.and_then(|end| end.checked_next_multiple_of(32)).ok_or_else(|| {
            let message = format!("the header of {} has sizes beyond 2^64", path.display());
            Error::new(ErrorKind::InvalidModel, message)
        })
    }

    /// The metadata value of this key.
    pub fn get(&self, key: &str) -> Option<&MetadataValue> {
        self.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The text under this key.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            MetadataValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number under this key of the architecture's own metadata: `block_count` stands for
    /// `llama.block_count` in a file of architecture `llama`.
    pub fn architecture_number(&self, key: &str) -> Option<i64> {
        match self.get(&format!("{}.{key}", self.text("general.architecture")?))? {
            MetadataValue::Int(number) => Some(*number),
            _ => None,
        }
    }
}

fn read(path: &Path) -> Result<GgufHeader> {
    let file_size = check_beginning(path)?;
    let context = open(path)?;
    let header = context.header(file_size);
    context.check_bounds(path, &header)?;
    Ok(header)
}

/// The engine's reading of a file's header.
fn open(path: &Path) -> Result<Context> {
    let shown = path.display();
    runtime::get();
    let name = path.to_str().and_then(|text| CString::new(text).ok()).ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, format!("the path {shown} is not valid UTF-8"))
    })?;
    let params = sys::gguf_init_params { no_alloc: true, ctx: ptr::null_mut() };
    let (context, said) = logging::capture(|| {
        // SAFETY: no tensor context is asked for.
        unsafe { sys::shim::gguf_init_from_file(&name, &params) }
    });
    let context = context.map(|context| NonNull::new(context).map(Context));
    let Ok(Some(context)) = context else {
        let reason = said.problem().or(context.err()).unwrap_or_default();
        return Err(Error::new(
            ErrorKind::InvalidModel,
            format!("the header of {shown} cannot be read: {reason}"),
        )
        .with_hint("the file is damaged or incomplete: download it again"));
    };
    Ok(context)
}

/// What can be said of a file from its first bytes; gives its size.
fn check_beginning(path: &Path) -> Result<u64> {
    let shown = path.display();
    let invalid = |message: String| Error::new(ErrorKind::InvalidModel, message);
    let io = |error: std::io::Error| match error.kind() {
        IoErrorKind::NotFound | IoErrorKind::NotADirectory => {
            Error::new(ErrorKind::NotFound, format!("there is no file at {shown}"))
        }
        _ => Error::new(ErrorKind::Io, format!("cannot read {shown}: {error}")).with_source(error),
    };
    let metadata = path.metadata().map_err(io)?;
    if metadata.is_dir() {
        return Err(invalid(format!("{shown} is a folder, not a model file"))
            .with_hint("name the .gguf file in it"));
    }
    if metadata.len() == 0 {
        return Err(invalid(format!("{shown} is empty")));
    }
    let mut start = Vec::with_capacity(8);
    File::open(path).and_then(|file| file.take(8).read_to_end(&mut start)).map_err(io)?;
    if !start.starts_with(&b"GGUF"[..start.len().min(4)]) {
        return Err(invalid(format!(
            "{shown} is not a GGUF file: it begins with {:?}",
            String::from_utf8_lossy(&start[..start.len().min(4)])
        ))
        .with_hint("models in other formats have to be converted to GGUF"));
    }
    let Some(version) = start.get(4..8) else {
        return Err(invalid(format!("{shown} ends in its first {} bytes", start.len())));
    };
    let version = u32::from_le_bytes(version.try_into().expect("four bytes"));
    if !(2..=3).contains(&version) {
        return Err(invalid(format!(
            "{shown} is a GGUF file of version {version}; 2 and 3 are known"
        )));
    }
    Ok(metadata.len())
}

/// `GGML_MAX_DIMS`.
const MAX_DIMS: usize = 4;

/// The engine's reading of a header.
struct Context(NonNull<sys::gguf_context>);

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: owned.
        unsafe { sys::gguf_free(self.0.as_ptr()) }
    }
}

impl Context {
    fn header(&self, file_size: u64) -> GgufHeader {
        let context = self.0.as_ptr();
        // SAFETY: a valid context; all indices are below the counts that it gives.
        unsafe {
            GgufHeader {
                version: sys::gguf_get_version(context),
                metadata: (0..sys::gguf_get_n_kv(context))
                    .map(|index| (text(sys::gguf_get_key(context, index)), self.value(index)))
                    .collect(),
                tensors: (0..sys::gguf_get_n_tensors(context)).map(|i| self.tensor(i)).collect(),
                file_size,
            }
        }
    }

    /// # Safety
    /// `index` must be below the number of pairs.
    unsafe fn value(&self, index: i64) -> MetadataValue {
        let context = self.0.as_ptr();
        // SAFETY: the accessor of each type is called for values of that type only.
        unsafe {
            match sys::gguf_get_kv_type(context, index) {
                sys::GGUF_TYPE_BOOL => MetadataValue::Bool(sys::gguf_get_val_bool(context, index)),
                sys::GGUF_TYPE_UINT8 => {
                    MetadataValue::Int(sys::gguf_get_val_u8(context, index).into())
                }
                sys::GGUF_TYPE_INT8 => {
                    MetadataValue::Int(sys::gguf_get_val_i8(context, index).into())
                }
                sys::GGUF_TYPE_UINT16 => {
                    MetadataValue::Int(sys::gguf_get_val_u16(context, index).into())
                }
                sys::GGUF_TYPE_INT16 => {
                    MetadataValue::Int(sys::gguf_get_val_i16(context, index).into())
                }
                sys::GGUF_TYPE_UINT32 => {
                    MetadataValue::Int(sys::gguf_get_val_u32(context, index).into())
                }
                sys::GGUF_TYPE_INT32 => {
                    MetadataValue::Int(sys::gguf_get_val_i32(context, index).into())
                }
                sys::GGUF_TYPE_UINT64 => {
                    let number = sys::gguf_get_val_u64(context, index);
                    i64::try_from(number).map_or(MetadataValue::Uint(number), MetadataValue::Int)
                }
                sys::GGUF_TYPE_INT64 => MetadataValue::Int(sys::gguf_get_val_i64(context, index)),
                sys::GGUF_TYPE_FLOAT32 => {
                    MetadataValue::Float(sys::gguf_get_val_f32(context, index).into())
                }
                sys::GGUF_TYPE_FLOAT64 => {
                    MetadataValue::Float(sys::gguf_get_val_f64(context, index))
                }
                sys::GGUF_TYPE_STRING => {
                    MetadataValue::Text(text(sys::gguf_get_val_str(context, index)))
                }
                _ => MetadataValue::Array { length: sys::gguf_get_arr_n(context, index) },
            }
        }
    }

    /// # Safety
    /// `index` must be below the number of tensors.
    unsafe fn tensor(&self, index: i64) -> TensorInfo {
        let context = self.0.as_ptr();
        // SAFETY: the caller vouches for the index; the shape is an array of `MAX_DIMS` numbers.
        unsafe {
            let shape =
                std::slice::from_raw_parts(sys::gguf_get_tensor_ne(context, index), MAX_DIMS);
            // The engine pads shapes with ones.
            let used = shape.iter().rposition(|&length| length != 1).map_or(1, |last| last + 1);
            TensorInfo {
                name: text(sys::gguf_get_tensor_name(context, index)),
                ty: text(sys::ggml_type_name(sys::gguf_get_tensor_type(context, index))),
                shape: shape[..used].iter().map(|&length| length as u64).collect(),
                size: sys::gguf_get_tensor_size(context, index) as u64,
            }
        }
    }

    /// Where the data begin.
    fn data(&self) -> u64 {
        // SAFETY: a valid context.
        unsafe { sys::gguf_get_data_offset(self.0.as_ptr()) as u64 }
    }

    /// Where the data of a tensor end, unless it is beyond 2^64.
    fn end(&self, index: usize, header: &GgufHeader) -> Option<u64> {
        // SAFETY: a valid context, with as many tensors as the header lists.
        let offset = unsafe { sys::gguf_get_tensor_offset(self.0.as_ptr(), index as i64) } as u64;
        self.data().checked_add(offset)?.checked_add(header.tensors[index].size)
    }

    /// Every tensor must lie within the file. (The engine checks too, but it starts to load first.)
    fn check_bounds(&self, path: &Path, header: &GgufHeader) -> Result<()> {
        for (index, tensor) in header.tensors.iter().enumerate() {
            let end = self.end(index, header);
            if end.is_none_or(|end| end > header.file_size) {
                return Err(Error::new(
                    ErrorKind::InvalidModel,
                    format!(
                        "{} is incomplete: it has {} bytes, and tensor {} ends at byte {}",
                        path.display(),
                        header.file_size,
                        tensor.name,
                        end.map_or_else(|| "2^64".to_owned(), |end| end.to_string()),
                    ),
                )
                .with_hint("download the file again"));
            }
        }
        Ok(())
    }
}

/// # Safety
/// `text` must be null or a NUL-terminated string.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller vouches for it.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
