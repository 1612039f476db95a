//! Whole GGUF files in memory: headers as [`mullama_gguf`] has them, and the data.

use std::io;

use mullama_gguf::DEFAULT_ALIGNMENT;
pub use mullama_gguf::{Document as Header, RawTensor, TensorType, Value};

/// Tensors start at multiples of this many bytes.
pub const ALIGNMENT: u64 = DEFAULT_ALIGNMENT;

/// A whole file. Nothing of it is checked, because [`crate::broken`] writes nonsense on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What stands before the data.
    pub header: Header,
    /// The data section: all tensors, each padded to [`ALIGNMENT`].
    pub data: Vec<u8>,
}

impl File {
    /// Reads a well-formed file with the usual alignment.
    pub fn decode(bytes: &[u8]) -> io::Result<Self> {
        let header = Header::decode(bytes).map_err(io::Error::other)?;
        let start = header.encode().len().min(bytes.len());
        Ok(Self { header, data: bytes[start..].to_vec() })
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.header.encode();
        bytes.extend(&self.data);
        bytes
    }
}
