//! Locates the file of the built-in demo model.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, ErrorKind, Result};

/// The path of the demo model, next to the engine's libraries.
pub(crate) fn path() -> Result<PathBuf> {
    let dirs = mullama_sys::modules::search_path(&[]);
    let beside = dirs
        .iter()
        .map(|dir| dir.join(mullama_demo_model::NAME))
        .find(|path| has_expected_size(path));
    beside.map_or_else(fallback_path, Ok)
}

/// Compares the size only, since the file name identifies the content.
fn has_expected_size(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|present| present.len() == mullama_demo_model::SIZE)
}

#[cfg(all(feature = "dynamic-backends", not(feature = "embedded-demo")))]
fn fallback_path() -> Result<PathBuf> {
    let message = format!("{} is missing from the engine's folder", mullama_demo_model::NAME);
    Err(Error::new(ErrorKind::NotFound, message)
        .with_hint("reinstall mullama; a program is shipped with all files of `mullama-engine`"))
}

/// Writes the demo model from the program to the user's cache folder, unless it exists there: the engine only loads
/// files, since it maps them into memory. If the engine is linked into the program, there is no folder next to its
/// libraries.
#[cfg(any(feature = "embedded-demo", not(feature = "dynamic-backends")))]
fn fallback_path() -> Result<PathBuf> {
    use std::sync::{Mutex, PoisonError};

    use mullama_base::{folders, write_atomically};

    static WRITE_LOCK: Mutex<()> = Mutex::new(());
    let _writing = WRITE_LOCK.lock().unwrap_or_else(PoisonError::into_inner);

    let dir = folders::cache_dir();
    let path = dir.join(mullama_demo_model::NAME);
    // Comparing the contents would load the program's copy into memory permanently.
    if has_expected_size(&path) {
        return Ok(path);
    }
    let bytes = mullama_demo_model::GGUF;
    fs::create_dir_all(&dir).and_then(|()| write_atomically(&path, bytes)).map_err(|error| {
        let message = format!("cannot write the demo model to {}: {error}", path.display());
        Error::new(ErrorKind::Io, message)
            .with_hint("set XDG_CACHE_HOME to a folder that can be written to")
            .with_source(error)
    })?;
    Ok(path)
}
