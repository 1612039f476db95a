//! The results of a chat.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::message::Message;
use crate::options::Companion;
use crate::scheduler::{Completion, PromptProgress, TokenLogprob};

/// A finished answer of a chat: a [`Completion`] with its message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletion {
    /// The answer, ready to be appended to the messages of the next turn.
    pub message: Message,
    /// All other results. Its `text` is the answer's content, without reasoning and tool calls.
    #[serde(flatten)]
    pub completion: Completion,
    /// Value attached to the request.
    #[serde(skip)]
    #[doc(hidden)]
    pub companion: Companion,
}

impl Deref for ChatCompletion {
    type Target = Completion;

    fn deref(&self) -> &Completion {
        &self.completion
    }
}

impl std::fmt::Display for ChatCompletion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.completion.text)
    }
}

/// A new piece of an answer that is being generated. Its `Display` is its text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatChunk {
    /// New text of the answer.
    pub text: String,
    /// New text of the reasoning before the answer.
    pub reasoning: String,
    /// New parts of tool calls.
    pub tool_calls: Vec<ToolCallDelta>,
    /// Log probabilities of all tokens since the last chunk, if requested, including those of
    /// reasoning, tool calls and tags.
    pub logprobs: Option<Vec<TokenLogprob>>,
    /// The progress of prompt processing, in chunks before the first token, if `prompt_progress` is
    /// set.
    pub progress: Option<PromptProgress>,
    /// The complete answer; only in the last chunk.
    pub completion: Option<ChatCompletion>,
}

impl std::fmt::Display for ChatChunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A new part of one tool call. The first part of a call has its id and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCallDelta {
    /// Index of the call within the answer.
    pub index: usize,
    /// The id of the call, which its result refers to.
    pub id: Option<String>,
    /// The tool's name.
    pub name: Option<String>,
    /// New text of the arguments.
    pub arguments: String,
}
