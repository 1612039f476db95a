//! The options of a chat.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::OptionSet;
use super::generate::{DraftMode, GenerateOptions, LogitBias, Overflow, Stop, generate_setters};
use super::kind::{ResponseFormat, ToolChoice};
use super::lora::Lora;
use super::processors::LogitsProcessors;
use super::samplers::SamplerKind;
use super::table::options;
use crate::{Error, Result};

options! {
    /// The options specific to chats.
    pub struct ChatFields with chat_setters {
        /// Tools that the model may call, in OpenAI's format; in Python and Node.js also functions.
        /// Default: none.
        tools <- Vec<Value>,
        /// Which tools the model calls: `auto`, `none`, `required`, or a specific one as `{"type":
        /// "function", "function": {"name": ...}}`. Default: `auto`.
        tool_choice <- Value as ToolChoice,
        /// Whether one answer may contain several tool calls.
        parallel_tool_calls: bool = false,
        /// `{"type": "text"}`, `{"type": "json_object"}`, or `{"type": "json_schema", "json_schema":
        /// {"schema": ...}}`. Default: text.
        response_format <- Value as ResponseFormat,
        /// Whether a model that can reason does so before it answers.
        reasoning: bool = true,
        /// Maximum number of reasoning tokens. When they are exhausted, the template's
        /// end-of-reasoning tag is inserted and the answer follows. Default: none.
        reasoning_budget: u32,
        /// Whether special tokens written in messages, tools and arguments are parsed as special
        /// tokens. Otherwise they are plain text, so the author of a message cannot end it and
        /// start another.
        parse_special: bool = false,
        /// Whether the answer continues a last message of the assistant; the result then contains
        /// only the continuation. Otherwise the answer is a separate message.
        continue_final_message: bool = false,
        /// A chat template (Jinja) for this chat. Default: the model's.
        chat_template <- String,
        /// Arguments for the chat template. Default: none.
        template_kwargs <- Map<String, Value>,
    }
}

/// Options of a chat: those of a generation, and those specific to chats. It has the setters of
/// both.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ChatOptions {
    /// The options of the generation.
    #[serde(flatten)]
    pub generate: GenerateOptions,
    /// The options specific to chats.
    #[serde(flatten)]
    pub chat: ChatFields,
    /// A binding's data for converting the answer.
    #[serde(skip)]
    #[doc(hidden)]
    pub companion: Companion,
}

/// A value that a binding attaches to a request and reads from its answer.
#[doc(hidden)]
#[derive(Clone, Default)]
pub struct Companion(Option<Arc<dyn Any + Send + Sync>>);

impl Companion {
    /// Wraps a value.
    pub fn new(value: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(value)))
    }

    /// The value, if it has this type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.as_ref()?.downcast_ref()
    }
}

/// Compares identity: whether both are the same value.
impl PartialEq for Companion {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}

impl fmt::Debug for Companion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Companion(..)" } else { "Companion" })
    }
}

impl ChatOptions {
    /// Sets the options of the generation.
    #[must_use]
    pub fn with_generate(mut self, generate: GenerateOptions) -> Self {
        self.generate = generate;
        self
    }

    /// The options by name, for [`crate::parse_options`].
    pub fn option_sets(&mut self) -> [&mut dyn OptionSet; 2] {
        [&mut self.generate, &mut self.chat]
    }
}

impl From<GenerateOptions> for ChatOptions {
    fn from(generate: GenerateOptions) -> Self {
        Self::default().with_generate(generate)
    }
}

generate_setters!(ChatOptions.generate);
chat_setters!(ChatOptions.chat);

/// Rejects a name or a path in place of a template.
pub(crate) fn check_template(source: &str) -> Result<()> {
    if ["{{", "{%"].iter().any(|mark| source.contains(mark)) {
        return Ok(());
    }
    let problem =
        "it has no {{ }} and no {% %}: give the text of a template (Jinja), not a name or a path";
    Err(Error::option("chat_template", problem))
}
