//! Chooses guesses from a draft model's logits.

use super::guess::Guess;
use super::sampler::{Sampler, are_valid_logits, invalid_logits, nothing_left};
use super::settings::Sampling;
use crate::Result;
use crate::engine::Vocab;

/// Chooses the guesses of one request.
pub(crate) struct DraftSampler {
    sampler: Sampler,
    draws: bool,
}

impl DraftSampler {
    /// A sampler for a request's guesses. They are drawn at random if `draws` is set, and the most likely tokens
    /// otherwise.
    pub fn new(vocab: &Vocab, sampling: &Sampling, draws: bool) -> Result<Self> {
        let sampling = sampling.for_guesses(draws);
        // These samplers do not look back, so neither the prompt nor the context size matters.
        Ok(Self { sampler: Sampler::new(vocab, &sampling, None, &[], 1)?, draws })
    }

    /// A guess, and the draft model's confidence that it is right: its probability. For a drawn guess the confidence is
    /// 1, and only measurements show how often it is right.
    pub fn guess(&mut self, logits: &[f32]) -> Result<(Guess, f64)> {
        if self.draws {
            let (token, distribution) = self.sampler.draw(logits)?;
            return Ok((Guess { token, drawn_from: Some(distribution) }, 1.0));
        }
        if !are_valid_logits(logits) {
            return Err(invalid_logits());
        }
        let token = self.sampler.choose(logits)?.ok_or_else(nothing_left)?;
        let chosen = logits[token as usize];
        let sum: f32 = logits.iter().map(|logit| (logit - chosen).exp()).sum();
        Ok((Guess::fixed(token), f64::from(1.0 / sum)))
    }
}
