//! Decides how many prompt tokens go into a step while other requests generate.

use std::time::Duration;

/// The part of the allowed extra time that is used, because step times vary.
const SAFETY: f64 = 0.8;

/// Weight of a new measurement relative to the earlier ones.
const SMOOTHING: f64 = 0.2;

/// Share of a prompt's time to wait for other requests to join its step, and the longest wait in seconds.
const DELAY_SHARE: f64 = 0.005;
const MAX_BATCHING_DELAY: f64 = 0.003;

/// The fewest prompt tokens in a step; with fewer, the prompt hardly progresses.
const MIN_CHUNK: usize = 2;

/// Number of tokens that the engine's fastest kernels (AVX-512 with repacked weights) compute at once: with them, 16
/// tokens take less time than 12, and one more token starts another tile.
const TILE: usize = 16;

/// Learns from past steps how many prompt tokens the next may have: a step with prompt tokens should take at most
/// `max_stall` times as long as one without.
pub(super) struct PrefillBudget {
    max_stall: f64,
    /// Seconds of a step without prompt tokens.
    alone: Option<f64>,
    /// Seconds that a prompt token adds to a step in which others generate.
    per_token: Option<f64>,
    /// Steps with prompt tokens only.
    prompts: PromptSpeed,
}

/// The speed of prompts: decaying sums of the seconds and tokens of recent steps. Large steps therefore count more than
/// small ones, whose tokens take longer.
#[derive(Default)]
struct PromptSpeed {
    seconds: f64,
    tokens: f64,
}

impl PromptSpeed {
    fn note(&mut self, tokens: usize, took: f64) {
        self.seconds += took - SMOOTHING * self.seconds;
        self.tokens += tokens as f64 - SMOOTHING * self.tokens;
    }

    /// Seconds per token.
    fn per_token(&self) -> Option<f64> {
        (self.tokens > 0.0).then(|| self.seconds / self.tokens)
    }
}

impl PrefillBudget {
    pub fn new(max_stall: f64) -> Self {
        Self { max_stall, alone: None, per_token: None, prompts: PromptSpeed::default() }
    }

    /// Records the time of a step.
    pub fn note(&mut self, generating: bool, prompt_tokens: usize, took: Duration) {
        let took = took.as_secs_f64();
        let learn = |known: &mut Option<f64>, new: f64| {
            *known = Some(known.map_or(new, |known| known + SMOOTHING * (new - known)));
        };
        match (generating, prompt_tokens) {
            (_, 0) => learn(&mut self.alone, took),
            (true, tokens) => {
                let more = (took - self.alone.unwrap_or(0.0)).max(0.0);
                learn(&mut self.per_token, more / tokens as f64);
            }
            (false, tokens) => self.prompts.note(tokens, took),
        }
    }

    /// How long an idle engine waits for more requests when one with `prompt_tokens` tokens arrives. Prompts are
    /// computed faster together, and simultaneous requests arrive one by one.
    pub fn batching_delay(&self, prompt_tokens: usize) -> Duration {
        let seconds = self.prompts.per_token().unwrap_or(0.0) * prompt_tokens as f64 * DELAY_SHARE;
        Duration::from_secs_f64(seconds.clamp(0.0, MAX_BATCHING_DELAY))
    }

    /// Number of prompt tokens that the next step may have in addition to one token of each generating request.
    pub fn prompt_tokens(&self, generating: usize) -> usize {
        // The cost of a token in a large piece is better than no estimate.
        let per_token = self.per_token.or_else(|| self.prompts.per_token());
        let most = match (self.alone, per_token) {
            (Some(alone), Some(per_token)) if per_token > 0.0 => {
                let time = alone * (self.max_stall - 1.0) * SAFETY;
                ((time / per_token) as usize).max(MIN_CHUNK)
            }
            // Nothing is measured yet: start with a small piece.
            _ => TILE,
        };
        let whole = (generating + most + TILE / 4) / TILE * TILE;
        whole.checked_sub(generating).filter(|&count| count >= MIN_CHUNK).unwrap_or(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_grow_to_what_steps_may_take() {
        let ms = |ms: f64| Duration::from_secs_f64(ms / 1e3);
        let mut budget = PrefillBudget::new(4.0);
        for _ in 0..50 {
            budget.note(true, 0, ms(10.0));
        }
        // A step costs 10 ms and half a millisecond for each token of a prompt.
        for _ in 0..50 {
            let tokens = budget.prompt_tokens(1);
            budget.note(true, tokens, ms(10.0 + tokens as f64 * 0.5));
        }
        assert_eq!(
            budget.prompt_tokens(1),
            47,
            "three tiles with one that generates, 33.5 ms of 40"
        );
        assert_eq!(budget.prompt_tokens(5), 43);
    }

    #[test]
    fn small_pieces_fill_a_tile_where_one_is_near() {
        let pieces = |per_token: f64, generating: usize| {
            let budget = PrefillBudget {
                alone: Some(0.01),
                per_token: Some(per_token),
                ..PrefillBudget::new(6.0)
            };
            budget.prompt_tokens(generating)
        };
        assert_eq!(pieces(0.01, 1), 4);
        assert_eq!(pieces(0.004, 1), 10, "11 tokens are far from 16");
        assert_eq!(pieces(0.0036, 1), 15, "12 are not");
        assert_eq!(pieces(0.0015, 1), 15, "27 are far from 32");
        assert_eq!(pieces(0.0014, 1), 31, "29 are not");
        assert_eq!(pieces(0.01, 40), 8, "44 tokens become 48");
        assert_eq!(pieces(0.1, 30), 2, "those that generate fill the tiles by themselves");
    }

    #[test]
    fn a_short_prompt_waits_for_nobody() {
        let mut budget = PrefillBudget::new(4.0);
        assert_eq!(budget.batching_delay(1000), Duration::ZERO, "nothing is known yet");
        budget.note(false, 100, Duration::from_millis(100));
        assert_eq!(budget.batching_delay(10), Duration::from_micros(50));
        assert_eq!(budget.batching_delay(1_000_000), Duration::from_millis(3));
        // A single token takes longer than one of many, and predicts them poorly.
        budget.note(false, 1, Duration::from_millis(20));
        assert!(
            budget.batching_delay(10) < Duration::from_micros(70),
            "{:?}",
            budget.batching_delay(10)
        );
        // The first computation is slow, and its weight decays soon.
        for _ in 0..20 {
            budget.note(false, 100, Duration::from_millis(10));
        }
        assert!(
            budget.batching_delay(100) < Duration::from_micros(60),
            "{:?}",
            budget.batching_delay(100)
        );
    }
}
