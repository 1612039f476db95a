//! Headers without data of models that do not exist: bare shapes, and models in another quantisation.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use mullama_gguf::{Document, FILE_TYPES, GgufHeader, TensorType};
use mullama_sys as sys;
use serde_json::{Map, Value};

use crate::device::DeviceSet;
use crate::engine::{Failure, WeightSettings, Weights};
use crate::options::ModelParams;
use crate::placement::{cached_file, stamp};
use crate::runtime::{self, log as logging};
use crate::{Error, ErrorKind, Result};

/// The largest number in a shape, except for its context length.
const MAX_VALUE: u64 = 1 << 24;

/// Fields of a shape that are not metadata of its architecture.
const SHAPE_FIELDS: [&str; 4] = ["architecture", "quantization", "tied", "biases"];

/// Default values of metadata.
const DEFAULTS: [(&str, f64); 2] =
    [("attention.layer_norm_rms_epsilon", 1e-5), ("attention.layer_norm_epsilon", 1e-5)];

/// The shape of a model that need not exist: an architecture, the metadata of that architecture, and a quantisation.
/// The engine determines which tensors such a model has.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    architecture: String,
    /// Metadata by key, without the prefix of the architecture.
    metadata: Map<String, Value>,
    file_type: u32,
    is_tied: bool,
    has_biases: bool,
}

impl Shape {
    /// Creates a shape from fields: `architecture`; `quantization` (default: `Q4_K_M`); `tied`, whether the embedding
    /// is also the output matrix (default: false); `biases`, whether there are bias tensors (default: false). All
    /// others are metadata of the architecture, such as `block_count`, `embedding_length`, `attention.head_count`,
    /// `vocab_size`.
    pub fn new(fields: &Map<String, Value>) -> Result<Self> {
        let text = |name: &str| match fields.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(problem(format!("`{name}`: expected a text"))),
        };
        let flag = |name: &str| match fields.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(problem(format!("`{name}`: expected true or false"))),
        };
        let architecture = text("architecture")?.ok_or_else(|| {
            problem("it has no `architecture`")
                .with_hint("architecture=llama, and the metadata of that architecture")
        })?;
        let prefix = format!("{architecture}.");
        let mut metadata = Map::new();
        for (key, value) in fields.iter().filter(|(key, _)| !SHAPE_FIELDS.contains(&key.as_str())) {
            check(key, value)?;
            metadata.insert(key.strip_prefix(&prefix).unwrap_or(key).to_owned(), value.clone());
        }
        for key in ["block_count", "embedding_length", "vocab_size"] {
            if !metadata.contains_key(key) {
                return Err(problem(format!("it has no `{key}`")));
            }
        }
        for (key, value) in DEFAULTS {
            metadata.entry(key).or_insert_with(|| value.into());
        }
        metadata.entry("context_length").or_insert(131_072.into());
        Ok(Self {
            architecture: architecture.to_owned(),
            metadata,
            file_type: file_type(text("quantization")?.unwrap_or("Q4_K_M"))?,
            is_tied: flag("tied")?,
            has_biases: flag("biases")?,
        })
    }

    /// Sets the quantisation.
    pub fn with_quantization(mut self, name: &str) -> Result<Self> {
        self.file_type = file_type(name)?;
        Ok(self)
    }

    /// Writes a file with the header of such a model to the cache folder, and returns its path. The file is sparse: it
    /// is as long as the model would be and reads as zeros, but only the header occupies disk space.
    pub fn header(&self) -> Result<PathBuf> {
        let _engine = runtime::without_gpus();
        self.file()
    }

    /// Like [`Self::header`], for callers that have started the engine.
    pub(super) fn file(&self) -> Result<PathBuf> {
        cached_file("headers", &format!("{self:?}"), |path| self.document()?.write_sparse(path))
    }

    /// The name of the model in messages.
    pub(super) fn name(&self) -> String {
        format!("a model of the shape {}", self.summary())
    }

    fn document(&self) -> Result<Document> {
        let mut document = Document::default();
        let name = self.name();
        for (key, text) in [
            ("general.architecture", self.architecture.as_str()),
            ("general.name", name.as_str()),
            ("tokenizer.ggml.model", "no_vocab"),
        ] {
            document.set(key, value(key, &text.into())?);
        }
        for (key, number) in &self.metadata {
            document.set(format!("{}.{key}", self.architecture), value(key, number)?);
        }
        let header = document.encode();
        let (tensors, said) = logging::log_as_trace(|| {
            logging::capture(|| {
                sys::shim::shape_tensors(&header, self.file_type, self.is_tied, self.has_biases)
            })
        });
        let tensors = tensors.map_err(|reason| {
            let reason = said.problem().unwrap_or(reason);
            let (problem, hint) = match Failure::of(&reason) {
                // The engine asserts that no tensor is empty.
                Failure::Assertion => (
                    problem("the engine cannot create its tensors: a size is missing, or 0"),
                    "attention.head_count, feed_forward_length and the like belong to it",
                ),
                Failure::UnknownArchitecture => (
                    problem(&reason),
                    "the architecture as GGUF files name it: llama, qwen3, gemma3, ...",
                ),
                Failure::KeyMissing => {
                    (problem(&reason), "give the key, with its value in a model of this kind")
                }
                _ => (problem(&reason), "no model of this architecture has such numbers"),
            };
            problem.with_hint(hint)
        })?;
        set_tensors(&mut document, &tensors, self.file_type)?;
        Ok(document)
    }

    fn summary(&self) -> String {
        let number = |key: &str| self.metadata.get(key).map_or_else(String::new, Value::to_string);
        format!("{} {}x{}", self.architecture, number("block_count"), number("embedding_length"))
    }
}

impl FromStr for Shape {
    type Err = Error;

    /// Parses `architecture=llama,block_count=80,...`; lists are written as `[1,2]`.
    fn from_str(text: &str) -> Result<Self> {
        let mut fields = Map::new();
        let (mut depth, mut start) = (0, 0);
        let ends = text.char_indices().chain([(text.len(), ',')]);
        for (at, c) in ends {
            match c {
                '[' => depth += 1,
                ']' => depth -= 1,
                ',' if depth <= 0 => {
                    let pair = text[start..at].trim();
                    start = (at + 1).min(text.len());
                    if pair.is_empty() {
                        continue;
                    }
                    let (key, value) = pair
                        .split_once('=')
                        .ok_or_else(|| problem(format!("`{pair}` is not KEY=VALUE")))?;
                    // Anything that is not valid JSON is a string.
                    let value = value.trim();
                    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
                    fields.insert(key.trim().to_owned(), value);
                }
                _ => {}
            }
        }
        Self::new(&fields)
    }
}

fn problem(what: impl std::fmt::Display) -> Error {
    Error::option("shape", what.to_string())
}

/// The number of a quantisation in GGUF files.
pub(super) fn file_type(name: &str) -> Result<u32> {
    mullama_gguf::file_type(name).ok_or_else(|| {
        let names: Vec<_> = FILE_TYPES.iter().map(|(_, name)| *name).collect();
        Error::new(ErrorKind::InvalidArgument, format!("there is no quantisation `{name}`"))
            .with_hint(format!("one of {}", names.join(", ")))
    })
}

fn check(key: &str, value: &Value) -> Result<()> {
    match value {
        Value::Number(number) => {
            let is_sound = match (number.as_u64(), number.as_f64()) {
                (Some(whole), _) => whole <= MAX_VALUE || key.ends_with("context_length"),
                (None, Some(float)) => float.is_finite() && float >= 0.0,
                _ => false,
            };
            if is_sound {
                Ok(())
            } else {
                Err(problem(format!("`{key}`: {number} is out of range")))
            }
        }
        Value::Array(items) if items.len() <= 1024 => {
            items.iter().try_for_each(|item| check(key, item))
        }
        Value::Bool(_) | Value::String(_) => Ok(()),
        _ => {
            Err(problem(format!("`{key}`: expected a number, a text, a list of numbers or a flag")))
        }
    }
}

/// Converts a metadata value to the type that GGUF files use for this key.
fn value(key: &str, value: &Value) -> Result<mullama_gguf::Value> {
    let is_float = ["epsilon", "freq_base", "scale", "factor", "softcapping", "clamp_kqv"]
        .iter()
        .any(|part| key.contains(part));
    let whole = |value: &Value| {
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| problem(format!("`{key}`: {value} is not a whole number")))
    };
    Ok(match value {
        _ if key.contains('\0') => return Err(problem(format!("`{key}` has a NUL byte"))),
        Value::Bool(flag) => mullama_gguf::Value::bool(*flag),
        Value::String(text) if text.contains('\0') => {
            return Err(problem(format!("`{key}` has a NUL byte")));
        }
        Value::String(text) => mullama_gguf::Value::string(text),
        Value::Array(items) => {
            mullama_gguf::Value::u32s(items.iter().map(whole).collect::<Result<Vec<_>>>()?)
        }
        Value::Number(number) if is_float || number.is_f64() => {
            mullama_gguf::Value::f32(number.as_f64().unwrap_or(0.0) as f32)
        }
        number => mullama_gguf::Value::u32(whole(number)?),
    })
}

/// Sets the tensors of a header to those that the engine listed for a quantisation.
fn set_tensors(document: &mut Document, listed: &str, file_type: u32) -> Result<()> {
    let internal = |what: String| Error::new(ErrorKind::Internal, what);
    let tensors: Vec<(String, u32, Vec<u64>)> =
        serde_json::from_str(listed).map_err(|error| internal(error.to_string()))?;
    document.tensors.clear();
    for (name, ty, shape) in tensors {
        let known = TensorType::from_number(ty);
        let ty = known.ok_or_else(|| internal(format!("the engine makes {name} of type {ty}")))?;
        document.add_tensor(name, ty, &shape);
    }
    document.set("general.file_type", mullama_gguf::Value::u32(file_type));
    document.lay_out().map(drop)
}

/// A file with the header that the model would have in another quantisation.
pub(super) fn requantized(path: &Path, header: &GgufHeader, file_type: u32) -> Result<PathBuf> {
    let about = format!("{} {} {file_type}", path.display(), stamp(path));
    cached_file("headers", &about, |result| {
        let on_cpu = ModelParams::default().with_n_gpu_layers(0);
        let settings = WeightSettings::resolve(&on_cpu, &DeviceSet::processors())?;
        let weights = logging::log_as_trace(|| Weights::load_metadata_only(path, &settings))?;
        let mut document = Document::read(path)?;
        for shard in header.other_shards(path) {
            document.tensors.extend(Document::read(shard)?.tensors);
        }
        for key in ["split.no", "split.count", "split.tensors.count"] {
            document.remove(key);
        }
        document.lay_out()?;
        let tensors = weights.quantised_tensors(&document.encode(), file_type);
        tensors
            .map_err(|reason| Error::new(ErrorKind::Unsupported, reason))
            .and_then(|tensors| set_tensors(&mut document, &tensors, file_type))
            .map_err(|error| {
                let message = format!("cannot plan another type: {error}");
                Error::new(ErrorKind::Unsupported, message)
            })?;
        document.write_sparse(result)
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    const LLAMA_8B: &str = "architecture=llama,block_count=32,embedding_length=4096,\
        feed_forward_length=14336,attention.head_count=32,attention.head_count_kv=8,vocab_size=128256";

    fn size(shape: &Shape) -> u64 {
        let header = GgufHeader::read(shape.header().unwrap()).unwrap();
        header.tensors.iter().map(|tensor| tensor.size).sum()
    }

    #[test]
    fn shape_sizes_match_published_models() {
        let shape: Shape = LLAMA_8B.parse().unwrap();
        // The published model has 8,030,261,248 parameters, without the 64 frequency factors.
        let header = GgufHeader::read(shape.header().unwrap()).unwrap();
        let numbers: u64 =
            header.tensors.iter().map(|tensor| tensor.shape.iter().product::<u64>()).sum();
        assert_eq!(numbers, 8_030_261_248);
        // Published files have 4.92 GB (Q4_K_M) and 8.54 GB (Q8_0).
        let (middle, large) =
            (size(&shape), size(&shape.clone().with_quantization("Q8_0").unwrap()));
        assert!((4.90e9..4.93e9).contains(&(middle as f64)), "{middle}");
        assert!((8.52e9..8.55e9).contains(&(large as f64)), "{large}");
        let tied: Shape = format!("{LLAMA_8B},tied=true").parse().unwrap();
        assert!(size(&tied) < middle);
    }

    #[test]
    fn requantised_sizes_match_the_quantiser() {
        let wide = mullama_testkit::fixture("small");
        let header = GgufHeader::read(&wide).unwrap();
        let planned = requantized(&wide, &header, file_type("Q4_K_M").unwrap()).unwrap();
        let planned = GgufHeader::read(planned).unwrap();
        let made = wide.with_extension("q4_k_m.test");
        mullama_testkit::quantize(&wide, &made, sys::LLAMA_FTYPE_MOSTLY_Q4_K_M).unwrap();
        let made_header = GgufHeader::read(&made).unwrap();
        std::fs::remove_file(&made).unwrap();
        let types = |header: &GgufHeader| {
            let mut types: Vec<_> =
                header.tensors.iter().map(|t| (t.name.clone(), t.ty, t.size)).collect();
            types.sort();
            types
        };
        assert_eq!(types(&planned), types(&made_header));
    }

    #[test]
    fn invalid_shapes_are_rejected() {
        let refused = |text: &str| {
            let error = text.parse::<Shape>().and_then(|shape| shape.header()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
            error.report()
        };
        assert!(refused("block_count=1").contains("architecture"));
        assert!(refused("architecture=llama,block_count=2").contains("embedding_length"));
        assert!(refused(&format!("{LLAMA_8B},block_count=99999999999")).contains("out of range"));
        refused(&format!("{LLAMA_8B},block_count=100000"));
        assert!(refused(&LLAMA_8B.replace("llama", "abacus")).contains("abacus"));
        assert!(refused(&format!("{LLAMA_8B},quantization=Q9")).contains("Q4_K_M"));
        let headless = LLAMA_8B.replace("attention.head_count=32,", "");
        assert!(refused(&headless).contains("attention.head_count"));
    }

    #[test]
    fn tensor_types_match_the_engine() {
        for number in 0..sys::GGML_TYPE_COUNT {
            // SAFETY: a number below the count; the name is a static string.
            let (name, length, size) = unsafe {
                let name = CStr::from_ptr(sys::ggml_type_name(number)).to_str().unwrap();
                (name, sys::ggml_blck_size(number) as u64, sys::ggml_type_size(number) as u64)
            };
            match TensorType::from_number(number) {
                Some(ty) => {
                    assert_eq!(
                        (ty.name(), ty.block_length(), ty.block_size()),
                        (name, length, size)
                    );
                }
                None => assert_eq!(length, 0, "{name} is unknown"),
            }
        }
    }
}
