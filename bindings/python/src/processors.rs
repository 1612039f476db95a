//! Logits processors in Python.

use std::error::Error;
use std::sync::Arc;

use mullama::{LogitsProcessor, LogitsProcessors};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict, PyList};

use crate::ending::with_python;
use crate::errors::raise;
use crate::items::{Count, collect};

const NAME: &str = "logits_processors";

/// A Python function that changes logits.
struct Processor(Py<PyAny>);

impl LogitsProcessor for Processor {
    fn process(
        &self,
        tokens: &[mullama::Token],
        logits: &mut [f32],
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let done = with_python(|py| self.run(py, tokens, logits));
        Ok(done.ok_or("Python is shutting down")??)
    }
}

impl Processor {
    fn run(&self, py: Python<'_>, tokens: &[mullama::Token], logits: &mut [f32]) -> PyResult<()> {
        let count = size_of_val(logits);
        let bytes = PyByteArray::new_with(py, count, |bytes| {
            for (bytes, logit) in bytes.chunks_exact_mut(size_of::<f32>()).zip(&*logits) {
                bytes.copy_from_slice(&logit.to_ne_bytes());
            }
            Ok(())
        })?;
        // The intermediate view is freed here. At the end, any other view of the bytes was stored by the function.
        let view = py
            .import("builtins")?
            .getattr("memoryview")?
            .call1((&bytes,))?
            .call_method1("cast", ("f",))?;
        let returned = self.0.bind(py).call1((PyList::new(py, tokens)?, &view))?;
        if !returned.is_none() {
            let problem = "a logits processor changes the logits in place and returns None";
            return Err(PyTypeError::new_err(problem));
        }
        for (logit, bytes) in logits.iter_mut().zip(bytes.to_vec().chunks_exact(size_of::<f32>())) {
            *logit = f32::from_ne_bytes(bytes.try_into()?);
        }
        // Releases the memory. A view that the function stored then raises when it is used; if it stored an array or a
        // slice of the view, these calls raise.
        view.call_method0("release")?;
        bytes.call_method0("clear")?;
        Ok(())
    }
}

/// Removes the option `logits_processors` from the keyword arguments of a call and returns it.
pub fn take_processors(
    keywords: Bound<'_, PyDict>,
) -> PyResult<(Bound<'_, PyDict>, Option<LogitsProcessors>)> {
    let Some(given) = keywords.get_item(NAME)?.filter(|given| !given.is_none()) else {
        return Ok((keywords, None));
    };
    let keywords = keywords.copy()?;
    keywords.del_item(NAME)?;
    let functions = if given.is_callable() {
        vec![given]
    } else {
        let items = given.try_iter().map_err(|_| not_a_function())?;
        collect(keywords.py(), items, &mut Count::of_option(NAME), |item, _| Ok(item))?
    };
    if !functions.iter().all(PyAnyMethods::is_callable) {
        return Err(not_a_function());
    }
    let processor = |function: Bound<'_, PyAny>| {
        Arc::new(Processor(function.unbind())) as Arc<dyn LogitsProcessor>
    };
    let processors: Vec<_> = functions.into_iter().map(processor).collect();
    Ok((keywords, Some(processors.into())))
}

fn not_a_function() -> PyErr {
    raise(mullama::Error::option(NAME, "expected a function, or a list of functions"))
}
