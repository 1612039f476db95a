//! Turns of a conversation: what `mullama._chat` asks what comes next.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mullama::{ToolOutput, ToolRequest};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::chat::{Message, Messages};
use crate::errors::Result;
use crate::json;
use crate::results::{Answer, ChatChunk, ChatCompletion};

/// One turn of a conversation.
#[pyclass(frozen, name = "_Turn", module = "mullama._native")]
pub struct Turn(Mutex<mullama::Turn>);

#[pymethods]
impl Turn {
    #[new]
    fn new(
        history: Messages,
        said: Messages,
        tools: &Bound<'_, PyAny>,
        callable: Vec<String>,
        max_rounds: Option<u32>,
    ) -> Result<Self> {
        let tools = json::from_python(tools, "tools")?;
        let tools = tools.as_array().cloned().unwrap_or_default();
        let turn = mullama::Turn::new(history.0, said.0, tools, callable, max_rounds);
        Ok(Self(Mutex::new(turn)))
    }

    /// What to ask the model about.
    fn messages(&self) -> Vec<Message> {
        self.turn().messages().iter().cloned().map(Message).collect()
    }

    /// What the turn adds to the conversation.
    fn news(&self) -> Vec<Message> {
        self.turn().news().iter().cloned().map(Message).collect()
    }

    /// The calls that an answer asks for: ids, names and arguments.
    fn answered<'py>(
        &self,
        py: Python<'py>,
        answer: &ChatCompletion,
    ) -> PyResult<Vec<(String, String, Bound<'py, PyAny>)>> {
        let requests = self.turn().answered(&answer.0);
        let request = |ToolRequest { id, name, arguments }| {
            Ok((id, name, json::plain(py, &arguments.into())?))
        };
        requests.into_iter().map(request).collect()
    }

    /// What the calls gave: whether they succeeded, and the result or the reason.
    fn returned(&self, outputs: Vec<(bool, Bound<'_, PyAny>)>) -> Result<()> {
        let output = |(succeeded, value): (bool, Bound<'_, PyAny>)| {
            if !succeeded {
                return ToolOutput::error(value);
            }
            match json::from_python(&value, "result") {
                Ok(value) => ToolOutput::value(&value),
                // Not a number, or nested without end.
                Err(error) => ToolOutput::error(error.value(value.py())),
            }
        };
        let outputs = outputs.into_iter().map(output).collect();
        Ok(self.turn().returned(outputs)?)
    }

    /// A chunk as the reader of the turn is to see it.
    fn chunk(&self, chunk: &ChatChunk) -> ChatChunk {
        ChatChunk(self.turn().chunk(chunk.0.clone()))
    }

    /// The answer, once the turn is over.
    #[getter]
    fn completion(&self) -> Option<Answer> {
        self.turn().completion().cloned().map(Answer)
    }
}

impl Turn {
    fn turn(&self) -> MutexGuard<'_, mullama::Turn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a conversation of a class of `mullama._chat` with a model.
pub fn start_chat<'py>(
    model: &Bound<'py, PyAny>,
    class: &str,
    options: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let class = model.py().import("mullama._chat")?.getattr(class)?;
    class.call(PyTuple::new(model.py(), [model])?, options)
}
