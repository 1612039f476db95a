//! What a generation gives.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Token;

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// The model was done, or a stop text came.
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

/// Tokens that a request took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the prompt that had been computed before.
    pub cached_tokens: u32,
    /// Tokens that were generated; a closing end-of-generation token counts.
    pub completion_tokens: u32,
}

/// Times of a request, in milliseconds, and rates, in tokens per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// From the call to the start of the prompt's computation.
    pub queue_ms: f64,
    /// The prompt's computation.
    pub prompt_ms: f64,
    /// From the call to the first token.
    pub first_token_ms: f64,
    /// From the call to the end.
    pub total_ms: f64,
    /// Tokens of the prompt per second of its computation.
    pub prompt_tps: f64,
    /// Tokens after the first per second.
    pub decode_tps: f64,
}

/// A token that was generated, with its log probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token.
    pub token: Token,
    /// Its text; a part of a character shows as U+FFFD.
    pub text: String,
    /// Natural logarithm of its probability, before any sampling option.
    pub logprob: f32,
    /// The likeliest tokens at its place, likeliest first.
    pub top: Vec<TopLogprob>,
}

/// One of the likeliest tokens at a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopLogprob {
    /// The token.
    pub token: Token,
    /// Its text; a part of a character shows as U+FFFD.
    pub text: String,
    /// Natural logarithm of its probability, before any sampling option.
    pub logprob: f32,
}

/// A finished answer. Its `Display` is its text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Completion {
    /// The text, without the stop text that ended it.
    pub text: String,
    /// Every token that was generated.
    pub tokens: Vec<Token>,
    /// Why the generation ended.
    pub finish_reason: FinishReason,
    /// Tokens that the request took.
    pub usage: Usage,
    /// Times and rates.
    pub timings: Timings,
    /// Log probabilities, where they were asked for.
    pub logprobs: Option<Vec<TokenLogprob>>,
}

impl fmt::Display for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A piece of an answer that is being generated. Its `Display` is its text.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Chunk {
    /// New text: whole characters, never any part of a stop text. Empty in a last chunk that has
    /// nothing to add.
    pub text: String,
    /// Log probabilities of the new tokens, where they were asked for.
    pub logprobs: Option<Vec<TokenLogprob>>,
    /// The whole answer, in the last chunk.
    pub completion: Option<Completion>,
}

impl fmt::Display for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
