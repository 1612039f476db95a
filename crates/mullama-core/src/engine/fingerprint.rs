//! Fingerprints: they identify models and adapters, across processes too.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use mullama_hub::Digest;

use crate::{Error, Result};

/// A hash that identifies a model and everything else that saved cells depend on.
pub(crate) type Fingerprint = [u8; 32];

/// Number of pieces of `SAMPLE_BYTES` bytes hashed from the start of a file, and again of those spread over all of it.
const SAMPLE_COUNT: u64 = 64;
const SAMPLE_BYTES: u64 = 4096;

/// Identifies a file without reading all of it: hashes its size, its start with the metadata, and samples of its
/// tensors.
pub(crate) fn fingerprint_of_file(mut file: &File, path: &Path) -> Result<Fingerprint> {
    let mut read = || -> io::Result<Vec<u8>> {
        file.rewind()?;
        let size = file.metadata()?.len();
        let mut pieces = size.to_le_bytes().to_vec();
        file.take(SAMPLE_COUNT * SAMPLE_BYTES).read_to_end(&mut pieces)?;
        for index in 0..SAMPLE_COUNT {
            file.seek(SeekFrom::Start(size / SAMPLE_COUNT * index))?;
            file.take(SAMPLE_BYTES).read_to_end(&mut pieces)?;
        }
        Ok(pieces)
    };
    read()
        .map(|pieces| *Digest::of(&pieces).as_bytes())
        .map_err(|error| Error::unreadable(path, error))
}

/// Combines several values into one fingerprint.
pub(crate) fn combine(parts: &[&[u8]]) -> Fingerprint {
    let sized = parts.iter().map(|part| [&(part.len() as u64).to_le_bytes(), *part].concat());
    *Digest::of(&sized.collect::<Vec<_>>().concat()).as_bytes()
}
