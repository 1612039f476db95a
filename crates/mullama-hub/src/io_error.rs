//! I/O errors of the store's files, with hints.

use std::io;
use std::path::Path;

use crate::Error;

/// The error of a failed file operation: "cannot write /models/blobs: no space left on device".
pub(crate) fn io_error(action: &str, path: &Path, source: io::Error) -> Error {
    let hint = hint(source.kind());
    with_hint(Error::io(action, path, source), hint)
}

/// The error of a file that cannot be read.
pub(crate) fn unreadable(path: &Path, source: io::Error) -> Error {
    let hint = hint(source.kind());
    with_hint(Error::unreadable(path, source), hint)
}

fn hint(failure: io::ErrorKind) -> Option<&'static str> {
    match failure {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            Some("set MULLAMA_MODELS to a folder that can be written")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free space, or set MULLAMA_MODELS to a folder on another disk")
        }
        _ => None,
    }
}

fn with_hint(error: Error, hint: Option<&'static str>) -> Error {
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
