//! Chooses the places in a prompt where checkpoints are made, so that later prompts with the same start find one near
//! the place where they differ.

use super::host_cache::MIN_CACHED_TOKENS;
use crate::Token;

/// Longest part after the last boundary of a prompt that is recomputed: the header of the next answer.
const MAX_HEADER_TOKENS: usize = 64;

/// The places in a prompt, as numbers of tokens in ascending order: near its end, before its last message, and about
/// every `interval` tokens before that. `is_control` returns whether a token separates messages.
pub(super) fn checkpoint_positions(
    prompt: &[Token],
    interval: usize,
    is_control: impl Fn(Token) -> bool,
) -> Vec<usize> {
    if interval == 0 || prompt.len() <= MIN_CACHED_TOKENS {
        return Vec::new();
    }
    // The last token is always computed.
    let end = prompt.len() - 1;
    let is_boundary =
        |&place: &usize| is_control(prompt[place]) && place > 0 && !is_control(prompt[place - 1]);
    // The last boundary in a range.
    let boundary = |range: std::ops::Range<usize>| range.rev().find(is_boundary);
    let last = boundary(end.saturating_sub(MAX_HEADER_TOKENS)..end + 1).unwrap_or(end);
    let mut places = vec![last];
    let mut next = last;
    if let Some(message) = boundary(MIN_CACHED_TOKENS..last.saturating_sub(MIN_CACHED_TOKENS - 1)) {
        places.push(message);
        next = message;
    }
    while let Some(target) =
        next.checked_sub(interval).filter(|&target| target >= MIN_CACHED_TOKENS)
    {
        next = boundary(target.saturating_sub(interval / 2).max(MIN_CACHED_TOKENS)..target + 1)
            .unwrap_or(target);
        places.push(next);
    }
    places.reverse();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A prompt of text (1), with control tokens (9) at these places.
    fn prompt(length: usize, control: &[usize]) -> Vec<Token> {
        (0..length).map(|place| if control.contains(&place) { 9 } else { 1 }).collect()
    }

    fn places_of(length: usize, control: &[usize], interval: usize) -> Vec<usize> {
        checkpoint_positions(&prompt(length, control), interval, |token| token == 9)
    }

    #[test]
    fn checkpoints_are_placed_at_message_ends() {
        // Three messages and the header of the answer.
        assert_eq!(places_of(500, &[0, 100, 300, 495], 2048), [300, 495]);
        // Two control tokens in a row are one boundary.
        assert_eq!(places_of(500, &[0, 300, 301, 494, 495], 2048), [300, 494]);
        // A text without boundaries.
        assert_eq!(places_of(500, &[], 2048), [499]);
        // The last boundary is far from the end.
        assert_eq!(places_of(500, &[0, 300], 2048), [300, 499]);
        // Too close to each other, or to the start.
        assert_eq!(places_of(500, &[10, 480, 495], 2048), [495]);
    }

    #[test]
    fn long_prompts_have_checkpoints_at_intervals() {
        assert_eq!(places_of(1000, &[], 300), [99, 399, 699, 999]);
        assert_eq!(places_of(1000, &[620, 290, 995], 300), [290, 620, 995]);
        assert_eq!(places_of(1000, &[], 0), [0; 0]);
        assert_eq!(places_of(20, &[5], 300), [0; 0]);
    }
}
