//! What every part of mullama needs: errors and cancellation so far.

mod cancel;
mod error;

pub use cancel::{CancelCallback, CancelOnDrop, CancelToken};
pub use error::{Error, ErrorKind, Result};
