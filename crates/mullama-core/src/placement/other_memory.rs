//! Error messages of a model that does not fit next to its projector or draft model.

use mullama_base::units;

use crate::engine::{DeviceShare, Placement};
use crate::{Error, ErrorKind};

/// Adds the memory of `other`, which is placed before the model, to a `DoesNotFit` error. `what` names it in the hint,
/// `key` in the error's context.
pub(super) fn explain(error: Error, what: &str, key: &'static str, other: &Placement) -> Error {
    if error.kind() != ErrorKind::DoesNotFit {
        return error;
    }
    let bytes = other.devices.iter().map(DeviceShare::total).sum();
    let before = error.hint().unwrap_or_default();
    let hint = format!("{before}; {what} takes {}", units::memory(bytes));
    error.with_context(key, bytes).with_hint(hint)
}
