//! What every part of mullama needs, and what needs none of them: errors, cancellation, files that are
//! written whole, and sizes with their units.

mod cancel;
mod error;
mod file;
pub mod units;

pub use cancel::{CancelCallback, CancelOnDrop, CancelToken};
pub use error::{Error, ErrorKind, Result};
pub use file::{Draft, TEMPORARY, write_durably, write_whole};
