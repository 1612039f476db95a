//! The time of steps by their number of tokens, learned from measurements.

use std::time::Duration;

/// Factor by which the weight of a measurement decays with each new one.
pub(super) const STEP_DECAY: f64 = 0.95;

/// Limit of how many times longer than usual a measured step may count.
const OUTLIER: f64 = 2.0;

/// The time of a step as a linear function of its number of tokens, fitted to recent measurements.
#[derive(Debug, Default)]
pub(super) struct LinearFit {
    weight: f64,
    tokens: f64,
    seconds: f64,
    tokens_squared: f64,
    product: f64,
}

impl LinearFit {
    /// Records the time of a step.
    pub fn add_measurement(&mut self, tokens: usize, took: Duration) {
        // Other processes occasionally delay a step.
        let usual = self.at(tokens).filter(|_| self.weight > 4.0);
        let most = usual.map_or(f64::INFINITY, |seconds| seconds * OUTLIER);
        let (tokens, seconds) = (tokens as f64, took.as_secs_f64().min(most));
        let add = |sum: &mut f64, more: f64| *sum = *sum * STEP_DECAY + more;
        add(&mut self.weight, 1.0);
        add(&mut self.tokens, tokens);
        add(&mut self.seconds, seconds);
        add(&mut self.tokens_squared, tokens * tokens);
        add(&mut self.product, tokens * seconds);
    }

    /// Seconds per additional token.
    pub fn slope(&self) -> f64 {
        let spread = self.weight * self.tokens_squared - self.tokens * self.tokens;
        // If all steps had about the same size, the slope is unknown.
        if spread < 0.05 * self.weight * self.weight {
            return 0.0;
        }
        ((self.weight * self.product - self.tokens * self.seconds) / spread).max(0.0)
    }

    /// Seconds that a step with `tokens` tokens takes; `None` without measurements.
    pub fn at(&self, tokens: usize) -> Option<f64> {
        let (mean_tokens, mean) = (self.tokens / self.weight, self.seconds / self.weight);
        let seconds = mean + self.slope() * (tokens as f64 - mean_tokens);
        (self.weight > 0.0).then(|| seconds.max(mean * 0.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slope_needs_steps_of_different_sizes() {
        let mut line = LinearFit::default();
        assert_eq!(line.at(1), None);
        for ms in [9, 11, 9, 11] {
            line.add_measurement(3, Duration::from_millis(ms));
        }
        assert_eq!(line.slope(), 0.0);
        assert!((line.at(8).unwrap() - 0.010).abs() < 0.001);
        for _ in 0..60 {
            line.add_measurement(3, Duration::from_millis(10));
            line.add_measurement(5, Duration::from_millis(14));
        }
        assert!((line.slope() - 0.002).abs() < 1e-6, "{}", line.slope());
        assert!((line.at(1).unwrap() - 0.006).abs() < 1e-6);
    }
}
