//! Complete GGUF files in memory: a header of [`mullama_gguf`], and the data.

use std::io;

use mullama_gguf::DEFAULT_ALIGNMENT;
pub use mullama_gguf::{Document as Header, RawTensor, TensorType, Value};

/// The alignment of tensors in bytes.
pub const ALIGNMENT: u64 = DEFAULT_ALIGNMENT;

/// A complete file. Not validated, because [`crate::broken`] writes invalid values on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The header, which precedes the data.
    pub header: Header,
    /// The data section: all tensors, each padded to [`ALIGNMENT`].
    pub data: Vec<u8>,
}

impl File {
    /// Decodes a well-formed file with the default alignment.
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
