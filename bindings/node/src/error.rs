//! Conversion of errors for JavaScript.

use mullama::{Error, ErrorKind, Naming, Rendered};
use serde_json::{Map, Value, json};

/// Prefix of a message whose rest is the error as JSON. `lib/errors.ts` creates a `MullamaError` from
/// it: an error that is created in the function that failed has the stack of its callers.
const MARK: &str = "mullama:";

/// Converts an error about arguments, which already names options as the caller wrote them.
pub(crate) fn of_arguments(error: &Error) -> napi::Error {
    marked(error.kind(), error.render(Naming::Snake))
}

/// Converts an error of the core; option names become camel case.
pub(crate) fn of_core(error: Error) -> napi::Error {
    marked(error.kind(), error.render(Naming::Camel))
}

/// Converts the panic of a task.
pub(crate) fn of_task(error: napi::tokio::task::JoinError) -> napi::Error {
    of_core(Error::new(ErrorKind::Internal, format!("a task failed: {error}")))
}

fn marked(kind: ErrorKind, Rendered { message, hint, context }: Rendered) -> napi::Error {
    let context: Map<String, Value> =
        context.into_iter().map(|(key, value)| (Naming::Camel.style(key), value.into())).collect();
    let facts = json!({
        "kind": kind.name(),
        "code": kind.code(),
        "message": message,
        "hint": hint,
        "context": context,
    });
    napi::Error::from_reason(format!("{MARK}{facts}"))
}
