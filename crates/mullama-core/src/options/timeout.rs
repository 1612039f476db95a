//! Time limits of calls.

use std::time::{Duration, Instant};

use crate::{Error, Result};

/// The time limit of a call that began at `start`, from its option `timeout`.
pub(crate) fn deadline(start: Instant, timeout: Option<f32>) -> Result<Option<Instant>> {
    match timeout {
        None => Ok(None),
        Some(seconds) if seconds > 0.0 => {
            Ok(start.checked_add(Duration::from_secs_f32(seconds.min(1e9))))
        }
        Some(_) => Err(Error::option("timeout", "must be more than 0")),
    }
}
