//! The error of a closed model.

use crate::{Error, ErrorKind};

/// Returns the error of a call on a model that has been closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the model has been closed")
}
