//! Every sampling option with its value.

use std::collections::BTreeMap;

use mullama_sys as sys;
use serde::Serialize;

use super::reasoning::ReasoningSpec;
use crate::engine::Vocab;
use crate::options::{GenerateOptions, LogitBias};
use crate::{Error, Result, Token};

/// `LLAMA_DEFAULT_SEED`, which the engine reads as "draw a random one".
pub(super) const RANDOM_SEED: u32 = u32::MAX;

/// Every sampling option with its value: what was asked for, else what the model recommends, else
/// the default.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sampling {
    pub temperature: f32,
    pub top_k: u32,
    pub top_p: f32,
    pub min_p: f32,
    pub typical_p: f32,
    pub top_n_sigma: f32,
    pub xtc_probability: f32,
    pub xtc_threshold: f32,
    pub dynatemp_range: f32,
    pub dynatemp_exponent: f32,
    pub dry_multiplier: f32,
    pub dry_base: f32,
    pub dry_allowed_length: u32,
    pub dry_penalty_last_n: i32,
    pub dry_sequence_breakers: Vec<String>,
    pub mirostat: u32,
    pub mirostat_tau: f32,
    pub mirostat_eta: f32,
    pub repeat_penalty: f32,
    pub frequency_penalty: f32,
    pub presence_penalty: f32,
    pub repeat_last_n: i32,
    pub ignore_eos: bool,
    #[serde(skip)]
    pub logit_bias: BTreeMap<Token, f32>,
    #[serde(skip)]
    pub seed: Option<u32>,
    /// Of a chat: a bound on its reasoning.
    #[serde(skip)]
    pub reasoning: Option<ReasoningSpec>,
}

impl Sampling {
    /// Settles every option; `model` holds what the model recommends.
    pub fn resolve(asked: &GenerateOptions, model: &GenerateOptions) -> Result<Self> {
        macro_rules! pick {
            ($field:ident, $default:expr) => {
                asked.$field.clone().or(model.$field.clone()).unwrap_or($default)
            };
        }
        let breakers = || ["\n", ":", "\"", "*"].map(str::to_owned).to_vec();
        let sampling = Self {
            temperature: pick!(temperature, 0.8),
            top_k: pick!(top_k, 40),
            top_p: pick!(top_p, 0.95),
            min_p: pick!(min_p, 0.05),
            typical_p: pick!(typical_p, 1.0),
            top_n_sigma: pick!(top_n_sigma, -1.0),
            xtc_probability: pick!(xtc_probability, 0.0),
            xtc_threshold: pick!(xtc_threshold, 0.1),
            dynatemp_range: pick!(dynatemp_range, 0.0),
            dynatemp_exponent: pick!(dynatemp_exponent, 1.0),
            dry_multiplier: pick!(dry_multiplier, 0.0),
            dry_base: pick!(dry_base, 1.75),
            dry_allowed_length: pick!(dry_allowed_length, 2),
            dry_penalty_last_n: pick!(dry_penalty_last_n, -1),
            dry_sequence_breakers: pick!(dry_sequence_breakers, breakers()),
            mirostat: pick!(mirostat, 0),
            mirostat_tau: pick!(mirostat_tau, 5.0),
            mirostat_eta: pick!(mirostat_eta, 0.1),
            repeat_penalty: pick!(repeat_penalty, 1.0),
            frequency_penalty: pick!(frequency_penalty, 0.0),
            presence_penalty: pick!(presence_penalty, 0.0),
            repeat_last_n: pick!(repeat_last_n, 64),
            ignore_eos: pick!(ignore_eos, false),
            logit_bias: pick!(logit_bias, LogitBias::default()).0,
            seed: asked.seed.or(model.seed),
            reasoning: None,
        };
        sampling.validate()?;
        Ok(sampling)
    }

    fn validate(&self) -> Result<()> {
        let finite = |value: f32| value.is_finite();
        let not_negative = |value: f32| value.is_finite() && value >= 0.0;
        let fraction = |value: f32| (0.0..=1.0).contains(&value);
        let look_back = |value: i32| value >= -1;
        let checks: [(&str, bool, &str); 19] = [
            ("seed", self.seed != Some(RANDOM_SEED), "must be less than 4294967295"),
            ("temperature", not_negative(self.temperature), "must be 0 or more"),
            ("top_p", fraction(self.top_p), "must lie between 0 and 1"),
            ("min_p", fraction(self.min_p), "must lie between 0 and 1"),
            ("typical_p", fraction(self.typical_p), "must lie between 0 and 1"),
            ("top_n_sigma", finite(self.top_n_sigma), "must be a number"),
            ("xtc_probability", fraction(self.xtc_probability), "must lie between 0 and 1"),
            ("xtc_threshold", fraction(self.xtc_threshold), "must lie between 0 and 1"),
            ("dynatemp_range", not_negative(self.dynatemp_range), "must be 0 or more"),
            ("dynatemp_exponent", not_negative(self.dynatemp_exponent), "must be 0 or more"),
            ("dry_multiplier", not_negative(self.dry_multiplier), "must be 0 or more"),
            ("dry_base", not_negative(self.dry_base), "must be 0 or more"),
            ("dry_penalty_last_n", look_back(self.dry_penalty_last_n), "must be -1 or more"),
            ("mirostat", self.mirostat <= 2, "must be 0, 1 or 2"),
            ("mirostat_tau", not_negative(self.mirostat_tau), "must be 0 or more"),
            ("mirostat_eta", not_negative(self.mirostat_eta), "must be 0 or more"),
            (
                "repeat_penalty",
                self.repeat_penalty.is_normal() && self.repeat_penalty > 0.0,
                "must be more than 0",
            ),
            ("repeat_last_n", look_back(self.repeat_last_n), "must be -1 or more"),
            (
                "frequency_penalty",
                finite(self.frequency_penalty) && finite(self.presence_penalty),
                "penalties must be numbers",
            ),
        ];
        match checks.iter().find(|(_, holds, _)| !holds) {
            Some((name, _, problem)) => Err(Error::option(name, problem)),
            None => Ok(()),
        }
    }

    /// Whether the likeliest token is all that is asked for: no sampler but the biases changes a thing.
    pub(super) fn is_greedy(&self) -> bool {
        self.temperature == 0.0
            && self.dynatemp_range == 0.0
            && self.mirostat == 0
            && self.dry_multiplier == 0.0
            && !self.penalises()
    }

    /// What is added to the logits of tokens before anything else.
    pub(super) fn biases(&self, vocab: &Vocab) -> Result<Vec<sys::llama_logit_bias>> {
        let mut biases: Vec<_> = self
            .logit_bias
            .iter()
            .map(|(&token, &bias)| {
                vocab.check(token).map(|()| sys::llama_logit_bias { token, bias })
            })
            .collect::<Result<_>>()
            .map_err(|error| Error::option("logit_bias", error))?;
        let forbid = |token| sys::llama_logit_bias { token, bias: f32::NEG_INFINITY };
        // The file says which, and may be wrong.
        let suppressed = vocab.suppressed().iter().copied();
        biases.extend(suppressed.filter(|&token| vocab.check(token).is_ok()).map(forbid));
        if self.ignore_eos {
            biases.extend(vocab.ends_of_generation().iter().copied().map(forbid));
        }
        Ok(biases)
    }

    pub(super) fn penalises(&self) -> bool {
        self.repeat_last_n != 0
            && (self.repeat_penalty != 1.0
                || self.frequency_penalty != 0.0
                || self.presence_penalty != 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_beats_the_model_and_the_model_beats_the_default() {
        let asked = GenerateOptions::default().with_top_k(7);
        let model = GenerateOptions::default().with_top_k(9).with_min_p(0.2);
        let sampling = Sampling::resolve(&asked, &model).unwrap();
        assert_eq!((sampling.top_k, sampling.min_p, sampling.top_p), (7, 0.2, 0.95));
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let refused = |options: GenerateOptions| {
            Sampling::resolve(&options, &GenerateOptions::default()).unwrap_err().to_string()
        };
        let default = GenerateOptions::default;
        assert!(refused(default().with_temperature(-1.0)).contains("`temperature`"));
        assert!(refused(default().with_temperature(f32::NAN)).contains("`temperature`"));
        assert!(refused(default().with_top_p(1.1)).contains("`top_p`"));
        assert!(refused(default().with_mirostat(3)).contains("`mirostat`"));
        assert!(refused(default().with_repeat_penalty(0.0)).contains("`repeat_penalty`"));
        assert!(refused(default().with_repeat_last_n(-2)).contains("`repeat_last_n`"));
    }
}
