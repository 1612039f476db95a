//! A context for timing steps.

use std::iter;
use std::sync::Arc;
use std::time::Instant;

use crate::Result;
use crate::engine::{Context, ContextSettings, Weights};

/// Minimum and maximum number of timed steps, and the seconds after which the minimum suffices. The fastest step
/// counts, since other programs may slow down the others.
const REPEATS: (usize, usize) = (5, 40);
const MAX_SECONDS: f64 = 0.5;

/// A context for timing steps.
pub(super) struct Bench(Context);

impl Bench {
    /// Creates a context and runs a warm-up computation.
    pub fn new(weights: Arc<Weights>, settings: &ContextSettings) -> Result<Self> {
        let mut context = Context::new(weights, settings)?;
        context.warm_up(context.n_ctx() as usize, 1, false)?;
        Ok(Self(context))
    }

    /// Seconds for `tokens` tokens of a prompt after `depth` previous tokens.
    pub fn prompt(&mut self, tokens: u32, depth: u32) -> Result<f64> {
        let position = self.fill(depth)?;
        fastest(|_| {
            self.0.trim(0, position);
            self.step(position, tokens as usize)
        })
    }

    /// Seconds for one generated token after `depth` previous tokens.
    pub fn token(&mut self, depth: u32) -> Result<f64> {
        let position = self.fill(depth)?;
        fastest(|repeat| self.step(position + repeat, 1))
    }

    /// Clears the context and computes `depth` tokens. Returns the position of the next token.
    fn fill(&mut self, depth: u32) -> Result<usize> {
        self.0.clear();
        let most = self.0.n_ubatch();
        let mut position = 0;
        while position < depth as usize {
            let count = most.min(depth as usize - position);
            self.step(position, count)?;
            position += count;
        }
        Ok(position)
    }

    /// Computes `count` tokens from a position on. Returns the elapsed seconds.
    fn step(&mut self, position: usize, count: usize) -> Result<f64> {
        let batch = self.0.batch();
        batch.clear();
        let mut index = 0;
        for token in 0..count {
            index = batch.add(1, position + token, 0, token + 1 == count);
        }
        let start = Instant::now();
        self.0.decode(iter::empty())?;
        // A GPU may still be computing until the result is requested.
        self.0.logits(index)?;
        Ok(start.elapsed().as_secs_f64())
    }
}

fn fastest(mut step: impl FnMut(usize) -> Result<f64>) -> Result<f64> {
    let (mut fastest, mut spent) = (f64::INFINITY, 0.0);
    for repeat in 0..REPEATS.1 {
        let seconds = step(repeat)?;
        fastest = fastest.min(seconds);
        spent += seconds;
        if repeat + 1 >= REPEATS.0 && spent > MAX_SECONDS {
            break;
        }
    }
    Ok(fastest)
}
