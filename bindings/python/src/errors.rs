//! Errors of the core as Python exceptions.

use std::borrow::Cow;

use mullama::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::ending::block_if_shutting_down;

/// An error that becomes a Python exception only when it reaches Python: the library's threads do
/// not create Python objects.
pub enum Failure {
    /// An error of the core.
    Core(Error),
    /// Python code raised this.
    Raised(PyErr),
}

/// The result of a method.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Core(error) => raise(error),
            Failure::Raised(error) => error,
        }
    }
}

/// The exception for an error: `mullama.errors` has a class for each kind.
pub fn raise(error: Error) -> PyErr {
    Python::attach(|py| exception(py, &error).unwrap_or_else(|problem| problem))
}

fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    if error.kind() == ErrorKind::Closed {
        block_if_shutting_down(py);
    }
    let classes = py.import("mullama.errors")?;
    let kind = error.kind().name();
    let class =
        classes.getattr(format!("{kind}Error")).or_else(|_| classes.getattr("MullamaError"))?;
    let context = PyDict::new(py);
    for (key, value) in error.context() {
        context.set_item(key, value)?;
    }
    let keywords = PyDict::new(py);
    keywords.set_item("kind", kind)?;
    keywords.set_item("hint", error.hint())?;
    keywords.set_item("context", context)?;
    let exception = PyErr::from_value(class.call((error.report(),), Some(&keywords))?);
    if let Some(raised) = error.cause().and_then(|cause| cause.downcast_ref::<PyErr>()) {
        exception.set_cause(py, Some(raised.clone_ref(py)));
    }
    Ok(exception)
}

/// The kinds of error, what each is, and the built-in exception that fits, for the script that writes
/// `mullama/errors.py`.
#[pyfunction(name = "_error_kinds")]
pub fn error_kinds() -> Vec<(&'static str, &'static str, &'static str)> {
    let row = |kind: &ErrorKind| (kind.name(), kind.description(), kind.python_exception());
    ErrorKind::ALL.iter().map(row).collect()
}

/// A message without its middle if it is very long.
#[pyfunction(name = "_shortened")]
pub fn shortened(message: &str) -> Cow<'_, str> {
    mullama::shortened(message)
}

/// The name of a value's class, for messages.
pub fn class_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "this".to_owned(), |name| name.to_string())
}
