//! The state of a conversation as bytes: the cells computed from a prompt, so that another process need not compute
//! them again.
//!
//! The format, with little-endian numbers: [`MAGIC`] (8 bytes), the SHA-256 of everything that follows (32), the
//! fingerprint of the model, its settings and its adapters (32), the number of tokens (4), the tokens (4 each), and the
//! cells as llama.cpp writes a sequence (`llama_state_seq_get_data`).

use std::io::Read as _;
use std::path::Path;

use mullama_base::{Text, check_memory, folders, open_file, units, write_atomically};
use mullama_hub::Digest;

use super::request::SavedCells;
use crate::engine::Fingerprint;
use crate::{Error, ErrorKind, Result, Token};

/// The start of a state; its last character is the version.
const MAGIC: &[u8; 8] = b"MLSTATE1";
const DIGEST: usize = size_of::<Fingerprint>();
/// Number of bytes up to the end of the fingerprint.
const HEAD: usize = MAGIC.len() + 2 * DIGEST;

/// Largest size in bytes of a state of a context with `n_ctx` tokens, whose cells take `kv` bytes.
pub(crate) fn max_state_bytes(n_ctx: u32, kv: u64) -> u64 {
    // Generous allowance for what the engine writes in addition to the data: per cell, per layer, and once.
    HEAD as u64 + 2 * kv + 256 * u64::from(n_ctx) + (1 << 20)
}

/// Encodes a state.
pub(crate) fn encode(cells: &SavedCells, fingerprint: &Fingerprint) -> Vec<u8> {
    let start = MAGIC.len() + DIGEST;
    let size = start + DIGEST + 4 + cells.tokens.len() * 4 + cells.data.len();
    let mut state = Vec::with_capacity(size);
    state.extend(MAGIC);
    // Replaced below by the digest of what follows.
    state.extend([0; DIGEST]);
    state.extend(fingerprint);
    state.extend((cells.tokens.len() as u32).to_le_bytes());
    state.extend(cells.tokens.iter().flat_map(|token| token.to_le_bytes()));
    state.extend(&cells.data);
    let digest = Digest::of(&state[start..]);
    state[MAGIC.len()..start].copy_from_slice(digest.as_bytes());
    state
}

/// Writes a state to a file atomically: the file is complete or does not exist.
pub fn write_state(path: impl AsRef<Path>, state: &[u8]) -> Result<()> {
    let path = &*folders::expand_home(path.as_ref());
    write_atomically(path, state).map_err(|error| Error::io("write", path, error))
}

/// Reads a file written by [`write_state`], for a model with this fingerprint, whose states have at most `longest`
/// bytes. Unusable files are not read completely.
pub(crate) fn read_state(path: &Path, fingerprint: &Fingerprint, longest: u64) -> Result<Vec<u8>> {
    let path = &*folders::expand_home(path);
    let failed = |error| Error::unreadable(path, error);
    let mut file = open_file(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut state = Vec::new();
    (&mut file).take(HEAD as u64).read_to_end(&mut state).map_err(failed)?;
    check_magic(&state)?;
    if length > longest {
        if !state.ends_with(fingerprint) {
            return Err(other_model());
        }
        let message = format!("there is no room for a state of {}", units::memory(length));
        return Err(Error::new(ErrorKind::OutOfMemory, message)
            .with_context("path", path.display())
            .with_hint(Text::with_names("load the model with a larger {context_size}")));
    }
    check_memory(length as usize)?;
    file.take(longest).read_to_end(&mut state).map_err(failed)?;
    Ok(state)
}

fn refuse(problem: &str, hint: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("the state {problem}")).with_hint(hint)
}

fn other_model() -> Error {
    refuse(
        "belongs to another model, or to other settings of this one",
        "a state is for the same file, KV cache type, RoPE settings and adapters",
    )
}

/// Checks that the bytes are a state in a version that can be read.
fn check_magic(state: &[u8]) -> Result<()> {
    if !state.starts_with(&MAGIC[..7]) {
        return Err(refuse("is not one that was saved", "pass what `save_state` returned"));
    }
    if !state.starts_with(MAGIC) {
        return Err(refuse("is of another version of the library", "save it again"));
    }
    Ok(())
}

/// Decodes the tokens and the cells of a state, which must have this fingerprint.
pub(crate) fn decode<'a>(
    state: &'a [u8],
    fingerprint: &Fingerprint,
) -> Result<(Vec<Token>, &'a [u8])> {
    let damaged = || refuse("is damaged or incomplete", "save it again");
    check_magic(state)?;
    let (digest, body) = state[MAGIC.len()..].split_at_checked(DIGEST).ok_or_else(damaged)?;
    if Digest::of(body).as_bytes() != digest {
        return Err(damaged());
    }
    let (model, body) = body.split_at_checked(DIGEST).ok_or_else(damaged)?;
    if model != fingerprint {
        return Err(other_model());
    }
    let (count, body) = body.split_at_checked(4).ok_or_else(damaged)?;
    let count = u32::from_le_bytes(count.try_into().expect("it has four bytes")) as usize;
    let (tokens, data) = body.split_at_checked(count.saturating_mul(4)).ok_or_else(damaged)?;
    let token = |bytes: &[u8]| Token::from_le_bytes(bytes.try_into().expect("it has four bytes"));
    Ok((tokens.chunks_exact(4).map(token).collect(), data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::AdapterSet;

    fn cells() -> SavedCells {
        SavedCells { adapters: AdapterSet::default(), tokens: vec![1, -2, 3], data: vec![7; 100] }
    }

    #[test]
    fn states_round_trip() {
        let state = encode(&cells(), &[1; DIGEST]);
        let (tokens, data) = decode(&state, &[1; DIGEST]).unwrap();
        assert_eq!((tokens, data), (vec![1, -2, 3], [7; 100].as_slice()));
    }

    #[test]
    fn foreign_and_damaged_states_are_rejected() {
        let state = encode(&cells(), &[1; DIGEST]);
        let refused = |state: &[u8], model| decode(state, &model).unwrap_err().to_string();
        assert!(refused(&state, [2; DIGEST]).contains("another model"));
        assert!(refused(b"GGUF", [1; DIGEST]).contains("not one that was saved"));
        assert!(refused(b"", [1; DIGEST]).contains("not one that was saved"));
        assert!(refused(b"MLSTATE9", [1; DIGEST]).contains("another version"));
        for length in MAGIC.len()..state.len() {
            assert!(refused(&state[..length], [1; DIGEST]).contains("damaged"), "{length} bytes");
        }
        for index in MAGIC.len()..state.len() {
            let mut changed = state.clone();
            changed[index] ^= 1;
            assert!(refused(&changed, [1; DIGEST]).contains("damaged"), "byte {index}");
        }
    }
}
