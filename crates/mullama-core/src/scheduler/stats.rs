//! What the engine has done, to be read from anywhere.

use serde::{Deserialize, Serialize};

/// What a model has done since it was loaded, and what it is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Requests that are running.
    pub running: u32,
    /// Requests that wait for their turn.
    pub waiting: u32,
    /// Requests that have ended, however they did.
    pub finished: u64,
    /// Steps of the engine.
    pub steps: u64,
    /// Tokens of prompts that were computed.
    pub prompt_tokens: u64,
    /// Tokens of prompts that had been computed before.
    pub cached_tokens: u64,
    /// Tokens that were generated.
    pub completion_tokens: u64,
    /// Tokens that were guessed ahead (`prompt_lookup`).
    pub drafted_tokens: u64,
    /// Guesses among those that were right.
    pub accepted_tokens: u64,
    /// Cells of the KV cache in use.
    pub kv_used: u32,
    /// Cells of those that are kept for later requests only; told when none is running.
    pub kv_kept: u32,
    /// Tokens that were kept and have been given up to make room.
    pub evicted_tokens: u64,
    /// Tokens that had left the KV cache and were copied back (`cache_ram`).
    pub restored_tokens: u64,
    /// Times that a request gave its cells up and was computed again later.
    pub preemptions: u64,
    /// Texts that were embedded, and documents that were scored.
    pub embedded_inputs: u64,
    /// Tokens of those.
    pub embedded_tokens: u64,
    /// Batches that they were computed in.
    pub embedding_steps: u64,
}
