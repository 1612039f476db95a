//! How much of a prompt goes into a step while others are generating.

use std::time::Duration;

/// Part of what a step may take longer that is used: steps vary.
const CAUTION: f64 = 0.8;

/// The weight of a new measurement against those before.
const NEWEST: f64 = 0.2;

/// The part of a prompt's time that it is worth to wait for others to share its step, and the most.
const GRACE: f64 = 0.005;
const MOST_GRACE: f64 = 0.003;

/// Fewer tokens of a prompt than this make slow progress for little.
const FEWEST: usize = 2;

/// What the engine's fastest kernels compute at once: 16 tokens take less time than 12 where they are used
/// (AVX-512 with repacked weights), and a token more begins another tile.
const TILE: usize = 16;

/// Learns from the steps that were made what the next may hold: a step with tokens of a prompt should
/// take at most `max_stall` times as long as one without.
pub(super) struct Pace {
    max_stall: f64,
    /// Seconds of a step in which all are generating.
    alone: Option<f64>,
    /// Seconds that a token of a prompt adds to a step in which others generate.
    per_token: Option<f64>,
    /// Steps of prompts alone.
    prompts: Prompts,
}

/// How fast prompts are computed: seconds and tokens of the last steps, in which large ones count for more
/// than small ones, whose tokens take longer.
#[derive(Default)]
struct Prompts {
    seconds: f64,
    tokens: f64,
}

impl Prompts {
    fn note(&mut self, tokens: usize, took: f64) {
        self.seconds += took - NEWEST * self.seconds;
        self.tokens += tokens as f64 - NEWEST * self.tokens;
    }

    /// Seconds of a token.
    fn per_token(&self) -> Option<f64> {
        (self.tokens > 0.0).then(|| self.seconds / self.tokens)
    }
}

impl Pace {
    pub fn new(max_stall: f64) -> Self {
        Self { max_stall, alone: None, per_token: None, prompts: Prompts::default() }
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
            (false, tokens) => self.prompts.note(tokens, took),
        }
    }

    /// How long to wait for more requests when one with a prompt of so many tokens comes to an idle engine:
    /// prompts that are computed together are computed sooner, and those that come at once come one by one.
    pub fn grace(&self, prompt_tokens: usize) -> Duration {
        let seconds = self.prompts.per_token().unwrap_or(0.0) * prompt_tokens as f64 * GRACE;
        Duration::from_secs_f64(seconds.clamp(0.0, MOST_GRACE))
    }

    /// How many tokens of prompts the next step may have beside one of each request that generates.
    pub fn prompt_tokens(&self, generating: usize) -> usize {
        // A large piece tells what a token costs in a large piece; better than nothing.
        let per_token = self.per_token.or_else(|| self.prompts.per_token());
        let most = match (self.alone, per_token) {
            (Some(alone), Some(per_token)) if per_token > 0.0 => {
                let time = alone * (self.max_stall - 1.0) * CAUTION;
                ((time / per_token) as usize).max(FEWEST)
            }
            // Nothing is known yet: one small piece will tell.
            _ => TILE,
        };
        let whole = (generating + most + TILE / 4) / TILE * TILE;
        whole.checked_sub(generating).filter(|&count| count >= FEWEST).unwrap_or(most)
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
            let tokens = pace.prompt_tokens(1);
            pace.note(true, tokens, ms(10.0 + tokens as f64 * 0.5));
        }
        assert_eq!(pace.prompt_tokens(1), 47, "three tiles with one that generates, 33.5 ms of 40");
        assert_eq!(pace.prompt_tokens(5), 43);
    }

    #[test]
    fn small_pieces_fill_a_tile_where_one_is_near() {
        let pieces = |per_token: f64, generating: usize| {
            let pace = Pace { alone: Some(0.01), per_token: Some(per_token), ..Pace::new(6.0) };
            pace.prompt_tokens(generating)
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
        let mut pace = Pace::new(4.0);
        assert_eq!(pace.grace(1000), Duration::ZERO, "nothing is known yet");
        pace.note(false, 100, Duration::from_millis(100));
        assert_eq!(pace.grace(10), Duration::from_micros(50));
        assert_eq!(pace.grace(1_000_000), Duration::from_millis(3));
        // A token by itself takes longer than one of many, and says little of them.
        pace.note(false, 1, Duration::from_millis(20));
        assert!(pace.grace(10) < Duration::from_micros(70), "{:?}", pace.grace(10));
        // The first computation is slow, and soon forgotten.
        for _ in 0..20 {
            pace.note(false, 100, Duration::from_millis(10));
        }
        assert!(pace.grace(100) < Duration::from_micros(60), "{:?}", pace.grace(100));
    }
}
