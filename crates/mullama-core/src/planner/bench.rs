//! A context that is only timed.

use std::iter;
use std::sync::Arc;
use std::time::Instant;

use crate::Result;
use crate::engine::{Context, ContextSettings, Weights};

/// Steps of each kind that are timed, at least and at most, and the seconds after which it is enough. The
/// fastest counts: what other programs take of the machine is not the model's.
const REPEATS: (usize, usize) = (5, 40);
const ENOUGH: f64 = 0.5;

/// A model to time steps of.
pub(super) struct Bench(Context);

impl Bench {
    /// Makes a context, and computes once.
    pub fn new(weights: Arc<Weights>, settings: &ContextSettings) -> Result<Self> {
        let mut context = Context::new(weights, settings)?;
        context.warm_up(context.n_ctx() as usize, 1, false)?;
        Ok(Self(context))
    }

    /// Seconds that so many tokens of a prompt take after so many others.
    pub fn prompt(&mut self, tokens: u32, depth: u32) -> Result<f64> {
        let position = self.fill(depth)?;
        fastest(|_| {
            self.0.trim(0, position);
            self.step(position, tokens as usize)
        })
    }

    /// Seconds that a token takes after so many others.
    pub fn token(&mut self, depth: u32) -> Result<f64> {
        let position = self.fill(depth)?;
        fastest(|repeat| self.step(position + repeat, 1))
    }

    /// Computes so many tokens, and nothing else is there; gives where the next one goes.
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

    /// Computes tokens from a position on; gives the seconds that it took.
    fn step(&mut self, position: usize, count: usize) -> Result<f64> {
        let batch = self.0.batch();
        batch.clear();
        let mut index = 0;
        for token in 0..count {
            index = batch.add(1, position + token, 0, token + 1 == count);
        }
        let start = Instant::now();
        self.0.decode(iter::empty())?;
        // A GPU may still be at it until the result is asked for.
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
        if repeat + 1 >= REPEATS.0 && spent > ENOUGH {
            break;
        }
    }
    Ok(fastest)
}
