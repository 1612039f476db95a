//! Drafts the next tokens from earlier text (prompt lookup): it finds the last place where the same
//! tokens occurred and proposes what followed there.

use crate::Token;

/// Number of equal tokens that make a match.
const MIN_MATCH: usize = 2;

/// A match longer than this does not count more.
const MAX_MATCH: usize = 8;

/// Drafts for one request. Their length adapts to how many of their tokens were right.
pub(super) struct Lookup {
    most: usize,
    length: usize,
}

impl Lookup {
    /// Drafts of at most `most` tokens.
    pub fn new(most: usize) -> Self {
        Self { most, length: most }
    }

    /// Proposes at most `most` tokens: those that followed the earlier place with the longest match, the latest of
    /// equals.
    pub fn draft(&self, known: &[Token], most: usize) -> Vec<Token> {
        let most = most.min(self.length);
        let Some(end) = known.len().checked_sub(MIN_MATCH).filter(|_| most > 0) else {
            return Vec::new();
        };
        let suffix = &known[end..];
        let mut best = (0, 0);
        for start in (0..end).rev().filter(|&start| known[start..].starts_with(suffix)) {
            let before = known[..start].iter().rev().zip(known[..end].iter().rev());
            let same =
                MIN_MATCH + before.take(MAX_MATCH - MIN_MATCH).take_while(|(a, b)| a == b).count();
            if same > best.0 {
                best = (same, start + MIN_MATCH);
            }
            if same == MAX_MATCH {
                break;
            }
        }
        match best {
            (0, _) => Vec::new(),
            (_, next) => {
                // If the match is close to the end, the draft continues with its own tokens.
                let mut draft = Vec::with_capacity(most);
                for at in next..next + most {
                    draft.push(known.get(at).copied().unwrap_or_else(|| draft[at - known.len()]));
                }
                draft
            }
        }
    }

    /// Records how many tokens of a draft were right.
    pub fn add_measurement(&mut self, drafted: usize, right: usize) {
        if right == drafted {
            self.length = (self.length * 2).min(self.most);
        } else if right * 2 < drafted {
            self.length = (self.length / 2).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup_drafts_earlier_continuations() {
        let lookup = Lookup::new(3);
        assert_eq!(lookup.draft(&[1, 2, 3, 4, 5, 1, 2], 9), [3, 4, 5]);
        assert_eq!(lookup.draft(&[1, 2, 3, 4, 5, 1, 2], 1), [3]);
        assert_eq!(lookup.draft(&[1, 2, 3, 1, 4], 9), [0; 0], "one token in common is chance");
        assert_eq!(lookup.draft(&[7, 7, 7], 9), [7, 7, 7], "a repetition goes on");
        assert_eq!(lookup.draft(&[1, 2, 1, 2], 9), [1, 2, 1]);
        assert_eq!(lookup.draft(&[], 9), [0; 0]);
        assert_eq!(lookup.draft(&[1], 9), [0; 0]);
    }

    #[test]
    fn longest_then_latest_match_is_drafted() {
        let lookup = Lookup::new(1);
        assert_eq!(lookup.draft(&[5, 1, 2, 8, 6, 1, 2, 9, 5, 1, 2], 9), [8]);
        assert_eq!(lookup.draft(&[1, 2, 8, 1, 2, 9, 1, 2], 9), [9]);
    }

    #[test]
    fn draft_length_adapts_to_acceptance() {
        let mut lookup = Lookup::new(8);
        for _ in 0..5 {
            lookup.add_measurement(lookup.length, 0);
        }
        assert_eq!(lookup.length, 1);
        lookup.add_measurement(1, 1);
        lookup.add_measurement(2, 2);
        assert_eq!(lookup.length, 4);
        lookup.add_measurement(4, 2);
        assert_eq!(lookup.length, 4);
    }
}
