//! Decides how far ahead guessing pays.
//!
//! A guess costs a step of the draft model and one more token in a step of the model. It saves a step of the model if
//! it is right. The times of steps and the share of right guesses are measured.

use super::linear_fit::{LinearFit, STEP_DECAY};

/// Number of guesses made before their cost is known.
const FIRST_GUESSES: usize = 2;

/// Weight of the record of other requests, in guesses.
const PRIOR_WEIGHT: f64 = 4.0;

/// Factor by which the weight of a request's guesses decays with each step.
const GUESS_DECAY: f64 = 0.9;

/// Number of tokens without guesses after guessing did not pay: the first time, and at most.
const FIRST_PAUSE: usize = 16;
const MAX_PAUSE: usize = 512;

/// The measured times of steps, and the record of all requests' guesses.
#[derive(Debug)]
pub(super) struct StepCosts {
    /// Steps of the model, without tokens of prompts.
    pub step: LinearFit,
    /// Steps of the draft model.
    pub draft: LinearFit,
    record: GuessRecord,
}

impl Default for StepCosts {
    fn default() -> Self {
        // Guesses are assumed to be right until measured.
        let record =
            GuessRecord { made: PRIOR_WEIGHT, expected: PRIOR_WEIGHT, right: PRIOR_WEIGHT };
        Self { step: LinearFit::default(), draft: LinearFit::default(), record }
    }
}

/// Number of guesses, of those expected to be right, and of those that were right.
#[derive(Debug, Clone, Copy, Default)]
struct GuessRecord {
    made: f64,
    expected: f64,
    right: f64,
}

impl GuessRecord {
    fn add_measurement(&mut self, memory: f64, confidences: &[f64], right: usize) {
        // Guesses after a wrong one were not tested.
        let tried = confidences.len().min(right + 1);
        let expected: f64 = confidences[..tried].iter().sum();
        for (sum, more) in [
            (&mut self.made, tried as f64),
            (&mut self.expected, expected),
            (&mut self.right, right as f64),
        ] {
            *sum = *sum * memory + more;
        }
    }

    fn weighted_sum(self, other: Self, weight: f64) -> Self {
        Self {
            made: self.made + other.made * weight,
            expected: self.expected + other.expected * weight,
            right: self.right + other.right * weight,
        }
    }
}

/// The statistics of one request's guesses.
#[derive(Debug, Default)]
pub(super) struct GuessBudget {
    record: GuessRecord,
    /// Tokens until guesses are tried again, and length of the next pause.
    pause: usize,
    next_pause: usize,
    /// Whether this step's guesses are a trial after a pause.
    is_trial: bool,
    /// The confidence of each guess of this step, and the probability that all are right.
    confidences: Vec<f64>,
    all_right: f64,
}

impl GuessBudget {
    /// Whether this step has no guesses. Call once per step.
    pub fn is_paused(&mut self) -> bool {
        self.confidences.clear();
        self.all_right = 1.0;
        let was_resting = self.pause > 0;
        self.pause = self.pause.saturating_sub(1);
        self.is_trial = was_resting && self.pause == 0;
        self.pause > 0
    }

    /// Pauses guessing, because it does not pay.
    pub fn start_pause(&mut self) {
        self.pause = self.next_pause.clamp(FIRST_PAUSE, MAX_PAUSE);
        self.next_pause = self.pause * 2;
    }

    /// Estimated probability that the next guess and all before it are right, before it is made.
    fn next(&self, costs: &StepCosts) -> f64 {
        let known = self.estimate(costs);
        self.all_right * (known.right / known.made.max(f64::MIN_POSITIVE)).min(1.0)
    }

    fn estimate(&self, costs: &StepCosts) -> GuessRecord {
        self.record.weighted_sum(costs.record, PRIOR_WEIGHT / costs.record.made.max(PRIOR_WEIGHT))
    }

    /// Records a guess with the draft model's confidence. Returns whether it is worth a place in the model's step, in
    /// which `streaming` requests have a token.
    pub fn add(&mut self, confidence: f64, costs: &StepCosts, streaming: usize) -> bool {
        let known = self.estimate(costs);
        let trust = known.right / known.expected.max(f64::MIN_POSITIVE);
        let all_right = self.all_right * (confidence * trust).min(1.0);
        let gain = costs.step.at(streaming).unwrap_or(0.0) / streaming as f64 * all_right;
        let is_first_trial = self.is_trial && self.confidences.is_empty();
        if gain < costs.step.slope() && !is_first_trial {
            // It is not tested, so the draft model's confidence is recorded as the result.
            let missed =
                GuessRecord { made: 1.0, expected: confidence, right: confidence * trust.min(1.0) };
            self.record = self.record.weighted_sum(missed, 1.0);
            return false;
        }
        self.all_right = all_right;
        self.confidences.push(confidence);
        true
    }

    /// Records how many guesses of the step were right.
    pub fn record_outcome(&mut self, right: usize, costs: &mut StepCosts) {
        self.record.add_measurement(GUESS_DECAY, &self.confidences, right);
        costs.record.add_measurement(STEP_DECAY, &self.confidences, right);
        if right > 0 {
            self.next_pause = FIRST_PAUSE;
        }
    }
}

impl StepCosts {
    /// Whether one more step of the draft model pays, with a guess for each of these requests, if `streaming` requests
    /// have a token in the model's step.
    pub fn are_guesses_profitable<'a>(
        &self,
        paces: impl Iterator<Item = &'a GuessBudget>,
        guesses_made: usize,
        streaming: usize,
    ) -> bool {
        let (mut count, mut right, mut is_trial) = (0, 0.0, false);
        for guess_budget in paces {
            count += 1;
            right += guess_budget.next(self);
            is_trial |= guess_budget.is_trial && guess_budget.confidences.is_empty();
        }
        let (Some(step), Some(draft)) = (self.step.at(streaming), self.draft.at(count)) else {
            return guesses_made < FIRST_GUESSES;
        };
        let gain = step / streaming as f64 * right;
        is_trial || gain > draft + self.step.slope() * count as f64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn costs(step: f64, more: f64, draft: f64) -> StepCosts {
        let mut costs = StepCosts::default();
        for tokens in (1..=4).cycle().take(40) {
            costs.step.add_measurement(
                tokens,
                Duration::from_secs_f64(step + more * (tokens - 1) as f64),
            );
            costs.draft.add_measurement(1, Duration::from_secs_f64(draft));
        }
        costs
    }

    /// Number of guesses made if the given share of them is right.
    fn guesses(costs: &StepCosts, right: f64) -> usize {
        let record = GuessRecord { made: 1e3, expected: 1e3, right: 1e3 * right };
        let mut guess_budget = GuessBudget { record, ..GuessBudget::default() };
        assert!(!guess_budget.is_paused());
        let pays = |guess_budget: &mut GuessBudget, made| {
            costs.are_guesses_profitable(std::iter::once(&*guess_budget), made, 1)
                && guess_budget.add(1.0, costs, 1)
        };
        (0..32).take_while(|&made| pays(&mut guess_budget, made)).count()
    }

    #[test]
    fn guess_count_grows_with_acceptance_and_low_cost() {
        let cheap = costs(0.010, 0.0001, 0.001);
        assert_eq!(
            guesses(&cheap, 0.5),
            3,
            "an eighth is worth more than 1.1 ms, a sixteenth is not"
        );
        assert!(guesses(&cheap, 0.9) > 15);
        assert_eq!(guesses(&cheap, 0.1), 0);
        assert_eq!(guesses(&costs(0.010, 0.006, 0.001), 0.6), 0, "each takes 7 ms and saves 6");
        assert_eq!(guesses(&costs(0.010, 0.002, 0.006), 0.85), 1);
    }

    #[test]
    fn unprofitable_guesses_are_tried_less_often() {
        let mut costs = costs(0.010, 0.001, 0.005);
        let mut guess_budget = GuessBudget::default();
        let mut trials = Vec::new();
        for token in 0..2000 {
            if guess_budget.is_paused() {
                continue;
            }
            if !costs.are_guesses_profitable(std::iter::once(&guess_budget), 0, 1) {
                guess_budget.start_pause();
                continue;
            }
            guess_budget.add(0.9, &costs, 1);
            guess_budget.record_outcome(0, &mut costs);
            trials.push(token);
        }
        assert!((3..20).contains(&trials.len()), "{trials:?}");
        let mut gaps = trials.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.clone().max() > Some(400), "{trials:?}");
        assert!(gaps.all(|gap| gap <= 2 * MAX_PAUSE), "{trials:?}");
    }

    #[test]
    fn new_requests_use_acceptance_of_earlier_requests() {
        let mut costs = costs(0.010, 0.001, 0.005);
        let begins = |costs: &StepCosts| {
            let mut guess_budget = GuessBudget::default();
            assert!(!guess_budget.is_paused());
            costs.are_guesses_profitable(std::iter::once(&guess_budget), 0, 1)
        };
        assert!(begins(&costs));
        let mut other = GuessBudget::default();
        for _ in 0..50 {
            other.is_paused();
            other.confidences.push(0.9);
            other.record_outcome(0, &mut costs);
        }
        assert!(!begins(&costs));
    }
}
