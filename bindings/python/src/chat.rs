//! Messages and the calls of tools in them.

use pyo3::exceptions::PyKeyError;
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;

use crate::class::class;
use crate::errors::raise;
use crate::hints::{
    Hint as _, Key, KeyIterator, Keys, MessageDict, MessageList, Role, Typed, hint,
};
use crate::json::{self, Json};
use crate::pictures;

class! {
    /// A chat message in OpenAI's format, as in a completion.
    ///
    /// It can be appended to the messages of the next turn as it is. It also supports the mapping
    /// protocol (`message["content"]`, `dict(message)`); `to_dict()` returns a plain dict.
    #[eq, mapping]
    #[pickle(Self)]
    Message(mullama::Message), repr() {
        /// The author: `system`, `developer`, `user`, `assistant` or `tool`.
        role: Json<Role>,
        /// The text; None if an assistant only calls tools.
        content: Option<String> = |message| message.content.as_ref().map(|_| message.text()),
        /// The assistant's reasoning before the answer.
        reasoning: Option<String>,
        /// Tools that the assistant calls.
        tool_calls: Vec<ToolCall>,
        /// For a tool's result: the id of the call.
        tool_call_id: Option<String>,
        /// For a tool's result: the tool's name. For other messages: the author's name.
        name: Option<String>,
    }
    methods {
        /// Creates a message from a dict in OpenAI's format.
        #[staticmethod]
        fn from_dict(message: Typed<'_, MessageDict>) -> PyResult<Self> {
            let message = pictures::message_of(message.as_any())?;
            let list = Value::Array(vec![json::from_python(&message, "message")?]);
            let mut messages = mullama::Message::list_from_json(list).map_err(raise)?;
            Ok(Self(messages.swap_remove(0)))
        }

        /// The keys of the message's dict.
        fn keys<'py>(&self, py: Python<'py>) -> PyResult<Typed<'py, Keys>> {
            Ok(Typed::new(self.dict(py)?.keys()))
        }

        /// The value for a key of the message's dict, or `default`.
        #[pyo3(signature = (key, default = None))]
        fn get<'py>(
            &self,
            py: Python<'py>,
            key: Typed<'py, Key>,
            default: Option<Bound<'py, PyAny>>,
        ) -> PyResult<Option<Bound<'py, PyAny>>> {
            Ok(self.dict(py)?.get_item(key)?.or(default))
        }

        fn __getitem__<'py>(
            &self,
            py: Python<'py>,
            key: Typed<'py, Key>,
        ) -> PyResult<Bound<'py, PyAny>> {
            let value = self.dict(py)?.get_item(key.as_any())?;
            value.ok_or_else(|| PyKeyError::new_err(key.into_any().unbind()))
        }

        fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
            self.dict(key.py())?.contains(key)
        }

        fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Typed<'py, KeyIterator>> {
            Ok(Typed::new(self.dict(py)?.try_iter()?))
        }

        fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
            Ok(self.dict(py)?.len())
        }

        fn __str__(&self) -> String {
            self.0.text()
        }
    }
}

impl Message {
    fn dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        Ok(self.to_dict().into_pyobject(py)?.cast_into()?)
    }
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
