//! The served contents.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mullama_gguf::{Document, Value};
use sha2::{Digest as _, Sha256};

/// Content: bytes in memory, or a file.
#[derive(Clone)]
pub struct Content {
    body: Body,
    digest: Arc<str>,
}

#[derive(Clone)]
enum Body {
    Bytes(Arc<[u8]>),
    File(PathBuf, u64),
}

impl Content {
    /// Creates content from a file.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read.
    pub fn file(path: &Path) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut file = File::open(path)?;
        let (mut buffer, mut size) = (vec![0; 1 << 20], 0);
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            size += count as u64;
        }
        Ok(Self { body: Body::File(path.to_owned(), size), digest: name(hasher).into() })
    }

    /// Number of bytes.
    pub fn len(&self) -> u64 {
        match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File(_, size) => *size,
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The digest: `sha256:` and 64 hexadecimal digits.
    pub fn digest(&self) -> String {
        self.digest.to_string()
    }

    /// Writes the bytes from `first` up to but excluding `end`.
    pub(crate) fn write(&self, out: &mut impl Write, first: u64, end: u64) -> io::Result<()> {
        match &self.body {
            Body::Bytes(bytes) => out.write_all(&bytes[first as usize..end as usize]),
            Body::File(path, _) => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(first))?;
                io::copy(&mut file.take(end - first), out).map(|_| ())
            }
        }
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        let digest = digest(&bytes).into();
        Self { body: Body::Bytes(bytes.into()), digest }
    }
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

/// The digest of some bytes: `sha256:` and 64 hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    name(Sha256::new_with_prefix(bytes))
}

fn name(hasher: Sha256) -> String {
    let mut text = "sha256:".to_owned();
    for byte in hasher.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A file with a GGUF header, these texts as metadata and no tensors, followed by `noisy` bytes of
/// noise. An engine cannot load it; everything else accepts it as a model.
pub fn gguf(metadata: &[(&str, &str)], noisy: usize) -> Vec<u8> {
    let texts = metadata.iter().map(|(key, value)| ((*key).to_owned(), Value::string(value)));
    // One number and two lists, so that readers encounter them.
    let others = [
        ("general.file_type".to_owned(), Value::u32(15)),
        ("tokenizer.ggml.tokens".to_owned(), Value::strings(["a", "b"])),
        ("tokenizer.ggml.scores".to_owned(), Value::f32s([0.0, 0.0])),
    ];
    let header = Document { metadata: texts.chain(others).collect(), ..Document::default() };
    let mut file = header.encode();
    let seed = file.len() as u64 + metadata.iter().map(|(_, v)| v.len() as u64).sum::<u64>();
    file.extend(noise(seed, noisy));
    file
}

/// Returns `length` pseudo-random bytes, which depend only on the arguments.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
