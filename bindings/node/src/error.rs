//! Conversion of errors for JavaScript.

use mullama::{Error, ErrorKind, Naming, Rendered};
use serde_json::{Map, Value, json};

/// Prefix of a message whose rest is the error as JSON. `lib/errors.ts` creates a `MullamaError` from
/// it: an error that is created in the function that failed has the stack of its callers.
const ERROR_PREFIX: &str = "mullama:";

/// Converts an error about arguments, which already names options as the caller wrote them.
pub(crate) fn argument_error(error: &Error) -> napi::Error {
    prefixed_error(error.kind(), error.render(Naming::Snake))
}

/// Converts an error of the core; option names become camel case.
pub(crate) fn core_error(error: Error) -> napi::Error {
    prefixed_error(error.kind(), error.render(Naming::Camel))
}

/// Converts the panic of a task.
pub(crate) fn task_error(error: napi::tokio::task::JoinError) -> napi::Error {
    core_error(Error::new(ErrorKind::Internal, format!("a task failed: {error}")))
}

fn prefixed_error(kind: ErrorKind, Rendered { message, hint, context }: Rendered) -> napi::Error {
    let context: Map<String, Value> =
        context.into_iter().map(|(key, value)| (Naming::Camel.style(key), value.into())).collect();
    let facts = json!({
        "kind": kind.name(),
        "code": kind.code(),
        "message": message,
        "hint": hint,
        "context": context,
    });
    napi::Error::from_reason(format!("{ERROR_PREFIX}{facts}"))
}
