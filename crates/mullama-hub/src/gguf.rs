//! The little of a GGUF file that the store wants to know.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::io_error::io_error;
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
        let file = File::open(path).map_err(|error| io_error("read", path, error))?;
        let size = file.metadata().map_err(|error| io_error("read", path, error))?.len();
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

/// How far a header goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The data may begin here.
    Ends(u64),
    /// More bytes are needed to know.
    GoesOn,
}

/// Fewest bytes that a pair of key and value takes, and a tensor's description.
const SMALLEST_PAIR: u64 = 8 + 4 + 1;
const SMALLEST_TENSOR: u64 = 8 + 4 + 8 + 4 + 8;
/// The most dimensions that a tensor has.
const MOST_DIMENSIONS: u32 = 4;

/// How far the header goes of a file of so many bytes that begins with these; or what is wrong with it.
pub(crate) fn extent(beginning: &[u8], length: u64) -> Result<Extent, String> {
    let mut rest = beginning;
    match pass_header(&mut rest, length) {
        Ok(()) => Ok(Extent::Ends((beginning.len() - rest.len()) as u64)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Extent::GoesOn),
        Err(error) => Err(error.to_string()),
    }
}

fn pass_header(file: &mut &[u8], length: u64) -> io::Result<()> {
    let bad = |problem: &str| io::Error::new(io::ErrorKind::InvalidData, problem.to_owned());
    if &bytes::<4>(file)? != b"GGUF" {
        return Err(bad("is none of a GGUF file"));
    }
    if !(2..=3).contains(&int(file)?) {
        return Err(bad("has an unknown version"));
    }
    let (tensors, pairs) = (long(file)?, long(file)?);
    let needed = pairs
        .checked_mul(SMALLEST_PAIR)
        .and_then(|pairs| pairs.checked_add(tensors.checked_mul(SMALLEST_TENSOR)?));
    if needed.is_none_or(|needed| needed > length) {
        return Err(bad(&format!(
            "announces {pairs} values and {tensors} tensors, more than {length} bytes can hold"
        )));
    }
    for _ in 0..pairs {
        pass_text(file, length)?;
        let ty = int(file)?;
        skip(file, ty, 0)?;
    }
    for _ in 0..tensors {
        pass_text(file, length)?;
        let dimensions = int(file)?;
        if dimensions > MOST_DIMENSIONS {
            return Err(bad(&format!("has a tensor of {dimensions} dimensions")));
        }
        pass(file, u64::from(dimensions) * 8 + 4 + 8)?;
    }
    Ok(())
}

fn pass_text(file: &mut &[u8], length: u64) -> io::Result<()> {
    let text = long(file)?;
    if text > length.min(LONGEST_STRING) {
        let problem = format!("has a name of {text} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    pass(file, text)
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
    fn a_header_is_followed_to_its_end() {
        let mut file = gguf(&[("general.architecture", "llama")], 0);
        let length = file.len() as u64;
        assert_eq!(extent(&file, length).unwrap(), Extent::Ends(length));
        for cut in 0..file.len() {
            assert_eq!(extent(&file[..cut], length).unwrap(), Extent::GoesOn, "{cut}");
        }
        for place in 0..file.len() {
            let mut damaged = file.clone();
            damaged[place] ^= 0xff;
            let _ = extent(&damaged, length);
        }
        // Numbers of tensors and of values that nothing could hold.
        for place in [8, 16] {
            let kept = file[place..place + 8].to_vec();
            file[place..place + 8].copy_from_slice(&u64::MAX.to_le_bytes());
            assert!(extent(&file, length).unwrap_err().contains("more than"));
            file[place..place + 8].copy_from_slice(&kept);
        }
        assert!(extent(b"GGML    ", 8).is_err());
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
