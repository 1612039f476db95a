//! A validated header, for reading.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use mullama_base::{Result, open_file};
use serde::Serialize;

use crate::metadata::MetadataValue;
use crate::parser::{
    Counts, DEFAULT_ALIGNMENT, Parsed, Parser, Problem, RawTensor, shorten_key, value_type,
};
use crate::{TensorType, quantisation};

/// The header of a GGUF file: everything before the weights.
#[derive(Debug, Clone, Default, Serialize)]
pub struct GgufHeader {
    /// Version of the format.
    pub version: u32,
    /// Metadata, in file order.
    pub metadata: Vec<(String, MetadataValue)>,
    /// Tensors, in file order.
    pub tensors: Vec<TensorInfo>,
    /// Size of the file in bytes.
    pub file_size: u64,
    /// Alignment of tensor data in bytes.
    #[serde(skip)]
    pub alignment: u64,
    /// Offset of the tensor data in the file, in bytes.
    #[serde(skip)]
    pub data_offset: u64,
}

/// A tensor of a model file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorInfo {
    /// The name.
    pub name: String,
    /// The data type: `f16`, `q4_K`, ...
    pub ty: TensorType,
    /// Number of elements in each dimension, starting with the contiguous one, without trailing ones.
    pub shape: Vec<u64>,
    /// Size in bytes.
    pub size: u64,
    /// Offset of the data in bytes, relative to [`GgufHeader::data_offset`].
    #[serde(skip)]
    pub offset: u64,
}

impl GgufHeader {
    /// Reads and validates the header of a file.
    ///
    /// Returns `NotFound` if the file does not exist, and `InvalidModel` for a folder, an empty file, or a file that is
    /// not GGUF, has another version, is truncated or damaged, or refers to data outside itself.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        read(path.as_ref(), Self::parse)
    }

    /// Like [`Self::read`], but reads the metadata only, so tensors may have unknown types. `tensors` is empty.
    pub fn read_metadata(path: impl AsRef<Path>) -> Result<Self> {
        read(path.as_ref(), |parser| Self::parse_metadata(parser).map(|(header, _)| header))
    }

    /// Like [`Self::read`], but includes the tensors of all shards of a split model. The size is that of all shards.
    pub fn read_split(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut header = Self::read(path)?;
        for shard in header.other_shards(path) {
            let other = Self::read(shard)?;
            header.tensors.extend(other.tensors);
            header.file_size = header.file_size.saturating_add(other.file_size);
        }
        Ok(header)
    }

    /// Reads and validates the header of a file of `size` bytes. Error messages call the file `name`.
    pub fn from_reader(file: impl Read, size: u64, name: impl Display) -> Result<Self> {
        let parser = &mut Parser::new(BufReader::new(file), size, size);
        Self::parse(parser).map_err(|problem| problem.into_error(name))
    }

    /// Reads and validates the header of a file of `size` bytes, of which only the first are available. Returns `None`
    /// if more bytes are needed. Error messages call the file `name`.
    pub fn from_prefix(prefix: &[u8], size: u64, name: impl Display) -> Result<Option<Self>> {
        let parser = &mut Parser::new(prefix, prefix.len() as u64, size);
        match Self::parse(parser) {
            Ok(header) => Ok(Some(header)),
            Err(Problem::NeedsMore) if (prefix.len() as u64) < size => Ok(None),
            Err(problem) => Err(problem.into_error(name)),
        }
    }

    /// The paths of a split model's other shards, in the same folder: `NAME-00002-of-00003.gguf`.
    pub fn other_shards(&self, first: &Path) -> Vec<PathBuf> {
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

    /// The metadata value of this key.
    pub fn get(&self, key: &str) -> Option<&MetadataValue> {
        self.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The string value of this key.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            MetadataValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer value of this key in the architecture's own metadata: `block_count` means `llama.block_count` in a
    /// file of architecture `llama`.
    pub fn architecture_number(&self, key: &str) -> Option<i64> {
        match self.get(&format!("{}.{key}", self.text("general.architecture")?))? {
            MetadataValue::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The quantisation according to the metadata, for example `Q4_K_M`.
    pub fn quantisation(&self) -> Option<&'static str> {
        match self.get("general.file_type")? {
            MetadataValue::Int(number) => quantisation(u32::try_from(*number).ok()?),
            _ => None,
        }
    }

    fn parse_metadata<R: BufRead>(parser: &mut Parser<R>) -> Parsed<(Self, Counts)> {
        let counts = parser.counts()?;
        let mut header = Self {
            version: counts.version,
            metadata: parser.vec(counts.pairs)?,
            file_size: parser.size(),
            alignment: DEFAULT_ALIGNMENT,
            ..Self::default()
        };
        for _ in 0..counts.pairs {
            let key = parser.key()?;
            let (ty, value) = parser.value(&key)?;
            if key == "general.alignment" {
                header.alignment = alignment(ty, &value)?;
            }
            header.metadata.push((key, value));
        }
        let mut keys = parser.vec(counts.pairs)?;
        keys.extend(header.metadata.iter().map(|(key, _)| key.as_str()));
        if let Some(key) = find_duplicate(&mut keys) {
            return Err(Problem::damaged(format_args!("{} appears twice", shorten_key(key))));
        }
        Ok((header, counts))
    }

    fn parse<R: BufRead>(parser: &mut Parser<R>) -> Parsed<Self> {
        let (mut header, counts) = Self::parse_metadata(parser)?;
        header.tensors = parser.vec(counts.tensors)?;
        let mut end = 0;
        for _ in 0..counts.tensors {
            let tensor = TensorInfo::check(parser.tensor()?, end)?;
            let next = end.checked_add(tensor.size);
            let next = next.and_then(|next| next.checked_next_multiple_of(header.alignment));
            end = next.ok_or_else(|| {
                Problem::damaged(format_args!("the size of tensor {} overflows", tensor.name))
            })?;
            header.tensors.push(tensor);
        }
        let mut names = parser.vec(counts.tensors)?;
        names.extend(header.tensors.iter().map(|tensor| tensor.name.as_str()));
        if let Some(name) = find_duplicate(&mut names) {
            return Err(Problem::damaged(format_args!("tensor {name} appears twice")));
        }
        header.data_offset = match counts.tensors {
            0 => parser.position(),
            _ => parser.position().next_multiple_of(header.alignment),
        };
        header.check_bounds()?;
        Ok(header)
    }

    /// Checks that all tensors are within the file.
    fn check_bounds(&self) -> Parsed<()> {
        for tensor in &self.tensors {
            let start = self.data_offset.checked_add(tensor.offset);
            let end = start.and_then(|start| start.checked_add(tensor.size));
            if end.is_none_or(|end| end > self.file_size) {
                return Err(Problem::Invalid(
                    format!(
                        "is incomplete: it has {} bytes, and tensor {} ends at byte {}",
                        self.file_size,
                        tensor.name,
                        end.map_or_else(|| "2^64".to_owned(), |end| end.to_string()),
                    ),
                    "download the file again",
                ));
            }
        }
        Ok(())
    }
}

impl TensorInfo {
    /// Validates a tensor. Its data must begin at offset `start`, because the engine reads tensors consecutively.
    fn check(raw: RawTensor, start: u64) -> Parsed<Self> {
        let RawTensor { name, mut shape, ty, offset } = raw;
        let damaged = |what: String| Problem::damaged(format_args!("tensor {name} {what}"));
        let elements = shape.iter().try_fold(1_u64, |product, length| {
            product.checked_mul((*length).max(1)).filter(|product| i64::try_from(*product).is_ok())
        });
        if elements.is_none() {
            return Err(damaged(format!("has too many elements, by its shape {shape:?}")));
        }
        let Some(ty) = TensorType::from_number(ty) else {
            return Err(damaged(format!("has the unknown type {ty}")));
        };
        let row = shape.first().copied().unwrap_or(1);
        if row % ty.block_length() != 0 {
            let block = ty.block_length();
            return Err(damaged(format!(
                "has the shape {shape:?}, whose rows are not multiples of the {block} numbers in a block of type {ty}"
            )));
        }
        let Some(size) = ty.size_of(&shape) else {
            return Err(damaged(format!("has a size that overflows, by its shape {shape:?}")));
        };
        if offset != start {
            return Err(damaged(format!("has the offset {offset}, where {start} was expected")));
        }
        while shape.len() > 1 && shape.last() == Some(&1) {
            shape.pop();
        }
        if shape.is_empty() {
            shape.push(1);
        }
        Ok(Self { name, ty, shape, size, offset })
    }
}

/// The value of `general.alignment`.
fn alignment(ty: u32, value: &MetadataValue) -> Parsed<u64> {
    match value {
        MetadataValue::Int(number)
            if ty == value_type::U32 && number.cast_unsigned().is_power_of_two() =>
        {
            Ok(number.cast_unsigned())
        }
        _ => Err(Problem::damaged("the alignment, general.alignment, is not a power of two")),
    }
}

/// A text that occurs more than once. Sorts the texts.
fn find_duplicate<'a>(texts: &mut [&'a str]) -> Option<&'a str> {
    texts.sort_unstable();
    let mut pairs = texts.iter().zip(texts.iter().skip(1));
    pairs.find(|(one, other)| one == other).map(|(text, _)| *text)
}

/// Opens and parses a file.
fn read(
    path: &Path,
    parse: impl FnOnce(&mut Parser<BufReader<File>>) -> Parsed<GgufHeader>,
) -> Result<GgufHeader> {
    let open = || -> io::Result<(File, u64)> {
        // Check the type first: not every system can open folders.
        let metadata = path.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok((open_file(path)?, metadata.len()))
    };
    let parsed = match open() {
        Ok((_, 0)) => Err(Problem::Invalid("is empty".to_owned(), "download it again")),
        Ok((file, size)) => parse(&mut Parser::new(BufReader::new(file), size, size)),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::IsADirectory => Problem::Invalid(
                "is a folder, not a model file".to_owned(),
                "name the .gguf file in it",
            ),
            io::ErrorKind::InvalidInput => Problem::Invalid(
                "is a pipe or a device, not a model file".to_owned(),
                "save the model as a file",
            ),
            _ => Problem::Io(error),
        }),
    };
    parsed
        .map_err(|problem| problem.into_error(path.display()).with_context("path", path.display()))
}
