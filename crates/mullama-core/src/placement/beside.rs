//! What has its memory before the model: a projector, a draft model.

use mullama_base::units;

use crate::engine::{DeviceShare, Placement};
use crate::{Error, ErrorKind};

/// Adds to the refusal of a model how much of the memory something else takes; `key` names it for programs.
pub(super) fn explain(error: Error, what: &str, key: &'static str, other: &Placement) -> Error {
    if error.kind() != ErrorKind::DoesNotFit {
        return error;
    }
    let bytes = other.devices.iter().map(DeviceShare::total).sum();
    let before = error.hint().unwrap_or_default();
    let hint = format!("{before}; {what} takes {}", units::memory(bytes));
    error.with_context(key, bytes).with_hint(hint)
}
