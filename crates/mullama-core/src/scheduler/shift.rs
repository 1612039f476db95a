//! Drops the oldest tokens of a request whose context is full.

use std::ops::Range;

use crate::Token;
use crate::engine::Vocab;

/// Removes the oldest tokens so that half of the context is free, or less if `kept` tokens at the end must stay. A
/// control token at the start stays. Returns the place of the removed tokens, and the tokens.
pub(crate) fn drop_oldest(
    tokens: &mut Vec<Token>,
    kept: usize,
    n_ctx: usize,
    vocab: &Vocab,
) -> (usize, Vec<Token>) {
    let start = usize::from(tokens.first().is_some_and(|&first| vocab.is_control(first)));
    let oldest = oldest(tokens.len(), start, kept, n_ctx);
    (start, tokens.drain(oldest).collect())
}

fn oldest(length: usize, start: usize, kept: usize, n_ctx: usize) -> Range<usize> {
    let left = (n_ctx / 2).max(start + kept.max(1));
    start..start + length.saturating_sub(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_context_is_left() {
        assert_eq!(oldest(101, 1, 0, 100), 1..52);
        assert_eq!(oldest(101, 0, 0, 100), 0..51);
        assert_eq!(oldest(1000, 1, 0, 100), 1..951);
        // What must stay is more than half.
        assert_eq!(oldest(101, 1, 80, 100), 1..21);
        assert_eq!(oldest(40, 1, 0, 100), 1..1);
    }
}
