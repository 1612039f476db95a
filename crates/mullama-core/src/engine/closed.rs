//! The error of what has been closed.

use crate::{Error, ErrorKind};

/// The error of a model that has been closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the model has been closed")
}
