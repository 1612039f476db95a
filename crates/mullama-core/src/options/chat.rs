//! What a chat takes.

use serde_json::{Map, Value};

use super::OptionSet;
use super::generate::{GenerateOptions, LogitBias, Stop, generate_setters};
use super::kind::{ResponseFormat, ToolChoice};
use super::lora::Lora;
use super::table::options;

options! {
    /// What a chat takes beyond a generation's options.
    pub struct ChatFields with chat_setters {
        /// Tools that the model may call, in OpenAI's shape; functions too, in Python and Node.js.
        /// Default: none.
        tools <- Vec<Value>,
        /// Whether tools are called: `auto`, `none`, `required`, or one by name as
        /// `{"type": "function", "function": {"name": ...}}`. Default: `auto`.
        tool_choice <- Value as ToolChoice,
        /// Whether several tools may be called in one answer.
        parallel_tool_calls: bool = false,
        /// `{"type": "text"}`, `{"type": "json_object"}`, or `{"type": "json_schema", "json_schema":
        /// {"schema": ...}}`. Default: text.
        response_format <- Value as ResponseFormat,
        /// Whether a model that can reason does so before it answers.
        reasoning: bool = true,
        /// Most tokens of reasoning: when they are spent, it is ended with the tag of the model's own
        /// template, and the answer follows. Default: none.
        reasoning_budget: u32,
        /// Whether special tokens that are written out in messages, tools and arguments count as such. Else
        /// they are text, so that nobody who writes a message can end it and begin another.
        parse_special: bool = false,
        /// Whether a last message of the assistant is the beginning of the answer: what comes is the rest of
        /// it. Else the answer is a message of its own.
        continue_final_message: bool = false,
        /// Arguments for the chat template. Default: none.
        template_kwargs <- Map<String, Value>,
    }
}

/// What a chat is to do: a generation's options, and a chat's own. It has the setters of both.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ChatOptions {
    /// Options that every generation has.
    pub generate: GenerateOptions,
    /// Options that only a chat has.
    pub chat: ChatFields,
}

impl ChatOptions {
    /// Sets the options that every generation has.
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
