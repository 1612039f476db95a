//! All sampling options with their values.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use mullama_base::Text;
use mullama_sys as sys;

use super::reasoning::ReasoningSpec;
use crate::engine::Vocab;
use crate::options::{GenerateOptions, SamplerKind, SamplerOptions};
use crate::{Error, Result, Token};

/// The sampling settings of a request, with all defaults applied.
#[derive(Debug, Clone)]
pub(crate) struct Sampling {
    pub options: SamplerOptions,
    pub logit_bias: BTreeMap<Token, f32>,
    pub seed: Option<u32>,
    /// The limit on a chat's reasoning.
    pub reasoning: Option<ReasoningSpec>,
}

impl Deref for Sampling {
    type Target = SamplerOptions;

    fn deref(&self) -> &SamplerOptions {
        &self.options
    }
}

impl Sampling {
    /// Resolves each setting: the requested value, else the model's recommendation, else the default.
    pub fn resolve(asked: &GenerateOptions, model: &GenerateOptions) -> Result<Self> {
        asked.check()?;
        model.check()?;
        let bias = asked.logit_bias.as_ref().or(model.logit_bias.as_ref());
        let options = SamplerOptions::resolve(asked, model);
        if options.mirostat > 0 {
            if options.adaptive_p >= 0.0 {
                let problem = Text::with_names("cannot be combined with {mirostat}");
                return Err(Error::option("adaptive_p", problem));
            }
            if options.samplers != SamplerKind::ALL {
                let problem =
                    Text::with_names("cannot be combined with {mirostat}, which replaces them");
                return Err(Error::option("samplers", problem));
            }
        }
        for (index, kind) in options.samplers.iter().enumerate() {
            if options.samplers[..index].contains(kind) {
                let name = serde_json::to_string(kind).unwrap_or_default();
                return Err(Error::option("samplers", format!("names {name} twice")));
            }
        }
        Ok(Self {
            options,
            logit_bias: bias.map(|bias| bias.0.clone()).unwrap_or_default(),
            seed: asked.seed.or(model.seed),
            reasoning: None,
        })
    }

    /// Whether the most likely token is always chosen, so that only biases have an effect.
    pub(super) fn is_greedy(&self) -> bool {
        self.temperature == 0.0
            && self.dynatemp_range == 0.0
            && self.mirostat == 0
            && !self.uses_dry()
            && !self.uses_penalties()
    }

    /// Logit biases, including those of forbidden tokens. Applied before the other samplers.
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
        // The model file lists suppressed tokens; invalid ids are ignored.
        let suppressed = vocab.suppressed().iter().copied();
        biases.extend(suppressed.filter(|&token| vocab.check(token).is_ok()).map(forbid));
        if self.ignore_eos {
            biases.extend(vocab.ends_of_generation().iter().copied().map(forbid));
        }
        let is_forbidden = |bias: &&sys::llama_logit_bias| bias.bias == f32::NEG_INFINITY;
        let forbidden: BTreeSet<_> = biases.iter().filter(is_forbidden).map(|b| b.token).collect();
        if forbidden.len() == vocab.len() {
            return Err(Error::option("logit_bias", "forbids every token"));
        }
        Ok(biases)
    }

    /// Whether tokens are drawn without a seed from a distribution that does not depend on earlier draws. (Mirostat
    /// and Adaptive-P adapt theirs.)
    pub(super) fn is_unseeded_draw(&self) -> bool {
        let is_random = self.temperature > 0.0 || self.dynatemp_range > 0.0;
        is_random && self.mirostat == 0 && self.adaptive_p < 0.0 && self.seed.is_none()
    }

    /// The settings for guesses: without options that depend on earlier tokens, and greedy unless `draws` is set.
    pub(super) fn for_guesses(&self, draws: bool) -> Self {
        let mut sampling = Self { seed: None, reasoning: None, ..self.clone() };
        let options = &mut sampling.options;
        (options.repeat_last_n, options.dry_multiplier, options.mirostat) = (0, 0.0, 0);
        (options.xtc_probability, options.adaptive_p) = (0.0, -1.0);
        if !draws {
            (options.temperature, options.dynatemp_range) = (0.0, 0.0);
        }
        sampling
    }

    /// Whether the DRY penalty is on.
    pub(super) fn uses_dry(&self) -> bool {
        self.dry_multiplier > 0.0 && self.samplers.contains(&SamplerKind::Dry)
    }

    /// Whether penalties on single tokens are on.
    pub(super) fn uses_penalties(&self) -> bool {
        self.repeat_last_n != 0
            && self.samplers.contains(&SamplerKind::Penalties)
            && (self.repeat_penalty != 1.0
                || self.frequency_penalty != 0.0
                || self.presence_penalty != 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_override_model_defaults() {
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
        assert!(refused(default().with_adaptive_p(1.5)).contains("`adaptive_p`"));
        let twice = default().with_samplers(vec![SamplerKind::TopK, SamplerKind::TopK]);
        assert_eq!(refused(twice), "option `samplers`: names \"top_k\" twice");
        let ordered = default().with_samplers(vec![SamplerKind::TopK]).with_mirostat(2);
        assert!(refused(ordered).contains("cannot be combined with `mirostat`"));
        assert!(refused(default().with_adaptive_p(0.5).with_mirostat(1)).contains("`adaptive_p`"));
    }
}
