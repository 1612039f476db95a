//! Decides how many prompt tokens go into a step while other requests generate.
//!
//! What prompt tokens add to the time of a step is a line: a fixed part, whatever their number, and a part for each
//! token. On a CPU the fixed part is small. On a GPU it may be several times a step without a prompt, and hundreds of
//! tokens take no longer than one.

use std::time::Duration;

use super::linear_fit::LinearFit;

/// The part of the allowed extra time that is used, because step times vary.
const SAFETY: f64 = 0.8;

/// Weight of a new measurement relative to the earlier ones.
const SMOOTHING: f64 = 0.2;

/// Share of a prompt's time to wait for other requests to join its step, and the longest wait in seconds.
const DELAY_SHARE: f64 = 0.005;
const MAX_BATCHING_DELAY: f64 = 0.003;

/// The fewest prompt tokens in a step; with fewer, the prompt hardly progresses.
const MIN_CHUNK: usize = 2;

/// Number of prompt tokens in a step while nothing is measured.
const FIRST_CHUNK: usize = 8;

/// How many times as large as recent pieces the next may be, because the line is only known near measured sizes.
const GROWTH: f64 = 2.0;

/// One of this many pieces is half as large as the others, since steps of one size do not show a slope.
const PIECES_PER_SMALL_ONE: u32 = 16;

/// Learns from past steps how many prompt tokens the next may have. A step with prompt tokens should take at most
/// `max_stall` times as long as one without. If the fixed part alone takes most of this, smaller pieces save little:
/// then a step may take twice the fixed part, so that the tokens take at least half of its time.
pub(super) struct PrefillBudget {
    max_stall: f64,
    /// Seconds of a step without prompt tokens.
    alone: Option<f64>,
    /// Seconds that prompt tokens add to a step in which others generate.
    added: LinearFit,
    /// Number of prompt tokens of the largest recent pieces in such steps.
    tried: f64,
    /// Number of such pieces.
    pieces: u32,
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
    fn add_measurement(&mut self, tokens: usize, took: f64) {
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
        Self {
            max_stall,
            alone: None,
            added: LinearFit::default(),
            tried: 0.0,
            pieces: 0,
            prompts: PromptSpeed::default(),
        }
    }

    /// Records the time of a step.
    pub fn add_measurement(&mut self, generating: bool, prompt_tokens: usize, took: Duration) {
        let seconds = took.as_secs_f64();
        match (generating, prompt_tokens, self.alone) {
            (_, 0, alone) => {
                self.alone =
                    Some(alone.map_or(seconds, |alone| alone + SMOOTHING * (seconds - alone)));
            }
            (true, tokens, Some(alone)) => {
                self.added
                    .add_measurement(tokens, Duration::from_secs_f64((seconds - alone).max(0.0)));
                self.tried = (self.tried * (1.0 - SMOOTHING)).max(tokens as f64);
                self.pieces = self.pieces.wrapping_add(1);
            }
            // How much of the time is due to the prompt is unknown.
            (true, _, None) => {}
            (false, tokens, _) => self.prompts.add_measurement(tokens, seconds),
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
        let Some(alone) = self.alone else { return FIRST_CHUNK };
        let allowed = alone * (self.max_stall - 1.0) * SAFETY;
        let most = match (self.added.at(0), self.prompts.per_token()) {
            (Some(fixed), _) => {
                let seconds = allowed.max(2.0 * fixed) - fixed;
                // Without a slope, the division is infinite, and growth is the limit.
                (seconds / self.added.slope()).min(self.tried * GROWTH)
            }
            // The cost of a token in a step of prompts only is better than no estimate.
            (None, Some(per_token)) => allowed / per_token,
            (None, None) => FIRST_CHUNK as f64,
        };
        let is_small = self.pieces % PIECES_PER_SMALL_ONE == PIECES_PER_SMALL_ONE - 1;
        let most = if is_small { most / 2.0 } else { most };
        round_step(most as usize, generating).max(MIN_CHUNK)
    }
}

/// Rounds a number of prompt tokens so that all tokens of the step are a multiple of a power of two that is at most
/// half of them. Kernels compute tokens in tiles, whose sizes are powers of two, and a tile that is not full takes as
/// long as a full one. Rounded up only if a quarter of a tile or less is missing.
fn round_step(prompt_tokens: usize, generating: usize) -> usize {
    let all = prompt_tokens.saturating_add(generating);
    if all < 8 {
        return prompt_tokens;
    }
    let tile = 1 << (all.ilog2() - 1);
    let whole = all.saturating_add(tile / 4) / tile * tile;
    // Those that generate may fill the tiles by themselves.
    whole.checked_sub(generating).filter(|&tokens| tokens >= MIN_CHUNK).unwrap_or(prompt_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the times of a made-up device, in milliseconds by the number of all tokens of a step, for as many steps
    /// with a long prompt. Returns the mean prompt tokens per millisecond, and the longest step, of the second half.
    fn run(max_stall: f64, steps: usize, took: impl Fn(usize) -> f64) -> (f64, f64) {
        let mut budget = PrefillBudget::new(max_stall);
        let ms = |ms: f64| Duration::from_secs_f64(ms / 1e3);
        for _ in 0..10 {
            budget.add_measurement(true, 0, ms(took(1)));
        }
        let (mut tokens, mut time, mut longest) = (0.0, 0.0, 0.0_f64);
        for step in 0..steps {
            let piece = budget.prompt_tokens(1).min(2048);
            let step_time = took(1 + piece);
            budget.add_measurement(true, piece, ms(step_time));
            if step >= steps / 2 {
                tokens += piece as f64;
                time += step_time;
                longest = longest.max(step_time);
            }
        }
        (tokens / time, longest)
    }

    #[test]
    fn proportional_costs_fill_the_time_budget() {
        // 10 ms for those that generate, and half a millisecond for each token of a prompt.
        let (speed, longest) = run(4.0, 200, |tokens| 10.0 + (tokens - 1) as f64 * 0.5);
        assert!(longest <= 40.0, "{longest}");
        // 48 tokens in 34 ms would be all of the part that is used.
        assert!(speed > 0.85 * 48.0 / 34.0, "{speed}");
    }

    #[test]
    fn cpu_chunks_fill_whole_tiles() {
        // A step takes 8 ms for each tile of 16 tokens, and single tokens 10 ms.
        let took =
            |tokens: usize| if tokens == 1 { 10.0 } else { 8.0 * tokens.div_ceil(16) as f64 };
        let (speed, longest) = run(4.0, 300, took);
        assert!(longest <= 40.0, "{longest}");
        // Full tiles compute 2 tokens per millisecond.
        assert!(speed > 1.7, "{speed}");
        // With less time than a tile and a half, one tile is computed at once.
        let (speed, longest) = run(1.5, 300, took);
        assert!(longest <= 16.0, "{longest}");
        assert!(speed > 0.9, "{speed}");
    }

    #[test]
    fn gpu_chunks_are_large() {
        // 1.2 ms for those that generate. Any prompt adds 3.5 ms, and from 512 tokens on in proportion.
        let took = |tokens: usize| match tokens {
            1 => 1.2,
            _ => 1.2 + 3.5 * (tokens as f64 / 512.0).max(1.0),
        };
        let (speed, longest) = run(4.0, 400, took);
        // Alone, the prompt has 512 tokens in 3.5 ms.
        assert!(speed > 0.6 * 512.0 / 4.7, "{speed}");
        assert!(longest <= 1.2 + 2.0 * 3.5 * 1.2, "{longest}");
        // A patient caller gets larger pieces.
        let (patient, longest) = run(8.0, 400, took);
        assert!(patient > speed, "{patient}");
        assert!(longest <= 8.0 * 1.2, "{longest}");
    }

    #[test]
    fn gpu_chunks_are_large_if_fixed_cost_exceeds_the_limit() {
        // The fixed part alone is ten times a step without a prompt.
        let took = |tokens: usize| if tokens == 1 { 1.0 } else { 11.0 + tokens as f64 * 0.01 };
        let (speed, longest) = run(4.0, 300, took);
        assert!(speed > 0.45 * 100.0, "{speed}");
        assert!(longest <= 1.2 * (1.0 + 2.0 * 10.0), "{longest}");
    }

    #[test]
    fn first_chunk_is_small_before_measurements() {
        let mut budget = PrefillBudget::new(4.0);
        assert_eq!(budget.prompt_tokens(1), FIRST_CHUNK);
        budget.add_measurement(true, 0, Duration::from_millis(10));
        assert_eq!(budget.prompt_tokens(8), FIRST_CHUNK);
        // 24 ms, at 20 tokens per millisecond.
        budget.add_measurement(false, 1000, Duration::from_millis(50));
        assert_eq!(budget.prompt_tokens(0), 512);
    }

    #[test]
    fn steps_are_rounded_to_near_tiles() {
        assert_eq!(round_step(3, 1), 3);
        assert_eq!(round_step(9, 1), 7, "10 tokens are far from 12");
        assert_eq!(round_step(10, 1), 11, "11 are not");
        assert_eq!(round_step(14, 1), 15);
        assert_eq!(round_step(46, 1), 47);
        assert_eq!(round_step(60, 1), 63);
        assert_eq!(round_step(50, 1), 47);
        assert_eq!(round_step(2, 30), 2, "those that generate fill the tiles by themselves");
        assert!(round_step(usize::MAX, 1) > usize::MAX / 2, "no overflow");
    }

    #[test]
    fn short_prompts_have_a_short_batching_delay() {
        let mut budget = PrefillBudget::new(4.0);
        assert_eq!(budget.batching_delay(1000), Duration::ZERO, "nothing is known yet");
        budget.add_measurement(false, 100, Duration::from_millis(100));
        assert_eq!(budget.batching_delay(10), Duration::from_micros(50));
        assert_eq!(budget.batching_delay(1_000_000), Duration::from_millis(3));
        // A single token takes longer than one of many, and predicts them poorly.
        budget.add_measurement(false, 1, Duration::from_millis(20));
        assert!(
            budget.batching_delay(10) < Duration::from_micros(70),
            "{:?}",
            budget.batching_delay(10)
        );
        // The first computation is slow, and its weight decays soon.
        for _ in 0..20 {
            budget.add_measurement(false, 100, Duration::from_millis(10));
        }
        assert!(
            budget.batching_delay(100) < Duration::from_micros(60),
            "{:?}",
            budget.batching_delay(100)
        );
    }
}
