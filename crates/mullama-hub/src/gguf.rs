//! The little of a GGUF file that the store wants to know.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::{Error, ErrorKind, Result};

const LONGEST_STRING: u64 = 64 << 20;
/// Bytes of one value of each type, by its number; 0 for text and lists.
const SIZES: [u64; 13] = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
const TEXT: u32 = 8;
const LIST: u32 = 9;

/// The names of quantisations, by the number that llama.cpp has for each (`llama_ftype`).
pub const FILE_TYPES: [(u64, &str); 31] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (38, "MXFP4_MOE"),
];

/// What a file's metadata says it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub architecture: String,
    /// `model`, `adapter`, `mmproj`, ...
    pub kind: String,
    pub size_label: String,
    pub file_type: Option<u64>,
    pub has_template: bool,
    /// How many files the model was split into.
    pub shards: u64,
}

impl Summary {
    /// Reads a file's metadata. The weights are not looked at.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io("read", path, error))?;
        let size = file.metadata().map_err(|error| Error::io("read", path, error))?.len();
        Self::of(&mut BufReader::new(file.take(size))).map_err(|error| {
            let problem = match error.kind() {
                io::ErrorKind::UnexpectedEof => "it ends too soon".to_owned(),
                _ => error.to_string(),
            };
            Error::new(
                ErrorKind::InvalidModel,
                format!("{} is no GGUF file that can be used: {problem}", path.display()),
            )
            .with_context("path", path.display())
        })
    }

    fn of(file: &mut impl Read) -> io::Result<Self> {
        let bad = |problem: &str| io::Error::new(io::ErrorKind::InvalidData, problem.to_owned());
        if &bytes::<4>(file)? != b"GGUF" {
            return Err(bad("it does not begin with GGUF"));
        }
        if !(2..=3).contains(&int(file)?) {
            return Err(bad("its version is unknown"));
        }
        let _tensors = long(file)?;
        let count = long(file)?;
        let mut summary = Self { shards: 1, ..Self::default() };
        for _ in 0..count {
            let key = text(file)?;
            let ty = int(file)?;
            match (key.as_str(), ty) {
                ("general.architecture", TEXT) => summary.architecture = text(file)?,
                ("general.type", TEXT) => summary.kind = text(file)?,
                ("general.size_label", TEXT) => summary.size_label = text(file)?,
                ("general.file_type", 4) => summary.file_type = Some(u64::from(int(file)?)),
                ("split.count", 2) => {
                    summary.shards = u64::from(u16::from_le_bytes(bytes(file)?));
                }
                _ => {
                    summary.has_template |= key == "tokenizer.chat_template";
                    skip(file, ty, 0)?;
                }
            }
        }
        Ok(summary)
    }

    /// The name of the quantisation.
    pub fn quant(&self) -> &'static str {
        self.file_type.and_then(quantisation).unwrap_or_default()
    }
}

/// The name of a quantisation by its number, which files have as `general.file_type`: `Q4_K_M` for 15.
pub fn quantisation(file_type: u64) -> Option<&'static str> {
    FILE_TYPES.iter().find(|(known, _)| *known == file_type).map(|(_, name)| *name)
}

fn bytes<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn int(file: &mut impl Read) -> io::Result<u32> {
    Ok(u32::from_le_bytes(bytes(file)?))
}

fn long(file: &mut impl Read) -> io::Result<u64> {
    Ok(u64::from_le_bytes(bytes(file)?))
}

fn text(file: &mut impl Read) -> io::Result<String> {
    let length = long(file)?;
    if length > LONGEST_STRING {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a text is too long"));
    }
    let mut text = Vec::new();
    if file.by_ref().take(length).read_to_end(&mut text)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn pass(file: &mut impl Read, length: u64) -> io::Result<()> {
    match io::copy(&mut file.by_ref().take(length), &mut io::sink())? {
        passed if passed == length => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn skip(file: &mut impl Read, ty: u32, depth: u32) -> io::Result<()> {
    let bad = |problem: &str| io::Error::new(io::ErrorKind::InvalidData, problem.to_owned());
    match ty {
        TEXT => {
            let length = long(file)?;
            pass(file, length)
        }
        LIST if depth < 4 => {
            let ty = int(file)?;
            let count = long(file)?;
            match SIZES.get(ty as usize) {
                Some(0) => (0..count).try_for_each(|_| skip(file, ty, depth + 1)),
                Some(size) => {
                    pass(file, count.checked_mul(*size).ok_or_else(|| bad("a list is too long"))?)
                }
                None => Err(bad("a value has an unknown type")),
            }
        }
        _ => match SIZES.get(ty as usize) {
            Some(size) if *size > 0 => pass(file, *size),
            _ => Err(bad("a value has an unknown type")),
        },
    }
}

#[cfg(test)]
mod tests {
    use mullama_test_registry::gguf;

    use super::*;

    #[test]
    fn the_summary_is_of_the_metadata() {
        let file =
            gguf(&[("general.architecture", "llama"), ("tokenizer.chat_template", "{{ x }}")], 9);
        let summary = Summary::of(&mut &file[..]).unwrap();
        assert_eq!(summary.architecture, "llama");
        assert_eq!(summary.quant(), "Q4_K_M");
        assert!(summary.has_template);
    }

    #[test]
    fn damaged_files_are_refused() {
        let whole = gguf(&[("general.architecture", "llama")], 0);
        for length in 0..whole.len() {
            assert!(Summary::of(&mut &whole[..length]).is_err(), "{length}");
        }
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 0xff;
            let _ = Summary::of(&mut &damaged[..]);
        }
    }
}
