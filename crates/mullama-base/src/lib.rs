//! What every part of mullama needs: errors so far.

mod error;

pub use error::{Error, ErrorKind, Result};
