//! GGUF model files: reads, edits and writes their headers, and identifies their types.
//!
//! - [`GgufHeader`]: the validated header, with metadata, tensors and their locations. Read from a path, from any
//!   reader, or from the first bytes of a remote file.
//! - [`Document`]: the header as data for editing and writing, without validation.
//! - [`TensorType`] and [`FILE_TYPES`]: data types of tensors, and quantisations of files.
//!
//! # Limits
//!
//! Headers are untrusted. Counts and lengths are checked against the available bytes before anything is allocated, so a
//! header never uses more memory than the size of its file (a [`Document`] twice that), or 64 KiB if that is larger. It
//! has at most [`MAX_HEADER_SIZE`] bytes. Damage is an error of the kind `InvalidModel`, never a panic; `make fuzz`
//! tests this.
//!
//! The layout is described at the top of ggml's `gguf.h`. Versions 2 and 3 can be read; they differ only on big-endian
//! machines. Version 3 is written. As in the engine, arrays of arrays are refused.
//!
//! ```
//! use mullama_gguf::{Document, GgufHeader, TensorType, Value};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("model.gguf");
//! let mut document = Document::default();
//! document.set("general.architecture", Value::string("llama"));
//! document.set("llama.block_count", Value::u32(8));
//! document.add_tensor("output_norm.weight", TensorType::F32, &[256]);
//! document.write_sparse(&path)?;
//!
//! let header = GgufHeader::read(&path)?;
//! assert_eq!(header.architecture_number("block_count"), Some(8));
//! assert_eq!(header.tensors[0].size, 1024);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(missing_debug_implementations)]
#![forbid(unsafe_code)]
// Files are written by others: nothing in them may end the process.
#![cfg_attr(
    not(test),
    warn(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod document;
mod file_type;
mod header;
mod metadata;
mod parser;
mod tensor_type;

pub use document::{DEFAULT_ALIGNMENT, Document, RawTensor, Value};
pub use file_type::{FILE_TYPES, file_type, quantisation};
pub use header::{GgufHeader, TensorInfo};
pub use metadata::MetadataValue;
pub use mullama_base::{Error, ErrorKind, Result};
pub use parser::{MAGIC, MAX_HEADER_SIZE};
pub use tensor_type::TensorType;
