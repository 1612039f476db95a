//! What a generation takes.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::lora::Lora;
use super::table::options;
use crate::Token;

options! {
    /// What a generation is to do.
    pub struct GenerateOptions with generate_setters {
        /// Most tokens to generate. Default: to the end that the model chooses, or of the context.
        max_tokens: u32,
        /// Seconds from the call on after which the generation ends with what there is, as if it were
        /// cancelled. Default: none.
        timeout: f32,
        /// Divides the logits before the draw: below 1 sharpens, above 1 flattens, 0 always takes the
        /// likeliest token. Default: 0.8.
        temperature: f32,
        /// Keep the K likeliest tokens; 0 keeps all. Default: 40.
        top_k: u32,
        /// Keep the likeliest tokens that together have probability P; 1 keeps all. Default: 0.95.
        top_p: f32,
        /// Keep tokens at least P times as likely as the likeliest; 0 keeps all. Default: 0.05.
        min_p: f32,
        /// Locally typical sampling with mass P (arXiv:2202.00666); 1 is off. Default: 1.
        typical_p: f32,
        /// Keep logits within N standard deviations of the highest (arXiv:2411.07641); -1 is off.
        /// Default: -1.
        top_n_sigma: f32,
        /// Chance to exclude the top choices; 0 is off. Default: 0.
        xtc_probability: f32,
        /// Probability above which a token counts as a top choice for XTC. Default: 0.1.
        xtc_threshold: f32,
        /// Half the width of the range of the dynamic temperature; 0 is off. Default: 0.
        dynatemp_range: f32,
        /// How entropy maps to the dynamic temperature. Default: 1.
        dynatemp_exponent: f32,
        /// Strength of the DRY penalty against repeated sequences; 0 is off. Default: 0.
        dry_multiplier: f32,
        /// Base of the DRY penalty, which grows with the length of a repetition. Default: 1.75.
        dry_base: f32,
        /// Longest repetition, in tokens, that DRY lets pass. Default: 2.
        dry_allowed_length: u32,
        /// Tokens that DRY looks back; 0 is off, -1 the whole context. Default: -1.
        dry_penalty_last_n: i32,
        /// Texts that end a repetition for DRY. Default: newline, `:`, `"` and `*`.
        dry_sequence_breakers <- Vec<String>,
        /// Mirostat (arXiv:2007.14966), version 1 or 2, in place of the truncating samplers; 0 is off.
        /// Default: 0.
        mirostat: u32,
        /// Mirostat's target surprise, in bits. Default: 5.
        mirostat_tau: f32,
        /// Mirostat's learning rate. Default: 0.1.
        mirostat_eta: f32,
        /// Divides the logits of recent tokens; 1 is off. Default: 1.
        repeat_penalty: f32,
        /// Taken from a recent token's logit for each time it occurred; 0 is off. Default: 0.
        frequency_penalty: f32,
        /// Taken from a recent token's logit if it occurred at all; 0 is off. Default: 0.
        presence_penalty: f32,
        /// Tokens that the three penalties look back, the prompt's included; 0 is off, -1 the whole
        /// context. Default: 64.
        repeat_last_n: i32,
        /// Added to the logits of tokens, by id; `false` in place of a number forbids the token.
        /// Default: none.
        logit_bias <- LogitBias,
        /// Seed of the draw: the same seed gives the same text, as long as no other request runs beside it
        /// (what is computed together differs in the last bits). Such a prompt is always computed anew.
        /// Default: a random one.
        seed: u32,
        /// Texts that end the generation; they are not part of the result. Default: none.
        stop <- Stop,
        /// Whether to go on when the model says that it is done. Default: false.
        ignore_eos: bool,
        /// A grammar (GBNF) that the text must follow. Default: none.
        grammar <- String,
        /// A JSON schema that the text must follow. Default: none.
        json_schema <- Value,
        /// LoRA adapters for this request in place of the model's: paths of GGUF files, alone or each with
        /// a scale; an empty list is the model without any. Default: what the model was loaded with, or
        /// `set_lora` set since.
        lora <- Lora,
        /// Most tokens to guess ahead in a step, from what followed in the text where it went the same way
        /// before (prompt lookup decoding). Each is held against the model's own choice, so that the text
        /// stays what it would be, but for ties: what is computed together differs in the last bits.
        /// Pays where answers repeat what the prompt says. Default: 0, which is off.
        prompt_lookup: u32,
        /// Report log probabilities: of each token and of this many likeliest alternatives.
        /// Default: off.
        logprobs: u32,
    }
}

/// Texts that end a generation.
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

/// What is added to the logits of tokens, by id.
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
            // What forbids a token is no number in JSON.
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
