//! Errors on their way to JavaScript.

use mullama::{Error, ErrorKind, Naming, Rendered};
use serde_json::{Map, Value, json};

/// What the message of an error begins with where the rest is the error as JSON, for `lib/errors.ts`
/// to make a `MullamaError` of. There, because an error that is made in the function that failed has
/// the stack of its callers.
const MARK: &str = "mullama:";

/// An error of the arguments, which names options as the caller wrote them.
pub(crate) fn of_arguments(error: &Error) -> napi::Error {
    marked(error.kind(), error.render(Naming::Snake))
}

/// An error of the core, with options named as JavaScript has them.
pub(crate) fn of_core(error: Error) -> napi::Error {
    marked(error.kind(), error.render(Naming::Camel))
}

/// A task that panicked.
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
