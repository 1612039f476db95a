//! Turns of a conversation: what `lib/chat.js` asks what comes next.
#![allow(missing_docs, reason = "`index.d.ts` documents what a program sees")]

use mullama::{FinishReason, Message, ToolOutput, Usage};
use napi_derive::napi;
use serde_json::{Value, json};

use crate::error::{of_arguments, of_core};
use crate::json::{Json, Messages, Text};
use crate::results::plain;

/// One turn of a conversation.
#[napi]
pub struct Turn(mullama::Turn);

#[napi]
impl Turn {
    #[napi(constructor, catch_unwind)]
    pub fn new(
        history: Messages,
        said: Messages,
        tools: Json,
        callable: Vec<Text>,
        max_rounds: Option<u32>,
    ) -> napi::Result<Self> {
        let tools = tools.0.as_array().cloned().unwrap_or_default();
        let callable = callable.into_iter().map(|name| name.0).collect();
        let (history, said) = (read(history)?, read(said)?);
        Ok(Self(mullama::Turn::new(history, said, tools, callable, max_rounds)))
    }

    /// What to ask the model about.
    #[napi(catch_unwind)]
    pub fn messages(&self) -> Value {
        json!(self.0.messages())
    }

    /// What the turn adds to the conversation.
    #[napi(catch_unwind)]
    pub fn news(&self) -> Value {
        json!(self.0.news())
    }

    #[napi(getter)]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }

    /// Tokens of all requests so far.
    #[napi(getter, catch_unwind)]
    pub fn usage(&self) -> Value {
        plain(&self.0.usage())
    }

    /// The calls that an answer asks for, as `{ id, name, arguments }`.
    #[napi(catch_unwind)]
    pub fn answered(
        &mut self,
        message: Json,
        finish_reason: Text,
        usage: Json,
    ) -> napi::Result<Value> {
        let message = read(Messages(json!([message.0])))?.remove(0);
        let reasons = [FinishReason::ToolCalls, FinishReason::Length, FinishReason::Cancelled];
        let reason = reasons.into_iter().find(|reason| reason.name() == finish_reason.0);
        let count = |name: &str| usage.0[name].as_u64().unwrap_or_default() as u32;
        let usage = Usage {
            prompt_tokens: count("promptTokens"),
            cached_tokens: count("cachedTokens"),
            completion_tokens: count("completionTokens"),
        };
        let reason = reason.unwrap_or(FinishReason::Stop);
        Ok(json!(self.0.take_answer(&message, reason, usage)))
    }

    /// What the calls gave, as `{ text, failed }`.
    #[napi(catch_unwind)]
    pub fn returned(&mut self, outputs: Json) -> napi::Result<()> {
        let outputs = outputs.0.as_array().cloned().unwrap_or_default();
        let output = |output: Value| {
            if output["failed"] == true {
                ToolOutput::error(output["text"].as_str().unwrap_or_default())
            } else {
                ToolOutput::value(&output["text"])
            }
        };
        self.0.returned(outputs.into_iter().map(output).collect()).map_err(of_core)
    }
}

fn read(messages: Messages) -> napi::Result<Vec<Message>> {
    Message::list_from_json(messages.0).map_err(|error| of_arguments(&error))
}
