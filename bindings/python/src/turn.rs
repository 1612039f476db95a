//! Turns of a conversation: `mullama._chat` asks them what to do next.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mullama::{ChatOptions, ToolOutput, ToolRequest};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::chat::{Message, Messages};
use crate::class::Wrap as _;
use crate::errors::Result;
use crate::hints::{Dict, Hint, MessageList, Summarizer, ToolList, Typed};
use crate::json::{self, Json};
use crate::options::Options;
use crate::results::{Answer, ChatChunk, ChatCompletion};
use crate::text::Text;

/// One turn of a conversation.
#[pyclass(frozen, name = "_Turn", module = "mullama._native")]
pub struct Turn(Mutex<mullama::Turn>);

#[pymethods]
impl Turn {
    #[new]
    #[pyo3(signature = (history, said, tools, callable: "Sequence[str]", max_rounds: "int | None"))]
    fn new(
        history: Messages,
        said: Messages,
        tools: Typed<'_, ToolList>,
        callable: Vec<String>,
        max_rounds: Option<u32>,
    ) -> Result<Self> {
        let tools = json::from_python(tools.as_any(), "tools")?;
        let tools = tools.as_array().cloned().unwrap_or_default();
        let turn = mullama::Turn::new(history.0, said.0, tools, callable, max_rounds);
        Ok(Self(Mutex::new(turn)))
    }

    /// The turn that replaces messages by a summary.
    #[staticmethod]
    fn summary(summary: Text) -> Vec<Message> {
        mullama::Compaction::turn(&summary.0).into_iter().map(Message).collect()
    }

    /// How many messages a summary replaced.
    fn note_dropped(&self, messages: usize) {
        self.turn().note_dropped(messages);
    }

    /// What to ask the model about.
    fn messages(&self) -> Vec<Message> {
        self.turn().messages().iter().cloned().map(Message).collect()
    }

    /// What the turn adds to the conversation.
    fn new_messages(&self) -> Vec<Message> {
        self.turn().new_messages().iter().cloned().map(Message).collect()
    }

    /// The calls that an answer asks for: ids, names and arguments.
    fn record_answer(&self, answer: &ChatCompletion) -> Vec<(String, String, Json<Dict>)> {
        let requests = self.turn().record_answer(&answer.0);
        let request = |ToolRequest { id, name, arguments }| (id, name, Json::wrap(arguments));
        requests.into_iter().map(request).collect()
    }

    /// What the calls gave: whether they succeeded, and the result or the reason.
    #[pyo3(signature = (outputs: "Sequence[tuple[bool, Any]]"))]
    fn record_tool_results(&self, outputs: Vec<(bool, Bound<'_, PyAny>)>) -> Result<()> {
        let output = |(succeeded, value): (bool, Bound<'_, PyAny>)| {
            if !succeeded {
                return ToolOutput::error(value);
            }
            match json::from_python(&value, "result") {
                Ok(value) => ToolOutput::value(&value),
                // Contains NaN, or is nested infinitely.
                Err(error) => ToolOutput::error(error.value(value.py())),
            }
        };
        let outputs = outputs.into_iter().map(output).collect();
        Ok(self.turn().record_tool_results(outputs)?)
    }

    /// A chunk as the reader of the turn is to see it.
    fn chunk(&self, chunk: &ChatChunk) -> ChatChunk {
        ChatChunk(self.turn().chunk(chunk.0.clone()))
    }

    /// The answer, once the turn is over.
    #[getter]
    fn completion(&self) -> Option<Answer> {
        self.turn().completion().cloned().map(Answer::wrap)
    }
}

impl Turn {
    fn turn(&self) -> MutexGuard<'_, mullama::Turn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a conversation with a model; `C` names its class in `mullama._chat`. Invalid options are reported
/// now rather than at the first message.
pub fn start_chat<'py, C: Hint>(
    model: &Bound<'py, PyAny>,
    system: Option<Text>,
    messages: Option<Typed<'py, MessageList>>,
    max_tool_rounds: Option<u32>,
    compact: Option<Typed<'py, Summarizer>>,
    options: Option<Bound<'py, PyDict>>,
) -> PyResult<Typed<'py, C>> {
    let options = options.unwrap_or_else(|| PyDict::new(model.py()));
    options.extract::<Options<ChatOptions>>()?;
    let keywords = options.copy()?;
    keywords.set_item("system", system.map(|text| text.0))?;
    keywords.set_item("messages", messages)?;
    keywords.set_item("max_tool_rounds", max_tool_rounds)?;
    keywords.set_item("compact", compact)?;
    let class = model.py().import("mullama._chat")?.getattr(C::TEXT)?;
    class.call((model,), Some(&keywords)).map(Typed::new)
}
