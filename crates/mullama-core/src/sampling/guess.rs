//! Guesses of tokens, and sampling that preserves the model's distribution when they are used.

use mullama_sys as sys;

use crate::Token;

/// A guess of the next token.
#[derive(Debug, Clone)]
pub(crate) struct Guess {
    pub token: Token,
    /// The distribution that it was drawn from; `None` if it is the most likely token, or copied.
    pub drawn_from: Option<Distribution>,
}

impl Guess {
    /// A guess that was not drawn.
    pub fn fixed(token: Token) -> Self {
        Self { token, drawn_from: None }
    }
}

/// The tokens that may be drawn, with their probabilities.
#[derive(Debug, Clone)]
pub(crate) struct Distribution(Vec<(Token, f32)>);

impl Distribution {
    /// The distribution of the candidates that samplers left: the softmax of their logits.
    pub fn of(candidates: &[sys::llama_token_data]) -> Self {
        let logits = candidates.iter().map(|candidate| candidate.logit);
        let highest = logits.clone().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f32> = logits.map(|logit| (logit - highest).exp()).collect();
        let sum: f32 = weights.iter().sum();
        let tokens = candidates.iter().map(|candidate| candidate.id);
        Self(tokens.zip(weights.iter().map(|weight| weight / sum)).collect())
    }

    /// The probability of a token.
    pub fn probability(&self, token: Token) -> f32 {
        let entry = self.0.iter().find(|(id, _)| *id == token);
        entry.map_or(0.0, |(_, probability)| *probability)
    }

    /// Draws from this distribution, given a token that was drawn from another: returns that token with probability
    /// `min(1, p / q)`, and otherwise draws from the positive part of the difference of the distributions (speculative
    /// sampling, arXiv:2211.17192). `None` if there is no difference, which only rounding causes.
    ///
    /// `random` returns numbers from 0 up to, but not including, 1.
    pub fn sample_given_guess(
        &self,
        token: Token,
        other: &Self,
        mut random: impl FnMut() -> f32,
    ) -> Option<Token> {
        if random() * other.probability(token) < self.probability(token) {
            return Some(token);
        }
        let known: std::collections::HashMap<Token, f32> = other.0.iter().copied().collect();
        let surplus = |&(id, probability): &(Token, f32)| {
            (id, (probability - known.get(&id).copied().unwrap_or(0.0)).max(0.0))
        };
        let rest: Vec<_> = self.0.iter().map(surplus).filter(|(_, more)| *more > 0.0).collect();
        let mut left = random() * rest.iter().map(|(_, more)| more).sum::<f32>();
        let drawn = rest.iter().find(|(_, more)| {
            left -= more;
            left < 0.0
        });
        drawn.or(rest.last()).map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distribution(weights: &[f32]) -> Distribution {
        let candidate = |(id, weight): (usize, &f32)| sys::llama_token_data {
            id: id as Token,
            logit: weight.ln(),
            p: 0.0,
        };
        Distribution::of(&weights.iter().enumerate().map(candidate).collect::<Vec<_>>())
    }

    /// The chi-squared statistic of the counts of draws.
    fn chi_squared(wanted: &Distribution, guesses: &Distribution, draws: u32) -> f64 {
        let mut numbers = fastrand::Rng::with_seed(7);
        let mut counts = vec![0_u32; wanted.0.len()];
        for _ in 0..draws {
            // The difference to an empty distribution is all of `guesses`, so this draws from `guesses` alone.
            let guess = guesses.sample_given_guess(-1, &Distribution(Vec::new()), || numbers.f32());
            let token =
                wanted.sample_given_guess(guess.unwrap(), guesses, || numbers.f32()).unwrap();
            counts[token as usize] += 1;
        }
        let terms = wanted.0.iter().zip(&counts).filter(|((_, p), _)| *p > 0.0);
        terms
            .map(|((_, p), &count)| {
                let expected = f64::from(*p) * f64::from(draws);
                (f64::from(count) - expected).powi(2) / expected
            })
            .sum()
    }

    #[test]
    fn draws_have_the_target_distribution_for_all_guesses() {
        let wanted = distribution(&[4.0, 3.0, 2.0, 1.0]);
        // 16.3 is exceeded once in a thousand times with three degrees of freedom.
        for guesses in [[4.0, 3.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.1, 0.1, 0.1, 9.0]] {
            let far = chi_squared(&wanted, &distribution(&guesses), 20_000);
            assert!(far < 16.3, "{guesses:?}: {far}");
        }
        // Tokens without probability are never drawn.
        let narrow = distribution(&[1.0, 1.0, 0.0, 0.0]);
        let far = chi_squared(&narrow, &distribution(&[1.0, 1.0, 5.0, 5.0]), 20_000);
        assert!(far < 10.8, "{far}");
    }

    #[test]
    fn guesses_from_the_target_distribution_are_accepted() {
        let same = distribution(&[4.0, 3.0, 2.0, 1.0]);
        for (token, number) in [(0, 0.999), (3, 0.999), (2, 0.5)] {
            assert_eq!(same.sample_given_guess(token, &same, || number), Some(token));
        }
    }
}
