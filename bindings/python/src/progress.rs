//! Progress callbacks in Python, and progress bars.

use std::marker::PhantomData;
use std::time::Instant;

use mullama::CancelToken;
use pyo3::exceptions::PyTypeError;
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::types::PyBool;
use pyo3::{type_hint_identifier, type_hint_subscript, type_hint_union};

use crate::ending::with_python;
use crate::errors::class_name;
use crate::wait::SIGNAL_INTERVAL;

/// The argument of a progress callback.
pub trait Step: for<'py> IntoPyObject<'py> {
    /// The function of `mullama._progress` that creates a progress bar.
    const BAR: &'static str;
}

impl Step for f32 {
    const BAR: &'static str = "loading_bar";
}

/// The argument `progress`: a function that is called with a `T`, or whether to show a bar.
pub enum Progress<T> {
    Function(Callback<T>),
    Bar(bool),
}

/// A Python function that is called with a `T`.
pub struct Callback<T>(Py<PyAny>, PhantomData<fn(T)>);

impl<'py, T: IntoPyObject<'py>> FromPyObject<'_, 'py> for Progress<T> {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = type_hint_union!(
        type_hint_subscript!(
            type_hint_identifier!("collections.abc", "Callable"),
            PyStaticExpr::List { elts: &[T::OUTPUT_TYPE] },
            type_hint_identifier!("builtins", "object")
        ),
        type_hint_identifier!("builtins", "bool")
    );

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(wanted) = given.cast::<PyBool>() {
            return Ok(Self::Bar(wanted.is_true()));
        }
        if given.is_callable() {
            return Ok(Self::Function(Callback(given.to_owned().unbind(), PhantomData)));
        }
        let message = format!("progress is a function, True or False, not {}", class_name(&given));
        Err(PyTypeError::new_err(message))
    }
}

impl<T: Step> Progress<T> {
    /// The callback for an argument. Without one, notebooks get a bar.
    pub fn callback(py: Python<'_>, given: Option<Self>) -> PyResult<Option<Callback<T>>> {
        let (is_wanted, is_delayed) = match given {
            Some(Self::Function(callback)) => return Ok(Some(callback)),
            Some(Self::Bar(wanted)) => (wanted, false),
            None => (py.import("sys")?.getattr("modules")?.contains("ipykernel")?, true),
        };
        if !is_wanted {
            return Ok(None);
        }
        let make = py.import("mullama._progress")?.getattr(T::BAR)?;
        Ok(Some(Callback(make.call1((is_delayed,))?.unbind(), PhantomData)))
    }
}

impl<T: for<'py> IntoPyObject<'py>> Callback<T> {
    /// Calls it, and returns whether to continue. Only False stops; None, the result of a function
    /// without `return`, does not.
    pub fn call(&self, py: Python<'_>, told: T) -> PyResult<bool> {
        let answer = self.0.call1(py, (told,))?;
        Ok(answer.extract(py).unwrap_or(true))
    }
}

/// Reports loading progress to a Python function, and checks for signals.
pub struct Loading {
    callback: Option<Callback<f32>>,
    /// The exception of the function or of a signal handler.
    pub raised: Option<PyErr>,
    last_report: Instant,
    /// Cancelled when the result of loading is no longer needed.
    abandoned: CancelToken,
}

impl Loading {
    pub fn new(callback: Option<Callback<f32>>) -> Self {
        let abandoned = CancelToken::default();
        Self { callback, raised: None, last_report: Instant::now(), abandoned }
    }

    /// Cancels loading from elsewhere.
    pub fn cancel_token(&self) -> CancelToken {
        self.abandoned.clone()
    }

    /// Called by the core; returns whether to continue.
    pub fn report(&mut self, fraction: f32) -> bool {
        if self.abandoned.is_cancelled() {
            return false;
        }
        if self.callback.is_none() && self.last_report.elapsed() < SIGNAL_INTERVAL {
            return true;
        }
        self.last_report = Instant::now();
        let should_continue = with_python(|py| {
            py.check_signals()?;
            self.callback.as_ref().map_or(Ok(true), |callback| callback.call(py, fraction))
        });
        // While Python is shutting down, the function is not called.
        should_continue.unwrap_or(Ok(true)).unwrap_or_else(|error| {
            self.raised = Some(error);
            false
        })
    }
}
