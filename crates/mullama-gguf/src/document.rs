//! A header as data, for editing and writing. Nothing is validated: tests write invalid headers on purpose.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use mullama_base::{Error, ErrorKind, Result};

pub use crate::parser::{DEFAULT_ALIGNMENT, RawTensor};
use crate::parser::{Parsed, Parser, value_type};
use crate::{GgufHeader, MAGIC, TensorType};

/// The GGUF version of written files.
const VERSION: u32 = 3;

/// A metadata value: its type, and its encoded bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The type number (`gguf_type`).
    pub ty: u32,
    /// The encoded value.
    pub bytes: Vec<u8>,
}

impl Value {
    fn new(ty: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Self { ty, bytes: bytes.into() }
    }

    /// An unsigned 16-bit integer.
    pub fn u16(value: u16) -> Self {
        Self::new(value_type::U16, value.to_le_bytes())
    }

    /// An unsigned 32-bit integer.
    pub fn u32(value: u32) -> Self {
        Self::new(value_type::U32, value.to_le_bytes())
    }

    /// A signed 32-bit integer.
    pub fn i32(value: i32) -> Self {
        Self::new(value_type::I32, value.to_le_bytes())
    }

    /// A 32-bit float.
    pub fn f32(value: f32) -> Self {
        Self::new(value_type::F32, value.to_le_bytes())
    }

    /// A boolean.
    pub fn bool(value: bool) -> Self {
        Self::new(value_type::BOOL, [u8::from(value)])
    }

    /// A string of arbitrary bytes.
    pub fn string(value: impl AsRef<[u8]>) -> Self {
        Self::new(value_type::STRING, string(value.as_ref()))
    }

    /// An array of strings.
    pub fn strings<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::array(value_type::STRING, values.into_iter().map(|value| string(value.as_ref())))
    }

    /// An array of signed 32-bit integers.
    pub fn i32s(values: impl IntoIterator<Item = i32>) -> Self {
        Self::array(value_type::I32, values.into_iter().map(i32::to_le_bytes))
    }

    /// An array of unsigned 32-bit integers.
    pub fn u32s(values: impl IntoIterator<Item = u32>) -> Self {
        Self::array(value_type::U32, values.into_iter().map(u32::to_le_bytes))
    }

    /// An array of 32-bit floats.
    pub fn f32s(values: impl IntoIterator<Item = f32>) -> Self {
        Self::array(value_type::F32, values.into_iter().map(f32::to_le_bytes))
    }

    /// The strings of an array of strings; empty for other values.
    pub fn texts(&self) -> Vec<&[u8]> {
        let mut texts = Vec::new();
        let is_list = self.ty == value_type::ARRAY
            && self.bytes.starts_with(&value_type::STRING.to_le_bytes());
        let mut rest = self.bytes.get(12..).filter(|_| is_list).unwrap_or_default();
        while let Some((length, after)) = rest.split_first_chunk::<8>() {
            let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
            let Some((text, after)) = after.split_at_checked(length) else { break };
            texts.push(text);
            rest = after;
        }
        texts
    }

    /// The numbers of an array of 32-bit integers; empty for other values.
    pub fn integers(&self) -> Vec<i32> {
        let is_list = self.ty == value_type::ARRAY
            && [value_type::I32, value_type::U32]
                .iter()
                .any(|ty| self.bytes.starts_with(&ty.to_le_bytes()));
        let numbers = self.bytes.get(12..).filter(|_| is_list).unwrap_or_default();
        numbers.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect()
    }

    fn array<T: AsRef<[u8]>>(ty: u32, values: impl Iterator<Item = T>) -> Self {
        let mut content = Vec::new();
        let mut count = 0_u64;
        for value in values {
            count += 1;
            content.extend_from_slice(value.as_ref());
        }
        let bytes = [&ty.to_le_bytes()[..], &count.to_le_bytes(), &content].concat();
        Self::new(value_type::ARRAY, bytes)
    }
}

/// A header for editing and writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Metadata, in file order.
    pub metadata: Vec<(String, Value)>,
    /// Tensors, in file order.
    pub tensors: Vec<RawTensor>,
    /// Alignment of tensor data in bytes, independent of the metadata.
    pub alignment: u64,
}

impl Default for Document {
    fn default() -> Self {
        Self { metadata: Vec::new(), tensors: Vec::new(), alignment: DEFAULT_ALIGNMENT }
    }
}

impl Document {
    /// Decodes the header of a file, including values that [`GgufHeader`] would refuse.
    pub fn decode(file: &[u8]) -> Result<Self> {
        Self::parse(file).map_err(|problem| problem.into_error("the file"))
    }

    /// Reads the header of a file, which must be valid.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let header = GgufHeader::read(path)?;
        let mut bytes = vec![0; header.data_offset.min(header.file_size) as usize];
        File::open(path)
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes))
            .map_err(|error| Error::unreadable(path, error))?;
        let mut document = Self::decode(&bytes)?;
        document.alignment = header.alignment;
        Ok(document)
    }

    fn parse(file: &[u8]) -> Parsed<Self> {
        let size = file.len() as u64;
        let mut parser = Parser::new(file, size, size).with_memory_doubled();
        let counts = parser.counts()?;
        let mut document = Self { metadata: parser.vec(counts.pairs)?, ..Self::default() };
        for _ in 0..counts.pairs {
            let key = parser.key()?;
            let start = parser.position() as usize + size_of::<u32>();
            let (ty, _) = parser.value(&key)?;
            let bytes = file.get(start..parser.position() as usize).unwrap_or_default();
            parser.take_memory(bytes.len() as u64)?;
            document.metadata.push((key, Value::new(ty, bytes)));
        }
        document.tensors = parser.vec(counts.tensors)?;
        for _ in 0..counts.tensors {
            document.tensors.push(parser.tensor()?);
        }
        Ok(document)
    }

    /// Sets the value of a key, replacing an existing one; new keys are appended.
    pub fn set(&mut self, key: impl Into<String>, value: Value) {
        let key = key.into();
        self.remove(&key);
        self.metadata.push((key, value));
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        self.metadata.retain(|(other, _)| other != key);
    }

    /// Adds a tensor without an offset; call [`Self::lay_out`] afterwards.
    pub fn add_tensor(&mut self, name: impl Into<String>, ty: TensorType, shape: &[u64]) {
        let shape = shape.to_vec();
        self.tensors.push(RawTensor { name: name.into(), shape, ty: ty.number(), offset: 0 });
    }

    /// Assigns consecutive offsets to the tensors; returns the total size of their data in bytes.
    ///
    /// Fails if a tensor has an unknown type, or a size exceeds 2^64.
    pub fn lay_out(&mut self) -> Result<u64> {
        let mut end = 0_u64;
        for tensor in &mut self.tensors {
            tensor.offset = end;
            let size = TensorType::from_number(tensor.ty).and_then(|ty| ty.size_of(&tensor.shape));
            let next = size.and_then(|size| end.checked_add(size));
            let next = next.and_then(|next| next.checked_next_multiple_of(self.alignment.max(1)));
            end = next.ok_or_else(|| {
                let message = format!("tensor {} can have no such type and shape", tensor.name);
                Error::new(ErrorKind::InvalidModel, message)
            })?;
        }
        Ok(end)
    }

    /// Encodes the header, padded to the start of the tensor data.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            bytes.extend(string(key.as_bytes()));
            bytes.extend(value.ty.to_le_bytes());
            bytes.extend(&value.bytes);
        }
        for tensor in &self.tensors {
            bytes.extend(string(tensor.name.as_bytes()));
            bytes.extend((tensor.shape.len() as u32).to_le_bytes());
            bytes.extend(tensor.shape.iter().flat_map(|length| length.to_le_bytes()));
            bytes.extend(tensor.ty.to_le_bytes());
            bytes.extend(tensor.offset.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(self.alignment.max(1) as usize), 0);
        bytes
    }

    /// Writes a sparse file of the full size. Only the header occupies disk space; the tensor data is a hole that reads
    /// as zeros.
    pub fn write_sparse(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let data = self.lay_out()?;
        let header = self.encode();
        let length = data.checked_add(header.len() as u64).ok_or_else(|| {
            let message = format!("{} would have more than 2^64 bytes", path.display());
            Error::new(ErrorKind::InvalidModel, message)
        })?;
        File::create(path)
            .and_then(|mut file| file.write_all(&header).and_then(|()| file.set_len(length)))
            .map_err(|error| Error::io("write", path, error))
    }
}

fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}
