//! The options of a context.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::kind::{FlagForm, option_type};
use super::range::MoreThan;
use super::size::ByteSize;
use super::table::options;

/// `GGML_MAX_N_THREADS`
pub(crate) const MAX_THREADS: u32 = 512;

options! {
    /// Sizes, threads and memory of the context.
    pub struct ContextParams {
        /// Context size in tokens, shared by all concurrent requests; 0 is the model's training
        /// context. Default: the model's training context, at most 8192.
        ("context_size") n_ctx: u32; in 0..=i32::MAX as u32; short 'c',
        /// Maximum number of tokens in one step of the engine (the logical batch); every running
        /// request always has at least one.
        ("batch_size") n_batch: u32 = 2048; in 1..=1 << 20,
        /// Maximum number of tokens in one computation (the physical batch). Default: 512.
        ("ubatch_size") n_ubatch: u32,
        /// Threads for generation. Default: one per physical core.
        n_threads: u32; in 1..=MAX_THREADS; short 't',
        /// Threads for prompt processing. Default: the same as for generation.
        n_threads_batch: u32; in 1..=MAX_THREADS,
        /// Maximum number of concurrent requests; further ones wait.
        n_parallel: u32 = 4; in 1..,
        /// Maximum number of waiting requests; further ones are rejected as `Busy`. Default:
        /// unlimited.
        max_queue: u32,
        /// Maximum number of tokens of finished requests that stay in the KV cache, for reuse by
        /// requests with the same prefix. Default: as many as fit; 0 turns prefix sharing off, also
        /// between concurrent requests.
        prefix_cache: u32,
        /// System RAM for tokens evicted from the KV cache and for checkpoints: both are copied back
        /// instead of recomputed. A number of bytes, or a text with a unit, such as `2GiB`. Default:
        /// a quarter of the free memory at load time, at most 8 GiB; 0 turns it off.
        cache_ram <- ByteSize,
        /// Tokens between checkpoints of state that cannot be truncated: recurrent states and
        /// sliding windows. A checkpoint is also made at the end of each prompt and before its last
        /// message. 0 turns checkpoints off.
        checkpoint_every: u32 = 2048,
        /// Whether layers with a sliding window have cells for the whole context. If not, they need
        /// much less memory, but prompts share prefixes only up to a checkpoint.
        swa_full: bool = false,
        /// How many times longer the time between tokens of other answers may become while a prompt
        /// is processed.
        max_stall: f32 = 4.0; in 1.0..,
        /// Data type of the KV cache, one value or a pair for keys and values: `f32`, `f16`,
        /// `bf16`, `q8_0`, `q5_1`, `q5_0`, `q4_1`, `q4_0` or `iq4_nl`. Quantised values require
        /// flash attention. Default: `f16`.
        kv_cache_type <- KvCacheTypes,
        /// Whether the KV cache of a layer is on the layer's device; otherwise it is in system RAM.
        offload_kqv: bool = true,
        /// Flash attention: `auto`, `on` or `off`. Default: `auto`.
        flash_attention: FlashAttention,
        /// Base frequency of the rotary position embedding. Default: the model's.
        rope_freq_base: f32; in MoreThan(0.0),
        /// Scale of the rotary position embedding's frequency. Default: the model's.
        rope_freq_scale: f32; in MoreThan(0.0),
        /// Whether a full-size computation runs before the model is ready, so that a lack of memory
        /// is detected while loading. Default: true if a GPU is used, unless `MULLAMA_WARMUP` is 0.
        warmup: bool,
    }
}

option_type! {
    FlashAttention: r#"Literal["auto", "on", "off"]"#, "'auto' | 'on' | 'off'",
        FlagForm::Text("auto|on|off");
    KvCacheTypes: "KvCacheType | tuple[KvCacheType, KvCacheType]",
        "KvCacheType | [keys: KvCacheType, values: KvCacheType]", FlagForm::Pair("TYPE[,TYPE]");
}

/// Whether flash attention is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlashAttention {
    /// If the backend supports it.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// A data type of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
#[allow(missing_docs, reason = "these are the names of ggml's types")]
pub enum KvCacheType {
    F32,
    #[default]
    F16,
    Bf16,
    Q8_0,
    Q5_1,
    Q5_0,
    Q4_1,
    Q4_0,
    #[serde(rename = "iq4_nl")]
    Iq4Nl,
}

impl KvCacheType {
    /// All types, from the widest to the narrowest.
    pub const ALL: [Self; 9] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q5_1,
        Self::Q5_0,
        Self::Q4_1,
        Self::Q4_0,
        Self::Iq4Nl,
    ];
}

impl fmt::Display for KvCacheType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The data types of the KV cache's keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KvCacheTypes {
    /// The type of the keys.
    pub keys: KvCacheType,
    /// The type of the values.
    pub values: KvCacheType,
}

impl From<KvCacheType> for KvCacheTypes {
    fn from(both: KvCacheType) -> Self {
        Self { keys: both, values: both }
    }
}

impl Serialize for KvCacheTypes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.keys == self.values {
            self.keys.serialize(serializer)
        } else {
            (self.keys, self.values).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for KvCacheTypes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Both(KvCacheType),
            Pair(KvCacheType, KvCacheType),
        }
        let problem = "expected one or two of f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl";
        match Raw::deserialize(deserializer).map_err(|_| de::Error::custom(problem))? {
            Raw::Both(both) => Ok(both.into()),
            Raw::Pair(keys, values) => Ok(Self { keys, values }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn kv_types_are_a_name_or_a_pair() {
        let types = |value: Value| serde_json::from_value::<KvCacheTypes>(value).ok();
        assert_eq!(types("q8_0".into()), Some(KvCacheType::Q8_0.into()));
        let pair = KvCacheTypes { keys: KvCacheType::Q8_0, values: KvCacheType::Iq4Nl };
        assert_eq!(types(serde_json::json!(["q8_0", "iq4_nl"])), Some(pair));
        assert_eq!(types("q9".into()), None);
    }
}
