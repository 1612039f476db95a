//! Drafts the next tokens from earlier text (prompt lookup): it finds the last place where the same
//! tokens occurred and proposes what followed there.

use crate::Token;

/// The fewest tokens that have to be the same for a place to be the same.
const SAME: usize = 2;

/// More tokens than this do not make a place more the same.
const ENOUGH: usize = 8;

/// Drafts for one request. How long they are follows how good they have been.
pub(super) struct Lookup {
    most: usize,
    length: usize,
}

impl Lookup {
    /// Drafts of at most so many tokens.
    pub fn new(most: usize) -> Self {
        Self { most, length: most }
    }

    /// What may follow what is known, in at most so many tokens: what followed the place before that has
    /// most in common with this one, of those the latest.
    pub fn draft(&self, known: &[Token], most: usize) -> Vec<Token> {
        let most = most.min(self.length);
        let Some(end) = known.len().checked_sub(SAME).filter(|_| most > 0) else {
            return Vec::new();
        };
        let suffix = &known[end..];
        let mut best = (0, 0);
        for start in (0..end).rev().filter(|&start| known[start..].starts_with(suffix)) {
            let before = known[..start].iter().rev().zip(known[..end].iter().rev());
            let same = SAME + before.take(ENOUGH - SAME).take_while(|(a, b)| a == b).count();
            if same > best.0 {
                best = (same, start + SAME);
            }
            if same == ENOUGH {
                break;
            }
        }
        match best {
            (0, _) => Vec::new(),
            (_, next) => {
                // Where the place is near, what follows it is this place, and what is guessed here.
                let mut draft = Vec::with_capacity(most);
                for at in next..next + most {
                    draft.push(known.get(at).copied().unwrap_or_else(|| draft[at - known.len()]));
                }
                draft
            }
        }
    }

    /// Notes how many of a draft's tokens were right.
    pub fn note(&mut self, drafted: usize, right: usize) {
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
    fn what_followed_before_is_expected_again() {
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
    fn the_likest_place_wins_and_then_the_latest() {
        let lookup = Lookup::new(1);
        assert_eq!(lookup.draft(&[5, 1, 2, 8, 6, 1, 2, 9, 5, 1, 2], 9), [8]);
        assert_eq!(lookup.draft(&[1, 2, 8, 1, 2, 9, 1, 2], 9), [9]);
    }

    #[test]
    fn bad_drafts_get_shorter_and_good_ones_longer() {
        let mut lookup = Lookup::new(8);
        for _ in 0..5 {
            lookup.note(lookup.length, 0);
        }
        assert_eq!(lookup.length, 1);
        lookup.note(1, 1);
        lookup.note(2, 2);
        assert_eq!(lookup.length, 4);
        lookup.note(4, 2);
        assert_eq!(lookup.length, 4);
    }
}
