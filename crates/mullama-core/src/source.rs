//! From what a user writes to the file of a model.

use std::path::{Path, PathBuf};

use mullama_hub as hub;

use crate::{Error, ErrorKind, Result, demo};

/// The file that a source stands for, a path or the name of a model, as [`crate::Model::load`] takes it.
///
/// A file of that name comes first, then the built-in model, then the local store, with what other programs
/// have downloaded.
pub fn resolve(source: impl AsRef<Path>) -> Result<PathBuf> {
    let source = source.as_ref();
    if source.as_os_str() == demo::NAME && !source.is_file() {
        return demo::path();
    }
    if source.exists() {
        return Ok(source.to_path_buf());
    }
    let shown = source.display();
    let name = source.to_str().filter(|text| !text.is_empty());
    let parsed = name.map(hub::Source::parse).transpose()?;
    match parsed {
        None | Some(hub::Source::Path(_)) => {
            Err(Error::new(ErrorKind::NotFound, format!("there is no file at {shown}"))
                .with_hint("check the path; a relative one starts from the current folder")
                .with_context("path", shown))
        }
        Some(name) => Ok(hub::Store::open()?.find_source(&name)?.path),
    }
}

impl From<hub::Error> for Error {
    fn from(error: hub::Error) -> Self {
        let kind = match error.kind() {
            hub::ErrorKind::NotFound => ErrorKind::NotFound,
            hub::ErrorKind::UnknownModel => ErrorKind::UnknownModel,
            hub::ErrorKind::InvalidArgument => ErrorKind::InvalidArgument,
            hub::ErrorKind::InvalidModel => ErrorKind::InvalidModel,
            hub::ErrorKind::Download => ErrorKind::Download,
            hub::ErrorKind::Io => ErrorKind::Io,
            hub::ErrorKind::Cancelled => ErrorKind::Cancelled,
            hub::ErrorKind::Unsupported => ErrorKind::Unsupported,
            _ => ErrorKind::Internal,
        };
        let mut converted = Self::new(kind, error.to_string());
        for (key, value) in error.context() {
            converted = converted.with_context(key, value);
        }
        match error.hint().map(str::to_owned) {
            Some(hint) => converted.with_hint(hint),
            None => converted,
        }
        .with_source(error)
    }
}
