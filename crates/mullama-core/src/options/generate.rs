//! The options of a generation.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::kind::{FlagForm, JsonSchema, option_type};
use super::lora::Lora;
use super::processors::LogitsProcessors;
use super::range::{Finite, MoreThan};
use super::samplers::SamplerKind;
use super::table::options;
use crate::Token;

/// `LLAMA_DEFAULT_SEED`, which the engine reads as "draw a random one".
pub(crate) const RANDOM_SEED: u32 = u32::MAX;

options! {
    /// Options of a generation.
    pub struct GenerateOptions with generate_setters sampled as SamplerOptions {
        /// Maximum number of tokens to generate; 0 only processes the prompt, for later requests
        /// that start with it, -1 is the default. Default: until the model stops or the context is full.
        max_tokens: u32; minus_one Default; shown true,
        /// Time limit in seconds, from the call on. The generation then ends with the partial
        /// answer, as if it were cancelled. Default: none.
        timeout: f32,
        /// Sampling temperature, which divides the logits: values below 1 sharpen the distribution,
        /// values above 1 flatten it, 0 always picks the most likely token.
        temperature: f32 [temperature = 0.8]; in 0.0..; key "general.sampling.temp"; shown true,
        /// Limit sampling to the K most likely tokens; 0 or -1 turns it off.
        top_k: u32 [top_k = 40]; minus_one Zero; key "general.sampling.top_k"; shown true,
        /// Limit sampling to the most likely tokens whose probabilities add up to P; 1 turns it
        /// off.
        top_p: f32 [top_p = 0.95]; in 0.0..=1.0; key "general.sampling.top_p"; shown true,
        /// Limit sampling to tokens at least P times as likely as the most likely one; 0 turns it
        /// off.
        min_p: f32 [min_p = 0.05]; in 0.0..=1.0; key "general.sampling.min_p"; shown true,
        /// Locally typical sampling with mass P (arXiv:2202.00666); 1 turns it off.
        typical_p: f32 [typical_p = 1.0]; in 0.0..=1.0,
        /// Limit sampling to logits within N standard deviations of the highest (arXiv:2411.07641);
        /// -1 turns it off.
        top_n_sigma: f32 [top_n_sigma = -1.0]; in Finite,
        /// Probability of excluding the top choices; 0 turns it off.
        xtc_probability: f32 [xtc = 0.0]; in 0.0..=1.0; key "general.sampling.xtc_probability",
        /// Probability above which a token counts as a top choice for XTC.
        xtc_threshold: f32 [xtc = 0.1]; in 0.0..=1.0; key "general.sampling.xtc_threshold",
        /// Half the width of the dynamic temperature's range; 0 turns it off.
        dynatemp_range: f32 [temperature = 0.0]; in 0.0..,
        /// How entropy maps to the dynamic temperature.
        dynatemp_exponent: f32 [temperature = 1.0]; in 0.0..,
        /// Strength of the DRY penalty against repeated sequences; 0 turns it off.
        dry_multiplier: f32 [dry = 0.0]; in 0.0..,
        /// Base of the DRY penalty, which grows with the length of a repetition.
        dry_base: f32 [dry = 1.75]; in 0.0..,
        /// Longest repetition, in tokens, that DRY does not penalise.
        dry_allowed_length: u32 [dry = 2],
        /// Number of previous tokens that DRY considers; 0 turns it off, -1 means the whole
        /// context.
        dry_penalty_last_n: i32 [dry = -1]; in -1..,
        /// Texts that end a repetition for DRY.
        dry_sequence_breakers <- Vec<String> [dry = dry_breakers() => "newline, `:`, `\"` and `*`"],
        /// Mirostat (arXiv:2007.14966), version 1 or 2, which replaces the truncating samplers; 0
        /// turns it off.
        mirostat: u32 [mirostat = 0]; in 0..=2; key "general.sampling.mirostat",
        /// Mirostat's target surprise, in bits.
        mirostat_tau: f32 [mirostat = 5.0]; in 0.0..; key "general.sampling.mirostat_tau",
        /// Mirostat's learning rate.
        mirostat_eta: f32 [mirostat = 0.1]; in 0.0..; key "general.sampling.mirostat_eta",
        /// Adaptive-P: the probability near which tokens are chosen over time; -1 turns it off.
        /// Best with `min_p` as the only truncating sampler.
        adaptive_p: f32 [adaptive_p = -1.0]; in -1.0..=1.0,
        /// How fast Adaptive-P forgets earlier tokens: it looks back on about 1 / (1 - decay) of
        /// them.
        adaptive_p_decay: f32 [adaptive_p = 0.9]; in 0.0..=0.99,
        /// Divides the logits of recent tokens; 1 turns it off.
        repeat_penalty: f32 [penalties = 1.0]; in MoreThan(0.0); key "general.sampling.penalty_repeat",
        /// Subtracted from a recent token's logit for each occurrence; 0 turns it off.
        frequency_penalty: f32 [penalties = 0.0]; in Finite,
        /// Subtracted from a recent token's logit if it occurred at all; 0 turns it off.
        presence_penalty: f32 [penalties = 0.0]; in Finite,
        /// Number of previous tokens that the three penalties consider, including the prompt's; 0
        /// turns them off, -1 means the whole context.
        repeat_last_n: i32 [penalties = 64]; in -1..; key "general.sampling.penalty_last_n",
        /// The samplers that run, in this order. Samplers that are not named do not run; with
        /// `temperature` 0, the most likely of the remaining tokens is chosen in any case. Not for
        /// `mirostat`.
        samplers: Vec<SamplerKind> [samplers = SamplerKind::ALL.to_vec() => "penalties, dry, top_n_sigma, top_k, typical_p, top_p, min_p, xtc, temperature"],
        /// Functions that change the logits before the samplers see them. Each is called with the
        /// tokens so far, those of the prompt included, and with the logits, which it changes in
        /// place. Default: none.
        logits_processors <- LogitsProcessors,
        /// Values added to the logits of tokens, by id; `false` instead of a number forbids the
        /// token. Default: none.
        logit_bias <- LogitBias,
        /// Random seed. The same seed, prompt and options produce the same text, except where
        /// concurrent requests, cached tokens or drafting change the last bits of the results;
        /// `reproducible` rules that out. -1 is the default. Default: random.
        seed: u32; in ..RANDOM_SEED; minus_one Default; short 's'; shown true,
        /// Whether results are the same to the last bit each time, on the same machine with the
        /// same model options. The request then runs alone, after the KV cache has been emptied,
        /// and without drafting; other requests wait. Set `seed` too, or `temperature` to 0.
        reproducible: bool = false,
        /// Stop sequences; they are not part of the result. Default: none.
        stop <- Stop; shown true,
        /// Texts that the generated text never contains, as they are written. When one has been
        /// generated, generation goes back to its first token and chooses another. Default: none.
        banned_phrases <- Vec<String>,
        /// Whether to continue when the model generates its end-of-generation token.
        ignore_eos: bool [logit_bias = false],
        /// What happens when the context is full. `error`: a prompt that is too long fails, and an
        /// answer ends there (finish reason `length`). `truncate`, for chats: the oldest turns are
        /// left out of the prompt. `shift`, for `generate` and `stream`: the oldest tokens are
        /// dropped, and the generation continues. `compact`, for conversations (`start_chat`): the
        /// oldest turns are replaced by a summary.
        overflow: Overflow = Overflow::Error => "`error`",
        /// The text after the gap to fill in (fill in the middle); the prompt is the text before
        /// it. For models that were trained for it. Default: none; the generated text continues the
        /// prompt.
        infill_suffix <- String,
        /// A grammar (GBNF) that the text must match. Default: none.
        grammar <- String,
        /// A Lark grammar that the text must match, in the dialect of llguidance: rules in lower
        /// case, terminals in upper case, `start` as the first rule, `%json {...}` for JSON
        /// schemas. Default: none.
        lark <- String,
        /// A regular expression that the whole text must match, in the syntax of Rust's library for
        /// them (<https://docs.rs/regex>). Default: none.
        regex <- String,
        /// A JSON schema that the text must match. Default: none.
        json_schema <- Value as JsonSchema; shown true,
        /// LoRA adapters for this request, instead of the model's: paths of GGUF files, each with
        /// an optional scale; an empty list turns adapters off. Default: the adapters that the
        /// model was loaded with or that `set_lora` has set since.
        lora <- Lora,
        /// Maximum number of tokens to draft per step, copied from the last place where the same
        /// tokens occurred (prompt lookup decoding). Each is verified against the model's own
        /// choice, so the text is the same except for ties: results of larger batches differ in the
        /// last bits. Useful when answers repeat the prompt.
        prompt_lookup: u32 = 0 => "0, which is off",
        /// How tokens are drafted: `model` by the draft model, `lookup` by prompt lookup (at most
        /// `prompt_lookup` tokens, or `draft_max`), `off` not at all, `auto` by the draft model if
        /// the model was loaded with one, and by prompt lookup if `prompt_lookup` is set. Drafting
        /// stops while it does not save time.
        draft: DraftMode = DraftMode::Auto => "`auto`"; flag "draft-mode",
        /// Maximum number of tokens that the draft model drafts per step; 0 turns it off. Within
        /// it, the number follows how many drafted tokens are accepted, and how long steps take.
        draft_max: u32 = 8,
        /// Priority among waiting requests: higher values run first.
        priority: i32 = 0,
        /// The client that the request belongs to. Waiting requests with the same priority are
        /// scheduled round-robin by client, so a client with many requests cannot starve others.
        /// Default: the same client for all.
        client <- String,
        /// The id of the request in `requests()` and for `cancel_request`, which no other active request
        /// may have. Default: a number.
        request_id <- String,
        /// Whether a stream reports the progress of prompt processing, in chunks before the first
        /// token.
        prompt_progress: bool = false,
        /// Return log probabilities of each token and of this many of the most likely alternatives.
        /// Default: off.
        logprobs: u32,
    }
}

/// The sequence breakers of llama.cpp (`common/common.h`).
fn dry_breakers() -> Vec<String> {
    ["\n", ":", "\"", "*"].map(str::to_owned).into()
}

/// How tokens are drafted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DraftMode {
    /// By the draft model, if there is one, and by prompt lookup, if that is on.
    #[default]
    Auto,
    /// No drafting.
    Off,
    /// By the draft model.
    Model,
    /// By prompt lookup.
    Lookup,
    /// By the model's own heads for multi-token prediction, which is not supported yet.
    Mtp,
}

/// What happens when the context is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Overflow {
    /// A prompt that is too long fails with the kind `ContextOverflow`; an answer ends with the finish reason
    /// `length`.
    #[default]
    Error,
    /// The oldest turns of a chat are left out of the prompt, with room for the answer: `max_tokens`, at most half of
    /// the context; without `max_tokens`, a quarter of it.
    Truncate,
    /// The oldest tokens are dropped, so that half of the context is free, and the generation continues. A control
    /// token at the start, such as the one that begins a text, stays.
    Shift,
    /// The oldest turns of a conversation are replaced by a summary.
    Compact,
}

option_type! {
    Overflow: r#"Literal["error", "truncate", "shift", "compact"]"#,
        "'error' | 'truncate' | 'shift' | 'compact'", FlagForm::Text("error|truncate|shift|compact");
    DraftMode: r#"Literal["auto", "off", "model", "lookup", "mtp"]"#,
        "'auto' | 'off' | 'model' | 'lookup' | 'mtp'", FlagForm::Text("auto|off|model|lookup|mtp");
    Stop: "str | Sequence[str]", "string | string[]", FlagForm::Texts;
    LogitBias: "Mapping[int, float | Literal[False]]", "Record<number, number | false>", FlagForm::Json;
}

/// Stop sequences.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stop(pub Vec<String>);

impl From<&str> for Stop {
    fn from(text: &str) -> Self {
        Self(vec![text.to_owned()])
    }
}

impl From<Vec<String>> for Stop {
    fn from(texts: Vec<String>) -> Self {
        Self(texts)
    }
}

impl<const N: usize> From<[&str; N]> for Stop {
    fn from(texts: [&str; N]) -> Self {
        Self(texts.map(str::to_owned).into())
    }
}

impl<'de> Deserialize<'de> for Stop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a string or a list of strings")]
        enum Raw {
            One(String),
            Many(Vec<String>),
        }
        Ok(Self(match Raw::deserialize(deserializer)? {
            Raw::One(text) => vec![text],
            Raw::Many(texts) => texts,
        }))
    }
}

/// Values added to the logits of tokens, by id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogitBias(pub BTreeMap<Token, f32>);

impl<const N: usize> From<[(Token, f32); N]> for LogitBias {
    fn from(pairs: [(Token, f32); N]) -> Self {
        Self(pairs.into())
    }
}

impl Serialize for LogitBias {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(token, bias)| match bias {
            // JSON has no minus infinity: `false` forbids a token.
            &f32::NEG_INFINITY => (token, Value::Bool(false)),
            bias => (token, Value::from(*bias)),
        }))
    }
}

impl<'de> Deserialize<'de> for LogitBias {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a number, or false to forbid the token")]
        enum Raw {
            Bias(f32),
            Allowed(bool),
        }
        let raw = BTreeMap::<Token, Raw>::deserialize(deserializer)?;
        let bias = raw.into_iter().filter_map(|(token, raw)| match raw {
            Raw::Bias(bias) => Some((token, bias)),
            Raw::Allowed(false) => Some((token, f32::NEG_INFINITY)),
            Raw::Allowed(true) => None,
        });
        Ok(Self(bias.collect()))
    }
}
