//! The guesses of a request's next tokens: copied from earlier text, or made by the draft model.

use super::guess_budget::{GuessBudget, StepCosts};
use super::lookup::Lookup;
use super::request::MaxGuesses;
use crate::engine::Vocab;
use crate::sampling::{DraftSampler, Guess, Sampling};
use crate::{Result, Token};

/// The guesses of one request.
pub(super) struct Guesses {
    lookup: Option<Lookup>,
    model: Option<ModelGuesses>,
    /// The guesses of the current step.
    current: Vec<Guess>,
    are_copied: bool,
    /// Index in the current batch of the logits of the first guess.
    pub output: usize,
}

/// State of guessing with the draft model.
struct ModelGuesses {
    most: usize,
    guess_budget: GuessBudget,
    /// Created with the first guess.
    sampler: Option<DraftSampler>,
}

impl Guesses {
    /// Creates guesses with a request's limits.
    pub fn new(wanted: MaxGuesses) -> Self {
        let model = ModelGuesses {
            most: wanted.by_model as usize,
            guess_budget: GuessBudget::default(),
            sampler: None,
        };
        Self {
            lookup: (wanted.by_lookup > 0).then(|| Lookup::new(wanted.by_lookup as usize)),
            model: (wanted.by_model > 0).then_some(model),
            current: Vec::new(),
            are_copied: false,
            output: 0,
        }
    }

    /// The guesses of the current step.
    pub fn current(&self) -> &[Guess] {
        &self.current
    }

    /// Drops the guesses of the step.
    pub fn clear(&mut self) {
        self.current.clear();
    }

    /// Copies at most `most` tokens that followed similar earlier text, up to the next picture.
    pub fn copy(&mut self, known: &[Token], most: usize) {
        let Some(lookup) = &self.lookup else { return };
        let copied = lookup.draft(known, most).into_iter().take_while(|&token| token >= 0);
        self.current = copied.map(Guess::fixed).collect();
        self.are_copied = true;
    }

    /// Number of guesses that the draft model may make in this step. Call once per step.
    pub fn draft_count(&mut self) -> usize {
        let Some(model) = self.model.as_mut().filter(|_| self.current.is_empty()) else { return 0 };
        self.are_copied = false;
        if model.guess_budget.is_paused() { 0 } else { model.most }
    }

    /// Statistics of the draft model's guesses.
    pub fn guess_budget(&self) -> Option<&GuessBudget> {
        self.model.as_ref().map(|model| &model.guess_budget)
    }

    /// Pauses the draft model's guesses, because they do not pay.
    pub fn start_pause(&mut self) {
        self.model.iter_mut().for_each(|model| model.guess_budget.start_pause());
    }

    /// Makes a guess from the draft model's logits. Returns whether it is worth a place in the step. After an error,
    /// the request gets no more guesses from the draft model.
    pub fn add(
        &mut self,
        logits: &[f32],
        sampling: &Sampling,
        draws: bool,
        vocab: &Vocab,
        worth: (&StepCosts, usize),
    ) -> bool {
        let Some(model) = &mut self.model else { return false };
        let mut guess = || -> Result<(Guess, f64)> {
            let sampler = match &mut model.sampler {
                Some(sampler) => sampler,
                none => none.insert(DraftSampler::new(vocab, sampling, draws)?),
            };
            sampler.guess(logits)
        };
        match guess() {
            Ok((guess, confidence)) => {
                let is_worth_it = model.guess_budget.add(confidence, worth.0, worth.1);
                self.current.extend(is_worth_it.then_some(guess));
                is_worth_it
            }
            Err(error) => {
                log::warn!("the draft model is not used for a request: {error}");
                self.model = None;
                false
            }
        }
    }

    /// Records how many guesses of the step were right.
    pub fn record_outcome(&mut self, right: usize, costs: Option<&mut StepCosts>) {
        let made = std::mem::take(&mut self.current).len();
        if made == 0 {
            return;
        }
        if self.are_copied {
            self.lookup.iter_mut().for_each(|lookup| lookup.add_measurement(made, right));
        } else if let (Some(model), Some(costs)) = (&mut self.model, costs) {
            model.guess_budget.record_outcome(right, costs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_placeholders_are_never_guessed() {
        let mut guesses = Guesses::new(MaxGuesses { by_lookup: 4, by_model: 0 });
        guesses.copy(&[1, 2, 3, -7, -8, 1, 2], 4);
        let copied: Vec<_> = guesses.current().iter().map(|guess| guess.token).collect();
        assert_eq!(copied, [3]);
        guesses.copy(&[1, 2, -7, -8, 1, 2], 4);
        assert!(guesses.current().is_empty());
    }
}
