//! Warnings that would otherwise be repeated.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Number of warnings that are remembered.
const MAX_REMEMBERED: usize = 1000;

/// Logs a warning, unless this process has already logged the same one.
pub fn warn_once(warning: &str) {
    static LOGGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    if logged.len() >= MAX_REMEMBERED {
        logged.clear();
    }
    if logged.insert(warning.to_owned()) {
        drop(logged);
        log::warn!("{warning}");
    }
}
