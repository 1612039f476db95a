//! The results of a generation.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Token;

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// The model ended its answer, or a stop sequence was found.
    Stop,
    /// `max_tokens` or the end of the context was reached.
    Length,
    /// The model called tools.
    ToolCalls,
    /// The caller cancelled.
    Cancelled,
}

impl FinishReason {
    /// The name that every language uses: `stop`, `length`, `tool_calls`, `cancelled`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The exact reason why a generation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StopReason {
    /// The kind of reason.
    pub kind: StopKind,
    /// The stop sequence that was found, or the text of the end token.
    pub text: Option<String>,
    /// The end token.
    pub token: Option<Token>,
}

/// The kinds of reasons why a generation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopKind {
    /// A stop sequence was found: one of the request, of the model's defaults, or of the chat
    /// template.
    StopText,
    /// The model generated a token that ends an answer.
    EndToken,
    /// `max_tokens` tokens were generated.
    MaxTokens,
    /// The context is full.
    ContextSize,
    /// The request's `timeout` passed.
    Timeout,
    /// The caller cancelled, or the model was closed.
    Cancelled,
}

impl StopKind {
    /// The name that every language uses: `stop_text`, `end_token` and so on.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StopText => "stop_text",
            Self::EndToken => "end_token",
            Self::MaxTokens => "max_tokens",
            Self::ContextSize => "context_size",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
        }
    }
}

impl StopReason {
    /// A reason without details.
    pub(crate) fn new(kind: StopKind) -> Self {
        Self { kind, text: None, token: None }
    }

    /// The coarser reason of OpenAI's API.
    pub(crate) fn finish_reason(&self) -> FinishReason {
        match self.kind {
            StopKind::StopText | StopKind::EndToken => FinishReason::Stop,
            StopKind::MaxTokens | StopKind::ContextSize => FinishReason::Length,
            StopKind::Timeout | StopKind::Cancelled => FinishReason::Cancelled,
        }
    }
}

/// Token counts of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Prompt tokens that were reused from the cache.
    pub cached_tokens: u32,
    /// Prompt tokens that belong to pictures.
    #[serde(default)]
    pub image_tokens: u32,
    /// Generated tokens, including a final end-of-generation token.
    pub completion_tokens: u32,
    /// Generated tokens that were reasoning, without its tags; only for chats.
    pub reasoning_tokens: u32,
    /// Drafted tokens: by a draft model or by prompt lookup.
    pub drafted_tokens: u32,
    /// Drafted tokens that were accepted.
    pub accepted_tokens: u32,
    /// The oldest messages of a chat, which `overflow` left out of the prompt or replaced by a summary.
    #[serde(default)]
    pub dropped_messages: u32,
    /// Tokens that `overflow` left out of the prompt, or dropped from the context.
    #[serde(default)]
    pub dropped_tokens: u32,
}

/// Times of a request, in milliseconds, and rates, in tokens per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// From the call to the start of prompt processing.
    pub queue_ms: f64,
    /// Prompt processing.
    pub prompt_ms: f64,
    /// From the call to the first token.
    pub first_token_ms: f64,
    /// From the call to the end.
    pub total_ms: f64,
    /// Prompt tokens per second of prompt processing.
    pub prompt_tps: f64,
    /// Generated tokens per second, after the first one.
    pub decode_tps: f64,
}

/// A token that was generated, with its log probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token.
    pub token: Token,
    /// Its text; a part of a character shows as U+FFFD.
    pub text: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability, before sampling options are applied.
    pub logprob: f32,
    /// The most likely tokens at this position, most likely first.
    pub top: Vec<TopLogprob>,
}

/// One of the most likely tokens at a position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopLogprob {
    /// The token.
    pub token: Token,
    /// Its text; a part of a character shows as U+FFFD.
    pub text: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability, before sampling options are applied.
    pub logprob: f32,
}

/// A finished answer. Its `Display` is its text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The text, without the stop sequence that ended it.
    pub text: String,
    /// All generated tokens.
    pub tokens: Vec<Token>,
    /// Why the generation ended.
    pub finish_reason: FinishReason,
    /// What exactly ended it.
    pub stop_reason: StopReason,
    /// Token counts of the request.
    pub usage: Usage,
    /// Times and rates.
    pub timings: Timings,
    /// Log probabilities, if requested.
    pub logprobs: Option<Vec<TokenLogprob>>,
}

impl fmt::Display for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A piece of an answer that is being generated. Its `Display` is its text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// New text: whole characters, never part of a stop sequence. May be empty in the last chunk.
    pub text: String,
    /// Log probabilities of the new tokens, if requested.
    pub logprobs: Option<Vec<TokenLogprob>>,
    /// The progress of prompt processing, in chunks before the first token, if `prompt_progress` is
    /// set.
    pub progress: Option<PromptProgress>,
    /// The complete answer; only in the last chunk.
    pub completion: Option<Completion>,
}

/// The progress of prompt processing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptProgress {
    /// Tokens processed so far, including those from the cache.
    pub computed: u32,
    /// Tokens of the prompt.
    pub total: u32,
    /// Tokens that were reused from the cache.
    pub cached: u32,
}

impl fmt::Display for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
