//! One turn of a conversation: from the input to the answer, including tool calls.

use serde_json::Value;

use super::message::{Content, Message};
use super::results::{ChatChunk, ChatCompletion};
use super::tool::{ToolOutput, ToolRequest, arguments_for, name_of};
use crate::scheduler::{FinishReason, Usage};
use crate::{Error, ErrorKind, Result};

/// Default limit of rounds of tool calls before the answer.
const MAX_TOOL_ROUNDS: u32 = 8;

/// The input of a turn: the user's text, a message, or several messages (for example results of tools).
#[derive(Debug, Clone)]
pub struct ChatInput(Vec<Message>);

impl ChatInput {
    /// The messages.
    pub fn messages(&self) -> &[Message] {
        &self.0
    }
}

impl From<&str> for ChatInput {
    fn from(text: &str) -> Self {
        Self(vec![Message::user(text)])
    }
}

impl From<String> for ChatInput {
    fn from(text: String) -> Self {
        Self(vec![Message::user(text)])
    }
}

impl From<Message> for ChatInput {
    fn from(message: Message) -> Self {
        Self(vec![message])
    }
}

impl From<Vec<Message>> for ChatInput {
    fn from(messages: Vec<Message>) -> Self {
        Self(messages)
    }
}

/// One turn of a conversation: from the input to the answer, including the tools that the model calls.
///
/// A state machine that computes nothing itself: it determines what to ask the model and which functions to call.
/// [`Chat`] is built on it, and front ends with their own kind of functions use it directly.
///
/// Ask the model with [`Self::messages`], pass its answer to [`Self::record_answer`], run the calls that it returns,
/// and pass the results to [`Self::record_tool_results`]. Repeat until there is a [`Self::completion`].
///
/// [`Chat`]: crate::Chat
#[derive(Debug, Clone)]
pub struct Turn {
    messages: Vec<Message>,
    /// Number of messages before the turn.
    n_before: usize,
    tools: Vec<Value>,
    callable: Vec<String>,
    rounds_left: u32,
    usage: Usage,
    /// Calls of the last answer, with their results if known.
    calls: Vec<(String, String, Option<ToolOutput>)>,
    /// How the turn ended, if it has.
    outcome: Option<FinishReason>,
    completion: Option<ChatCompletion>,
}

impl Turn {
    /// A turn that continues `history` with `input`. `tools` are the definitions shown to the
    /// model, `callable` the names of those that the caller can run; `max_rounds` limits the rounds
    /// of calls.
    pub fn new(
        history: Vec<Message>,
        input: impl Into<ChatInput>,
        tools: Vec<Value>,
        callable: Vec<String>,
        max_rounds: Option<u32>,
    ) -> Self {
        let n_before = history.len();
        let mut messages = history;
        messages.extend(input.into().0);
        Self {
            messages,
            n_before,
            tools,
            callable,
            rounds_left: max_rounds.unwrap_or(MAX_TOOL_ROUNDS),
            usage: Usage::default(),
            calls: Vec::new(),
            outcome: None,
            completion: None,
        }
    }

    /// Records how many messages of the conversation were replaced by a summary, for [`Self::usage`].
    pub fn note_dropped(&mut self, messages: usize) {
        self.usage.dropped_messages = messages as u32;
    }

    /// The messages to send to the model.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The messages that the turn adds to the conversation: the input, tool calls and their results, the answer. Empty
    /// before the turn is over, and if it was cancelled.
    pub fn new_messages(&self) -> &[Message] {
        match self.outcome {
            None | Some(FinishReason::Cancelled) => &[],
            Some(_) => &self.messages[self.n_before..],
        }
    }

    /// Whether the turn has ended: there is nothing more to ask or to call.
    pub fn is_over(&self) -> bool {
        self.outcome.is_some()
    }

    /// Tokens of all requests so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The answer of the turn, once it is over; its usage counts every request of the turn.
    ///
    /// It has tool calls (finish reason `tool_calls`) if the caller has to run them because one of
    /// them has no function, or if the limit of rounds was reached, which the model sees as their
    /// result.
    pub fn completion(&self) -> Option<&ChatCompletion> {
        self.completion.as_ref()
    }

    /// A chunk as the turn's reader receives it: only the last one has a completion, that of the turn.
    ///
    /// Call `record_answer` with the chunk's completion first.
    pub fn chunk(&self, chunk: ChatChunk) -> ChatChunk {
        let completion = chunk.completion.as_ref().and(self.completion.clone());
        ChatChunk { completion, ..chunk }
    }

    /// Records the model's answer and returns the calls to run now. For calls that cannot be run
    /// (unknown tool, wrong arguments), the model receives an error message.
    pub fn record_answer(&mut self, answer: &ChatCompletion) -> Vec<ToolRequest> {
        let requests =
            self.record_answer_parts(&answer.message, answer.finish_reason, answer.usage);
        if self.is_over() {
            let mut completion = answer.clone();
            completion.completion.usage = self.usage;
            self.completion = Some(completion);
        }
        requests
    }

    /// As [`Self::record_answer`], for the parts of an answer; [`Self::completion`] stays empty.
    pub fn record_answer_parts(
        &mut self,
        message: &Message,
        finish_reason: FinishReason,
        usage: Usage,
    ) -> Vec<ToolRequest> {
        self.usage.prompt_tokens += usage.prompt_tokens;
        self.usage.cached_tokens += usage.cached_tokens;
        self.usage.completion_tokens += usage.completion_tokens;
        self.usage.image_tokens += usage.image_tokens;
        self.usage.reasoning_tokens += usage.reasoning_tokens;
        self.usage.drafted_tokens += usage.drafted_tokens;
        self.usage.accepted_tokens += usage.accepted_tokens;
        self.usage.dropped_messages = self.usage.dropped_messages.max(usage.dropped_messages);
        self.usage.dropped_tokens = self.usage.dropped_tokens.max(usage.dropped_tokens);
        self.messages.push(for_template(message, finish_reason));

        let calls = &message.tool_calls;
        let is_callers = |name: &str| {
            self.definition(name).is_some() && !self.callable.iter().any(|known| known == name)
        };
        if finish_reason != FinishReason::ToolCalls
            || calls.iter().any(|call| is_callers(&call.function.name))
        {
            self.outcome = Some(finish_reason);
            return Vec::new();
        }
        let mut requests = Vec::new();
        let is_over = self.rounds_left == 0;
        let mut noted = Vec::new();
        for call in calls {
            let name = &call.function.name;
            let arguments = match self.definition(name) {
                None => Err(format!("there is no tool `{name}`")),
                Some(definition) => arguments_for(call, definition),
            };
            let known = match arguments {
                _ if is_over => {
                    Some(ToolOutput::error("not called: the limit of calls is reached"))
                }
                Err(problem) => Some(ToolOutput::error(problem)),
                Ok(arguments) => {
                    let (id, name) = (call.id.clone(), name.clone());
                    requests.push(ToolRequest { id, name, arguments });
                    None
                }
            };
            noted.push((call.id.clone(), name.clone(), known));
        }
        self.calls = noted;
        if is_over {
            self.note_results();
            self.outcome = Some(finish_reason);
        } else {
            self.rounds_left -= 1;
        }
        requests
    }

    /// Records the results of the calls, in the order in which `record_answer` returned them.
    pub fn record_tool_results(&mut self, outputs: Vec<ToolOutput>) -> Result<()> {
        let open = self.calls.iter_mut().filter(|(_, _, output)| output.is_none());
        let mut outputs = outputs.into_iter();
        for (_, name, output) in open {
            *output = Some(outputs.next().ok_or_else(|| {
                let message = format!("the result of the call of `{name}` is missing");
                Error::new(ErrorKind::InvalidArgument, message)
            })?);
        }
        if outputs.next().is_some() {
            let message = "there are more results than calls";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        self.note_results();
        Ok(())
    }

    fn note_results(&mut self) {
        let results = self.calls.drain(..).map(|(id, name, output)| {
            let text = output.map(|ToolOutput(text)| text).unwrap_or_default();
            Message { name: Some(name), ..Message::tool(id, text) }
        });
        self.messages.extend(results);
    }

    fn definition(&self, name: &str) -> Option<&Value> {
        self.tools.iter().find(|tool| name_of(tool) == name)
    }
}

/// The message of an answer as templates accept it: incomplete calls are removed, and arguments that are not an object
/// are replaced by an empty one (the model receives an error message).
fn for_template(message: &Message, finish_reason: FinishReason) -> Message {
    let mut message = message.clone();
    if finish_reason != FinishReason::ToolCalls {
        message.tool_calls.clear();
    }
    for call in &mut message.tool_calls {
        let arguments = &mut call.function.arguments;
        if !matches!(serde_json::from_str(arguments), Ok(Value::Object(_))) {
            "{}".clone_into(arguments);
        }
    }
    if message.tool_calls.is_empty() {
        message.content.get_or_insert(Content::Text(String::new()));
    }
    message
}
