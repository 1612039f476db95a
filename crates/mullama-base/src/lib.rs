//! What every part of mullama needs, and what needs none of them: errors, cancellation, and files that are
//! written whole.

mod cancel;
mod error;
mod file;

pub use cancel::{CancelCallback, CancelOnDrop, CancelToken};
pub use error::{Error, ErrorKind, Result};
pub use file::{Draft, TEMPORARY, write_durably, write_whole};
