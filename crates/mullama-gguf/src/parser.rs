//! Parses the bytes of a header, within the limits.

use std::fmt::Display;
use std::io::{self, BufRead};

use mullama_base::{Error, ErrorKind};

use crate::metadata::MetadataValue;

/// Alignment of tensor data in bytes, unless `general.alignment` specifies another.
pub const DEFAULT_ALIGNMENT: u64 = 32;

/// Maximum size of a header in bytes. Headers with large vocabularies have about 20 MiB.
pub const MAX_HEADER_SIZE: u64 = 128 << 20;

/// Memory in bytes that a header may always use, even if the file is smaller.
const SMALLEST_MEMORY: u64 = 64 << 10;

/// The first bytes of every GGUF file.
pub const MAGIC: [u8; 4] = *b"GGUF";
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;

/// Maximum length of a key in bytes, by GGUF's specification.
const MAX_KEY_LENGTH: u64 = u16::MAX as u64;
/// `GGML_MAX_NAME`, without the terminating NUL.
const MAX_TENSOR_NAME_LENGTH: u64 = 63;
/// `GGML_MAX_DIMS`.
const MAX_DIMENSIONS: u32 = 4;

/// Minimum size of a key-value pair: a length, one character, a type and a one-byte value.
const MIN_PAIR_SIZE: u64 = 8 + 1 + 4 + 1;
/// Minimum size of a tensor entry: a name's length, the number of dimensions, a type and an offset.
const MIN_TENSOR_SIZE: u64 = 8 + 4 + 4 + 8;

/// Type numbers of metadata values (`gguf_type`).
pub(crate) mod value_type {
    pub const U8: u32 = 0;
    pub const I8: u32 = 1;
    pub const U16: u32 = 2;
    pub const I16: u32 = 3;
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const STRING: u32 = 8;
    pub const ARRAY: u32 = 9;
    pub const U64: u32 = 10;
    pub const I64: u32 = 11;
    pub const F64: u32 = 12;
}

/// Why a header could not be read.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The available bytes end within the header, but the file continues.
    NeedsMore,
    /// What is wrong with the file, to append to its name, and a hint.
    Invalid(String, &'static str),
    Io(io::Error),
}

pub(crate) type Parsed<T> = Result<T, Problem>;

impl Problem {
    pub fn invalid(what: String) -> Self {
        Self::Invalid(what, "the file is damaged or incomplete: download it again")
    }

    /// The header contains invalid data.
    pub fn damaged(what: impl Display) -> Self {
        Self::invalid(format!("has a header that cannot be read: {what}"))
    }

    /// Converts this to an error about a file with this name.
    pub fn into_error(self, name: impl Display) -> Error {
        match self {
            Self::NeedsMore => Self::too_short().into_error(name),
            Self::Invalid(what, hint) => {
                Error::new(ErrorKind::InvalidModel, format!("{name} {what}")).with_hint(hint)
            }
            Self::Io(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    Error::new(ErrorKind::NotFound, format!("there is no file at {name}"))
                }
                _ => Error::new(ErrorKind::Io, format!("cannot read {name}: {error}"))
                    .with_source(error),
            },
        }
    }

    fn too_short() -> Self {
        Self::damaged("it ends too soon, the file is incomplete")
    }
}

/// A tensor entry as read from the file, without validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawTensor {
    /// The name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Number of elements in each dimension, starting with the contiguous one.
    pub shape: Vec<u64>,
    /// The type number; see [`crate::TensorType`].
    pub ty: u32,
    /// Offset of the data in bytes, relative to the start of all tensor data.
    pub offset: u64,
}

/// The fixed part at the start of a header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub version: u32,
    pub tensors: usize,
    pub pairs: usize,
}

/// Parses a header, from its first byte to the end of the list of tensors.
pub(crate) struct Parser<R> {
    input: R,
    position: u64,
    /// Size of the whole file in bytes.
    size: u64,
    /// Number of bytes of the file that `input` has.
    available: u64,
    /// Remaining memory budget in bytes.
    memory: u64,
}

impl<R: BufRead> Parser<R> {
    /// Creates a parser for the first `available` bytes of a file of `size` bytes.
    pub fn new(input: R, available: u64, size: u64) -> Self {
        let available = available.min(size);
        Self { input, position: 0, size, available, memory: available.max(SMALLEST_MEMORY) }
    }

    /// Doubles the memory budget.
    pub fn with_memory_doubled(mut self) -> Self {
        self.memory *= 2;
        self
    }

    /// Size of the whole file in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn counts(&mut self) -> Parsed<Counts> {
        let magic = MAGIC.len().min(self.size as usize);
        let mut start = vec![0; magic];
        self.fill(&mut start)?;
        if !MAGIC.starts_with(&start) {
            let shown = String::from_utf8_lossy(&start);
            return Err(Problem::Invalid(
                format!("is not a GGUF file: it begins with {shown:?}"),
                "models in other formats have to be converted to GGUF",
            ));
        }
        let version = self.u32()?;
        if !VERSIONS.contains(&version) {
            let what = format!("is a GGUF file of version {version}; 2 and 3 are known");
            return Err(Problem::Invalid(what, "convert the model again with a current converter"));
        }
        let (tensors, pairs) = (self.u64()?, self.u64()?);
        let least = tensors
            .checked_mul(MIN_TENSOR_SIZE)
            .and_then(|size| size.checked_add(pairs.checked_mul(MIN_PAIR_SIZE)?))
            .and_then(|size| size.checked_add(self.position));
        let most = self.size.min(MAX_HEADER_SIZE);
        if least.is_none_or(|least| least > most) {
            return Err(Problem::damaged(format_args!(
                "it declares {pairs} metadata entries and {tensors} tensors, more than fit into {most} bytes; \
                 it is damaged or incomplete"
            )));
        }
        Ok(Counts { version, tensors: tensors as usize, pairs: pairs as usize })
    }

    pub fn key(&mut self) -> Parsed<String> {
        let length = self.u64()?;
        if !(1..=MAX_KEY_LENGTH).contains(&length) {
            let what = format!("a key of the metadata has a length of {length}");
            return Err(Problem::damaged(what));
        }
        self.name(length)
    }

    /// Reads a value: its type number and content. For an array, the content is its length.
    pub fn value(&mut self, key: &str) -> Parsed<(u32, MetadataValue)> {
        let ty = self.u32()?;
        let value = match ty {
            value_type::U8 => MetadataValue::Int(self.bytes::<1>()?[0].into()),
            value_type::I8 => MetadataValue::Int(i8::from_le_bytes(self.bytes()?).into()),
            value_type::U16 => MetadataValue::Int(u16::from_le_bytes(self.bytes()?).into()),
            value_type::I16 => MetadataValue::Int(i16::from_le_bytes(self.bytes()?).into()),
            value_type::U32 => MetadataValue::Int(self.u32()?.into()),
            value_type::I32 => MetadataValue::Int(i32::from_le_bytes(self.bytes()?).into()),
            value_type::F32 => MetadataValue::Float(f32::from_le_bytes(self.bytes()?).into()),
            value_type::BOOL => MetadataValue::Bool(self.bytes::<1>()?[0] != 0),
            value_type::STRING => {
                let length = self.u64()?;
                MetadataValue::Text(self.text(length)?)
            }
            value_type::ARRAY => {
                let (length, longest) = self.skip_array(key)?;
                MetadataValue::Array { length, longest }
            }
            value_type::U64 => {
                let number = self.u64()?;
                i64::try_from(number).map_or(MetadataValue::Uint(number), MetadataValue::Int)
            }
            value_type::I64 => MetadataValue::Int(i64::from_le_bytes(self.bytes()?)),
            value_type::F64 => MetadataValue::Float(f64::from_le_bytes(self.bytes()?)),
            _ => return Err(unknown_type(key, ty)),
        };
        Ok((ty, value))
    }

    pub fn tensor(&mut self) -> Parsed<RawTensor> {
        let length = self.u64()?;
        if length > MAX_TENSOR_NAME_LENGTH {
            let what = format!("the name of a tensor has a length of {length}, which is too long");
            return Err(Problem::damaged(what));
        }
        let name = self.name(length)?;
        let dimensions = self.u32()?;
        if dimensions > MAX_DIMENSIONS {
            let what = format!("tensor {name} has {dimensions} dimensions");
            return Err(Problem::damaged(what));
        }
        self.take_memory(u64::from(dimensions) * 8)?;
        let mut shape = Vec::with_capacity(dimensions as usize);
        for _ in 0..dimensions {
            shape.push(self.u64()?);
        }
        Ok(RawTensor { name, shape, ty: self.u32()?, offset: self.u64()? })
    }

    /// Deducts an allocation from the memory budget.
    pub fn take_memory(&mut self, bytes: u64) -> Parsed<()> {
        let left = self.memory.checked_sub(bytes);
        self.memory = left.ok_or_else(|| {
            self.shortage("it would take more memory than the file is long; it is damaged")
        })?;
        Ok(())
    }

    /// Allocates a vector with this capacity.
    pub fn vec<T>(&mut self, count: usize) -> Parsed<Vec<T>> {
        self.take_memory((count * size_of::<T>()) as u64)?;
        Ok(Vec::with_capacity(count))
    }

    /// The problem if something is insufficient. If only the beginning of the file is available, more is needed.
    fn shortage(&self, what: &str) -> Problem {
        if self.available < self.size.min(MAX_HEADER_SIZE) {
            Problem::NeedsMore
        } else {
            Problem::damaged(what)
        }
    }

    /// Whether the given number of bytes follows in the file.
    fn has(&self, count: u64) -> bool {
        count <= self.size - self.position
    }

    /// Advances the position by the given number of bytes, which are about to be read.
    fn advance(&mut self, count: u64) -> Parsed<()> {
        if !self.has(count) {
            return Err(Problem::too_short());
        }
        let end = self.position + count;
        if end > MAX_HEADER_SIZE {
            let what = format!("it is longer than {} MiB", MAX_HEADER_SIZE >> 20);
            return Err(Problem::damaged(what));
        }
        if end > self.available {
            return Err(Problem::NeedsMore);
        }
        self.position = end;
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Parsed<()> {
        self.advance(buffer.len() as u64)?;
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Problem::NeedsMore,
            _ => Problem::Io(error),
        })
    }

    fn bytes<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Parsed<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Parsed<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// Reads a name of the given number of bytes.
    fn name(&mut self, length: u64) -> Parsed<String> {
        let name = self.string(length)?;
        String::from_utf8(name).map_err(|error| {
            let bytes = error.as_bytes();
            let shown = String::from_utf8_lossy(bytes.get(..80).unwrap_or(bytes));
            Problem::damaged(format_args!("the name {shown:?} is not valid UTF-8"))
        })
    }

    /// Reads a string of the given number of bytes; invalid UTF-8 is replaced.
    fn text(&mut self, length: u64) -> Parsed<String> {
        String::from_utf8(self.string(length)?).or_else(|error| {
            // One invalid byte may become three, in a string whose capacity doubles when it grows.
            self.take_memory(length.saturating_mul(6))?;
            Ok(String::from_utf8_lossy(error.as_bytes()).into_owned())
        })
    }

    fn string(&mut self, length: u64) -> Parsed<Vec<u8>> {
        if !self.has(length) {
            return Err(too_long(format_args!("a string has a length of {length}")));
        }
        if length > self.available - self.position {
            return Err(Problem::NeedsMore);
        }
        self.take_memory(length)?;
        let mut string = vec![0; length as usize];
        self.fill(&mut string)?;
        Ok(string)
    }

    /// Skips an array; returns its length, and the length of the longest string in it.
    fn skip_array(&mut self, key: &str) -> Parsed<(usize, u64)> {
        let (ty, length) = (self.u32()?, self.u64()?);
        let least = match ty {
            value_type::ARRAY => {
                let what = format!("{} has the type of a list of lists", shorten_key(key));
                return Err(Problem::damaged(what));
            }
            value_type::STRING => 8,
            _ => value_size(ty).ok_or_else(|| unknown_type(key, ty))?,
        };
        let Some(size) = length.checked_mul(least).filter(|size| self.has(*size)) else {
            let key = shorten_key(key);
            return Err(too_long(format_args!("{key} is an array with a length of {length}")));
        };
        let mut longest = 0;
        if ty == value_type::STRING {
            for _ in 0..length {
                let length = self.u64()?;
                longest = longest.max(length);
                self.skip(length)?;
            }
        } else {
            self.skip(size)?;
        }
        Ok((length as usize, longest))
    }

    fn skip(&mut self, count: u64) -> Parsed<()> {
        self.advance(count)?;
        let mut left = count as usize;
        while left > 0 {
            let buffered = match self.input.fill_buf() {
                Ok([]) => return Err(Problem::NeedsMore),
                Ok(buffer) => buffer.len().min(left),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Problem::Io(error)),
            };
            self.input.consume(buffered);
            left -= buffered;
        }
        Ok(())
    }
}

/// The size of a fixed-size value in bytes.
fn value_size(ty: u32) -> Option<u64> {
    match ty {
        value_type::U8 | value_type::I8 | value_type::BOOL => Some(1),
        value_type::U16 | value_type::I16 => Some(2),
        value_type::U32 | value_type::I32 | value_type::F32 => Some(4),
        value_type::U64 | value_type::I64 | value_type::F64 => Some(8),
        _ => None,
    }
}

fn too_long(what: impl Display) -> Problem {
    Problem::damaged(format_args!(
        "{what}, and the file ends too soon for it: it is damaged or incomplete"
    ))
}

fn unknown_type(key: &str, ty: u32) -> Problem {
    Problem::damaged(format_args!("{} has the unknown type {ty}", shorten_key(key)))
}

/// A key for error messages, truncated if it is long.
pub(crate) fn shorten_key(key: &str) -> String {
    const MAX_SHOWN_CHARACTERS: usize = 80;
    match key.char_indices().nth(MAX_SHOWN_CHARACTERS) {
        Some((end, _)) => format!("the key {}...", key.split_at(end).0),
        None => format!("the key {key}"),
    }
}
