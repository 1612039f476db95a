//! Messages and their tool calls.

use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use serde_json::Value;

use crate::class::{Wrap, class};
use crate::errors::raise;
use crate::hints::{Anything, Dict, Hint as _, List, MessageDict, MessageList, Typed, hint};
use crate::json::{self, Json};
use crate::pictures;

/// A message that is still to become a Python object: `mullama.Message`, which is a dict.
pub struct Message(pub mullama::Message);

impl Wrap<mullama::Message> for Message {
    fn wrap(core: mullama::Message) -> Self {
        Self(core)
    }
}

impl<'py> IntoPyObject<'py> for Message {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    const OUTPUT_TYPE: PyStaticExpr = hint("Message");

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        let class = py.import("mullama._message")?.getattr("Message")?;
        class.call1((json::to_python(py, &self.0)?,))
    }
}

/// The fields of a message, from a dict in OpenAI's format.
#[pyfunction(name = "_message_fields")]
pub fn message_fields(message: Typed<'_, MessageDict>) -> PyResult<Json<Dict>> {
    let message = pictures::message_of(message.as_any())?;
    let list = Value::Array(vec![json::from_python(&message, "message")?]);
    let mut messages = mullama::Message::list_from_json(list).map_err(raise)?;
    Ok(Json::wrap(messages.swap_remove(0)))
}

/// The text of a message's content, which is a text or a list of parts.
#[pyfunction(name = "_text_of_content")]
pub fn text_of_content(content: Typed<'_, Anything>) -> PyResult<Option<String>> {
    if content.as_any().is_none() {
        return Ok(None);
    }
    let mut message = mullama::Message::user("");
    message.content = Some(json::restore(content.as_any())?);
    Ok(Some(message.text()))
}

/// The calls of a message, as objects.
#[pyfunction(name = "_tool_calls")]
pub fn tool_calls(calls: Typed<'_, List>) -> PyResult<Vec<ToolCall>> {
    json::restore::<Vec<mullama::ToolCall>>(calls.as_any()).map(Wrap::wrap)
}

/// The messages of a chat.
pub struct Messages(pub Vec<mullama::Message>);

impl FromPyObject<'_, '_> for Messages {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = hint(MessageList::TEXT);

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let messages = json::from_python(&pictures::with_addresses(&value)?, "messages")?;
        mullama::Message::list_from_json(messages).map(Self).map_err(raise)
    }
}

class! {
    /// A call of a tool by the model.
    #[eq]
    #[pickle(Self)]
    ToolCall(mullama::ToolCall), repr(id, function) {
        /// The id of the call, which its result refers to as `tool_call_id`.
        id: String,
        /// Always `function`.
        r#type: String = |call| call.kind.as_str(),
        /// What is called.
        function: FunctionCall,
    }
}

class! {
    /// What a tool call calls.
    #[eq]
    #[pickle(Self)]
    FunctionCall(mullama::FunctionCall) {
        /// The tool's name.
        name: String,
        /// The arguments: a JSON object, serialised.
        arguments: String,
    }
}

class! {
    /// A new part of one tool call. The first part of a call has its id and name.
    #[eq]
    #[pickle(Self)]
    ToolCallDelta(mullama::ToolCallDelta) {
        /// Index of the call within the answer.
        index: usize,
        /// The id of the call, which its result refers to as `tool_call_id`.
        id: Option<String>,
        /// The tool's name.
        name: Option<String>,
        /// New text of the arguments.
        arguments: String,
    }
}
