//! Errors of constraints that cannot be enforced.

use crate::{Error, ErrorKind};

/// The error of a schema that cannot be enforced.
pub(crate) fn unusable(reason: &str) -> Error {
    unsupported_constraint(SCHEMA, reason)
}

/// The name of a schema in error messages.
pub(super) const SCHEMA: &str = "the JSON schema";

/// The error of a constraint that cannot be enforced.
pub(super) fn unsupported_constraint(what: &str, reason: &str) -> Error {
    Error::new(ErrorKind::InvalidGrammar, format!("{what} cannot be enforced: {reason}"))
}

/// Shortens a reason to one line: it may have several, quote a long schema, and contain a backtrace.
pub(super) fn single_line(reason: &str) -> String {
    const MAX_REASON_CHARACTERS: usize = 300;
    let reason = reason.split("\n<backtrace>").next().unwrap_or_default();
    if reason.contains("grammar.symbols.len()") {
        return "it has too many parts".to_owned();
    }
    let line = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_REASON_CHARACTERS) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}
