//! GGUF files as plain data: enough to write models, and to read one back and damage it.
//!
//! Nothing is checked on the way out, because [`crate::broken`] writes nonsense on purpose. The
//! format is described at the top of ggml's `gguf.h`.

use std::io::{self, Write};

/// The first four bytes of every file.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// The version of the format that is written.
pub const VERSION: u32 = 3;
/// Tensors start at multiples of this many bytes, unless a file says otherwise.
pub const ALIGNMENT: u64 = 32;

/// `gguf_type` values, those that are written here.
mod kind {
    pub const U16: u32 = 2;
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const STRING: u32 = 8;
    pub const ARRAY: u32 = 9;
}

/// A metadata value: its type and its bytes as they stand in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The `gguf_type` number.
    pub kind: u32,
    /// The encoded value.
    pub payload: Vec<u8>,
}

impl Value {
    fn new(kind: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, payload: payload.into() }
    }

    /// An unsigned integer of 16 bits.
    pub fn u16(value: u16) -> Self {
        Self::new(kind::U16, value.to_le_bytes())
    }

    /// An unsigned integer.
    pub fn u32(value: u32) -> Self {
        Self::new(kind::U32, value.to_le_bytes())
    }

    /// A signed integer.
    pub fn i32(value: i32) -> Self {
        Self::new(kind::I32, value.to_le_bytes())
    }

    /// A floating-point number.
    pub fn f32(value: f32) -> Self {
        Self::new(kind::F32, value.to_le_bytes())
    }

    /// A truth value.
    pub fn bool(value: bool) -> Self {
        Self::new(kind::BOOL, [u8::from(value)])
    }

    /// A string; any bytes will do.
    pub fn string(value: impl AsRef<[u8]>) -> Self {
        Self::new(kind::STRING, encode_string(value.as_ref()))
    }

    /// An array of strings.
    pub fn strings<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::array(kind::STRING, values.into_iter().map(|value| encode_string(value.as_ref())))
    }

    /// An array of signed integers.
    pub fn i32s(values: impl IntoIterator<Item = i32>) -> Self {
        Self::array(kind::I32, values.into_iter().map(i32::to_le_bytes))
    }

    /// An array of unsigned integers.
    pub fn u32s(values: impl IntoIterator<Item = u32>) -> Self {
        Self::array(kind::U32, values.into_iter().map(u32::to_le_bytes))
    }

    fn array<T: AsRef<[u8]>>(element: u32, values: impl Iterator<Item = T>) -> Self {
        let (mut count, mut elements) = (0u64, Vec::new());
        for value in values {
            count += 1;
            elements.extend_from_slice(value.as_ref());
        }
        let mut payload = element.to_le_bytes().to_vec();
        payload.extend(count.to_le_bytes());
        payload.extend(elements);
        Self::new(kind::ARRAY, payload)
    }
}

/// What the file says about one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Elements along each dimension, the contiguous one first.
    pub dims: Vec<u64>,
    /// The `ggml_type` number.
    pub kind: u32,
    /// Where the data starts, in bytes from the beginning of the data section.
    pub offset: u64,
}

/// Everything that stands before the tensors' data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Metadata, in file order.
    pub metadata: Vec<(String, Value)>,
    /// Tensors, in file order.
    pub tensors: Vec<TensorInfo>,
}

impl Header {
    /// Writes the header and the padding up to the data section.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.encode())
    }

    /// The header's bytes, with the padding up to the data section.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            bytes.extend(encode_string(key.as_bytes()));
            bytes.extend(value.kind.to_le_bytes());
            bytes.extend(&value.payload);
        }
        for tensor in &self.tensors {
            bytes.extend(encode_string(tensor.name.as_bytes()));
            bytes.extend((tensor.dims.len() as u32).to_le_bytes());
            bytes.extend(tensor.dims.iter().flat_map(|size| size.to_le_bytes()));
            bytes.extend(tensor.kind.to_le_bytes());
            bytes.extend(tensor.offset.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
        bytes
    }
}

/// A whole file.
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
        let mut reader = Reader { bytes, at: 0 };
        if reader.take(4)? != MAGIC || reader.u32()? != VERSION {
            return Err(malformed("not a GGUF file of version 3"));
        }
        let tensor_count = reader.u64()?;
        let metadata_count = reader.u64()?;
        let mut metadata = Vec::new();
        for _ in 0..metadata_count {
            metadata.push((reader.string()?, reader.value()?));
        }
        let mut tensors = Vec::new();
        for _ in 0..tensor_count {
            tensors.push(reader.tensor()?);
        }
        let start = reader.at.next_multiple_of(ALIGNMENT as usize).min(bytes.len());
        let data = bytes[start..].to_vec();
        Ok(Self { header: Header { metadata, tensors }, data })
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.header.encode();
        bytes.extend(&self.data);
        bytes
    }
}

fn encode_string(text: &[u8]) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    bytes
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| malformed("the file ends too early"))?;
        self.at += count;
        Ok(taken)
    }

    fn u32(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    fn u64(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }

    fn string(&mut self) -> io::Result<String> {
        let length = self.u64()? as usize;
        let bytes = self.take(length)?.to_vec();
        String::from_utf8(bytes).map_err(|_| malformed("a name is not valid UTF-8"))
    }

    fn value(&mut self) -> io::Result<Value> {
        let kind = self.u32()?;
        let start = self.at;
        if kind == kind::ARRAY {
            let element = self.u32()?;
            for _ in 0..self.u64()? {
                self.skip(element)?;
            }
        } else {
            self.skip(kind)?;
        }
        Ok(Value::new(kind, &self.bytes[start..self.at]))
    }

    /// Steps over one value that is not an array.
    fn skip(&mut self, kind: u32) -> io::Result<()> {
        let size = match kind {
            0 | 1 | kind::BOOL => 1,
            kind::U16 | 3 => 2,
            kind::U32 | kind::I32 | kind::F32 => 4,
            10..=12 => 8,
            kind::STRING => self.u64()? as usize,
            _ => return Err(malformed("unknown type of metadata")),
        };
        self.take(size).map(drop)
    }

    fn tensor(&mut self) -> io::Result<TensorInfo> {
        let name = self.string()?;
        let dims = (0..self.u32()?).map(|_| self.u64()).collect::<io::Result<_>>()?;
        Ok(TensorInfo { name, dims, kind: self.u32()?, offset: self.u64()? })
    }
}
