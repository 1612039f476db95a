//! What tells models and adapters apart, in other processes too.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use mullama_hub::Digest;

use crate::{Error, Result};

/// What tells models apart, and what else makes cells of no use.
pub(crate) type Fingerprint = [u8; 32];

/// Pieces of a file that go into its fingerprint: its beginning, and as many again all over it.
const PIECES: u64 = 64;
const PIECE: u64 = 4096;

/// Tells this file from others without reading it all: its size, its beginning with the metadata, and
/// pieces of its tensors.
pub(crate) fn fingerprint_of_file(mut file: &File, path: &Path) -> Result<Fingerprint> {
    let mut read = || -> io::Result<Vec<u8>> {
        file.rewind()?;
        let size = file.metadata()?.len();
        let mut pieces = size.to_le_bytes().to_vec();
        file.take(PIECES * PIECE).read_to_end(&mut pieces)?;
        for index in 0..PIECES {
            file.seek(SeekFrom::Start(size / PIECES * index))?;
            file.take(PIECE).read_to_end(&mut pieces)?;
        }
        Ok(pieces)
    };
    read()
        .map(|pieces| *Digest::of(&pieces).as_bytes())
        .map_err(|error| Error::unreadable(path, error))
}

/// One fingerprint of several things.
pub(crate) fn combine(parts: &[&[u8]]) -> Fingerprint {
    let sized = parts.iter().map(|part| [&(part.len() as u64).to_le_bytes(), *part].concat());
    *Digest::of(&sized.collect::<Vec<_>>().concat()).as_bytes()
}
