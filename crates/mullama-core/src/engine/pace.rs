//! How much of a prompt goes into a step while others are generating.

use std::time::Duration;

/// Part of what a step may take longer that is used: steps vary.
const CAUTION: f64 = 0.8;

/// The weight of a new measurement against those before.
const NEWEST: f64 = 0.2;

/// The part of a prompt's time that it is worth to wait for others to share its step, and the most.
const GRACE: f64 = 0.01;
const MOST_GRACE: f64 = 0.003;

/// Fewer tokens of a prompt than this make slow progress for little.
const FEWEST: usize = 4;

/// Learns from the steps that were made what the next may hold: a step with tokens of a prompt should
/// take at most `max_stall` times as long as one without.
pub(super) struct Pace {
    max_stall: f64,
    /// Seconds of a step in which all are generating.
    alone: Option<f64>,
    /// Seconds that a token of a prompt adds to a step.
    per_token: Option<f64>,
}

impl Pace {
    pub fn new(max_stall: f64) -> Self {
        Self { max_stall, alone: None, per_token: None }
    }

    /// Notes how long a step took.
    pub fn note(&mut self, generating: bool, prompt_tokens: usize, took: Duration) {
        let took = took.as_secs_f64();
        let learn = |known: &mut Option<f64>, new: f64| {
            *known = Some(known.map_or(new, |known| known + NEWEST * (new - known)));
        };
        match (generating, prompt_tokens) {
            (_, 0) => learn(&mut self.alone, took),
            (true, tokens) => {
                let more = (took - self.alone.unwrap_or(0.0)).max(0.0);
                learn(&mut self.per_token, more / tokens as f64);
            }
            // A large piece tells what a token costs in a large piece; better than nothing.
            (false, tokens) if self.per_token.is_none() => {
                self.per_token = Some(took / tokens as f64);
            }
            _ => {}
        }
    }

    /// How long to wait for more requests when one with a prompt of so many tokens comes to an idle engine:
    /// prompts that are computed together are computed sooner, and those that come at once come one by one.
    pub fn grace(&self, prompt_tokens: usize) -> Duration {
        let seconds = self.per_token.unwrap_or(0.0) * prompt_tokens as f64 * GRACE;
        Duration::from_secs_f64(seconds.clamp(0.0, MOST_GRACE))
    }

    /// How many tokens of prompts the next step may have.
    pub fn prompt_tokens(&self) -> usize {
        match (self.alone, self.per_token) {
            (Some(alone), Some(per_token)) if per_token > 0.0 => {
                let time = alone * (self.max_stall - 1.0) * CAUTION;
                ((time / per_token) as usize).max(FEWEST)
            }
            // Nothing is known yet: one small piece will tell.
            _ => 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_grow_to_what_steps_may_take() {
        let ms = |ms: f64| Duration::from_secs_f64(ms / 1e3);
        let mut pace = Pace::new(4.0);
        for _ in 0..50 {
            pace.note(true, 0, ms(10.0));
        }
        // A step costs 10 ms and half a millisecond for each token of a prompt.
        for _ in 0..50 {
            let tokens = pace.prompt_tokens();
            pace.note(true, tokens, ms(10.0 + tokens as f64 * 0.5));
        }
        let tokens = pace.prompt_tokens();
        assert!((46..=48).contains(&tokens), "{tokens} tokens make 34 ms, which is below 40");
    }

    #[test]
    fn a_short_prompt_waits_for_nobody() {
        let mut pace = Pace::new(4.0);
        assert_eq!(pace.grace(1000), Duration::ZERO, "nothing is known yet");
        pace.note(false, 100, Duration::from_millis(100));
        assert_eq!(pace.grace(10), Duration::from_micros(100));
        assert_eq!(pace.grace(1_000_000), Duration::from_millis(3));
    }
}
