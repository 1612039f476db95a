//! Statistics of the engine, readable from any thread.

use serde::{Deserialize, Serialize};

/// Statistics since a model was loaded, and its current load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Requests that are running.
    pub running: u32,
    /// Requests that are waiting.
    pub waiting: u32,
    /// Requests that have ended for any reason.
    pub finished: u64,
    /// Steps of the engine.
    pub steps: u64,
    /// Prompt tokens that were computed.
    pub prompt_tokens: u64,
    /// Prompt tokens that were reused from the cache.
    pub cached_tokens: u64,
    /// Tokens that were generated.
    pub completion_tokens: u64,
    /// Drafted tokens: by a draft model or by prompt lookup.
    pub drafted_tokens: u64,
    /// Drafted tokens that were accepted.
    pub accepted_tokens: u64,
    /// Cells of the KV cache in use.
    pub kv_used: u32,
    /// Cells of the KV cache that only cache finished requests; updated when no request is running.
    pub kv_kept: u32,
    /// Cached tokens that were evicted to make room.
    pub evicted_tokens: u64,
    /// Evicted tokens that were copied back to the KV cache (`cache_ram`).
    pub restored_tokens: u64,
    /// How often a request released its cells and was recomputed later.
    pub preemptions: u64,
    /// Embedded texts and scored documents.
    pub embedded_inputs: u64,
    /// Tokens of these texts and documents.
    pub embedded_tokens: u64,
    /// Batches of texts and documents.
    pub embedding_steps: u64,
}
