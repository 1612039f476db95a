//! Messages and the calls of tools in them.

use mullama::Error;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList, PyTuple};
use serde_json::Value;

use crate::errors::raise;
use crate::json;
use crate::results::repr;

/// A message of a chat in OpenAI's shape, as a completion has it.
///
/// It can be added to the messages of the next turn as it is. It reads like the dict that it stands
/// for, too (`message["content"]`, `dict(message)`); `to_dict()` gives that dict.
#[pyclass(frozen, eq, mapping, module = "mullama")]
#[derive(PartialEq)]
pub struct Message(pub mullama::Message);

impl Message {
    pub fn to_json(&self) -> PyResult<Value> {
        serde_json::to_value(&self.0)
            .map_err(|error| raise(Error::new(mullama::ErrorKind::Internal, error.to_string())))
    }

    fn dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        Ok(json::to_python(py, &self.0)?.cast_into()?)
    }
}

#[pymethods]
impl Message {
    /// A message from a dict in OpenAI's shape.
    #[staticmethod]
    fn from_dict(message: &Bound<'_, PyAny>) -> PyResult<Self> {
        let list = Value::Array(vec![json::from_python(message, "message")?]);
        let mut messages = mullama::Message::list_from_json(list).map_err(raise)?;
        Ok(Self(messages.swap_remove(0)))
    }

    /// The message as a dict in OpenAI's shape.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.dict(py)
    }

    /// Who says it: `system`, `developer`, `user`, `assistant` or `tool`.
    #[getter]
    fn role<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json::to_python(py, &self.0.role)
    }

    /// What is said; None where an assistant only calls tools.
    #[getter]
    fn content(&self) -> Option<String> {
        self.0.content.as_ref().map(|_| self.0.text())
    }

    /// What the assistant thought before it answered.
    #[getter]
    fn reasoning(&self) -> Option<&str> {
        self.0.reasoning.as_deref()
    }

    /// Tools that the assistant calls.
    #[getter]
    fn tool_calls(&self) -> Vec<ToolCall> {
        self.0.tool_calls.iter().cloned().map(ToolCall).collect()
    }

    /// Of a tool's result: the id of the call.
    #[getter]
    fn tool_call_id(&self) -> Option<&str> {
        self.0.tool_call_id.as_deref()
    }

    /// Of a tool's result: the tool's name. Of others: the speaker's.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The keys of the dict that the message stands for.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        Ok(self.dict(py)?.keys())
    }

    /// The value under a key of the dict that the message stands for, or `default`.
    #[pyo3(signature = (key, default = None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.dict(py)?.get_item(key)?.or(default))
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let value = self.dict(key.py())?.get_item(key)?;
        value.ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.dict(key.py())?.contains(key)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.dict(py)?.try_iter()
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.dict(py)?.len())
    }

    fn __str__(&self) -> String {
        self.0.text()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("Message({})", self.dict(py)?.repr()?))
    }

    /// For `copy` and `pickle`.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let from_dict = py.get_type::<Self>().getattr("from_dict")?;
        (from_dict, (slf.get().dict(py)?,)).into_pyobject(py)
    }
}

/// The messages of a chat.
pub struct Messages(pub Vec<mullama::Message>);

impl FromPyObject<'_, '_> for Messages {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let messages = json::from_python(&value, "messages")?;
        mullama::Message::list_from_json(messages).map(Self).map_err(raise)
    }
}

/// A call of a tool by the model.
#[pyclass(frozen, eq, module = "mullama")]
#[derive(PartialEq)]
pub struct ToolCall(mullama::ToolCall);

#[pymethods]
impl ToolCall {
    /// Names the call, for the result to refer to as `tool_call_id`.
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    /// Always `function`.
    #[getter]
    fn r#type(&self) -> &str {
        &self.0.kind
    }

    /// What is called.
    #[getter]
    fn function(&self) -> FunctionCall {
        FunctionCall(self.0.function.clone())
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["id", "function"])
    }
}

/// What a tool call calls.
#[pyclass(frozen, eq, module = "mullama")]
#[derive(PartialEq)]
pub struct FunctionCall(mullama::FunctionCall);

#[pymethods]
impl FunctionCall {
    /// The tool's name.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// The arguments: a JSON object as text.
    #[getter]
    fn arguments(&self) -> &str {
        &self.0.arguments
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["name", "arguments"])
    }
}

/// What is new in one tool call. The first delta of a call has its id and name.
#[pyclass(frozen, eq, module = "mullama")]
#[derive(PartialEq)]
pub struct ToolCallDelta(pub mullama::ToolCallDelta);

#[pymethods]
impl ToolCallDelta {
    /// Which of the answer's calls.
    #[getter]
    fn index(&self) -> usize {
        self.0.index
    }

    /// Names the call, for the result to refer to as `tool_call_id`.
    #[getter]
    fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    /// The tool's name.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// New text of the arguments.
    #[getter]
    fn arguments(&self) -> &str {
        &self.0.arguments
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["index", "id", "name", "arguments"])
    }
}
