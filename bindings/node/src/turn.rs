//! Turns of a conversation: `lib/chat.ts` asks them what to do next.
#![allow(missing_docs, reason = "`lib/chat.ts` documents what a program sees")]

use mullama::{FinishReason, Message, ToolOutput, ToolRequest, Usage};
use napi_derive::napi;
use serde_json::Value;

use crate::arguments::{Json, Text, messages};
use crate::error::core_error;
use crate::results::{Plain, to_json};

/// One turn of a conversation.
#[napi]
pub struct Turn(mullama::Turn);

#[napi]
impl Turn {
    #[napi(constructor, catch_unwind)]
    pub fn new(
        history: Json,
        said: Json,
        tools: Json,
        callable: Vec<Text>,
        max_rounds: Option<u32>,
    ) -> napi::Result<Self> {
        let (history, said) = (messages(history)?, messages(said)?);
        Ok(Self(mullama::Turn::new(history, said, elements(tools), callable, max_rounds)))
    }

    /// The turn that replaces messages by a summary.
    #[napi(catch_unwind)]
    pub fn summary(summary: Text) -> Plain<Vec<Message>> {
        Plain::verbatim(to_json(&mullama::Compaction::turn(&summary)))
    }

    /// How many messages a summary replaced.
    #[napi(catch_unwind)]
    pub fn note_dropped(&mut self, messages: u32) {
        self.0.note_dropped(messages as usize);
    }

    /// The messages to send to the model.
    #[napi(catch_unwind)]
    pub fn messages(&self) -> Plain<Vec<Message>> {
        Plain::verbatim(to_json(&self.0.messages()))
    }

    /// The messages that the turn adds to the conversation.
    #[napi(catch_unwind)]
    pub fn new_messages(&self) -> Plain<Vec<Message>> {
        Plain::verbatim(to_json(&self.0.new_messages()))
    }

    #[napi(getter)]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }

    /// Token counts of all requests so far.
    #[napi(getter, catch_unwind)]
    pub fn usage(&self) -> Plain<Usage> {
        Plain::new(&self.0.usage())
    }

    /// Records an answer, as `{ message, finishReason, usage }`, and returns its tool calls.
    #[napi(catch_unwind)]
    pub fn record_answer(&mut self, answer: Json) -> napi::Result<Plain<Vec<ToolRequest>>> {
        let mut answer = answer.0;
        let message = messages(Json(Value::Array(vec![answer["message"].take()])))?.remove(0);
        let reasons = [FinishReason::ToolCalls, FinishReason::Length, FinishReason::Cancelled];
        let reason = reasons.into_iter().find(|reason| answer["finishReason"] == reason.name());
        let count = |name: &str| answer["usage"][name].as_u64().unwrap_or_default() as u32;
        let usage = Usage {
            prompt_tokens: count("promptTokens"),
            cached_tokens: count("cachedTokens"),
            image_tokens: count("imageTokens"),
            completion_tokens: count("completionTokens"),
            reasoning_tokens: count("reasoningTokens"),
            drafted_tokens: count("draftedTokens"),
            accepted_tokens: count("acceptedTokens"),
            dropped_messages: count("droppedMessages"),
            dropped_tokens: count("droppedTokens"),
        };
        let reason = reason.unwrap_or(FinishReason::Stop);
        Ok(Plain::verbatim(to_json(&self.0.record_answer_parts(&message, reason, usage))))
    }

    /// Records the results of the calls, as `{ text, failed }`.
    #[napi(catch_unwind)]
    pub fn record_tool_results(&mut self, outputs: Json) -> napi::Result<()> {
        let output = |output: Value| {
            if output["failed"] == true {
                ToolOutput::error(output["text"].as_str().unwrap_or_default())
            } else {
                ToolOutput::value(&output["text"])
            }
        };
        self.0
            .record_tool_results(elements(outputs).into_iter().map(output).collect())
            .map_err(core_error)
    }
}

/// The elements of an array.
fn elements(array: Json) -> Vec<Value> {
    match array.0 {
        Value::Array(elements) => elements,
        _ => Vec::new(),
    }
}
