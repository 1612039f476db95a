//! Banned phrases: phrases that an answer must not contain.
//!
//! Tokens that may begin a banned phrase are delayed until the phrase is ruled out. If a phrase is completed, the
//! request goes back to the token with which the phrase began, and cannot choose that token again at that position.

use std::collections::{BTreeMap, VecDeque};

use super::completion::TokenLogprob;
use super::text::partial_match_length;
use crate::engine::Vocab;
use crate::{Error, Result, Token};

/// A delayed token: it may be part of a banned phrase.
pub(super) struct DelayedToken {
    pub token: Token,
    pub piece: Vec<u8>,
    pub logprob: Option<TokenLogprob>,
    /// Whether the token was forced and not sampled.
    pub is_forced: bool,
}

/// What to do with the delayed tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PhraseCheck {
    /// The first `n` are not part of a phrase: they can be delivered.
    Certain(usize),
    /// A phrase is complete; it begins in the delayed token with this index.
    Banned(usize),
}

/// The banned phrases of one request, and its delayed tokens.
#[derive(Default)]
pub(crate) struct Banned {
    phrases: Vec<Vec<u8>>,
    /// Tokens whose text contains a phrase. They are never allowed.
    always_forbidden: Vec<Token>,
    /// The delayed tokens, oldest first.
    delayed: VecDeque<DelayedToken>,
    /// Tokens that began a phrase, by position (number of tokens before them).
    excluded_starts: BTreeMap<usize, Vec<Token>>,
}

impl Banned {
    pub fn new(vocab: &Vocab, phrases: &[String]) -> Result<Self> {
        if phrases.iter().any(String::is_empty) {
            return Err(Error::option("banned_phrases", "a phrase must not be empty"));
        }
        let mut banned = Self {
            phrases: phrases.iter().map(|phrase| phrase.clone().into_bytes()).collect(),
            ..Self::default()
        };
        if banned.is_on() {
            let mut piece = Vec::new();
            for token in 0..vocab.len() as Token {
                piece.clear();
                vocab.piece(token, false, &mut piece);
                if banned.first_in(&piece).is_some() {
                    banned.always_forbidden.push(token);
                }
            }
        }
        Ok(banned)
    }

    /// Whether any phrases are banned.
    pub fn is_on(&self) -> bool {
        !self.phrases.is_empty()
    }

    /// The tokens that must not be sampled at this position (number of tokens before it).
    pub fn forbidden_at(&self, place: usize) -> impl Iterator<Item = Token> {
        self.always_forbidden
            .iter()
            .chain(self.excluded_starts.get(&place).into_iter().flatten())
            .copied()
    }

    /// Number of delayed tokens.
    pub fn delayed(&self) -> usize {
        self.delayed.len()
    }

    /// Appends a token to the delayed ones, and decides which of them to deliver or drop.
    pub(super) fn delay(&mut self, delayed: DelayedToken) -> PhraseCheck {
        self.delayed.push_back(delayed);
        let text: Vec<u8> =
            self.delayed.iter().flat_map(|delayed| &delayed.piece).copied().collect();
        let mut end = 0;
        let ends = self.delayed.iter().map(|delayed| {
            end += delayed.piece.len();
            end
        });
        if let Some(start) = self.first_in(&text) {
            let before = ends.take_while(|end| *end <= start).count();
            return PhraseCheck::Banned(before);
        }
        let open = self
            .phrases
            .iter()
            .map(|phrase| partial_match_length(&text, phrase))
            .max()
            .unwrap_or(0);
        PhraseCheck::Certain(ends.take_while(|end| *end <= text.len() - open).count())
    }

    /// Removes and returns the first `count` delayed tokens, or all.
    pub(super) fn take(&mut self, count: Option<usize>) -> Vec<DelayedToken> {
        let count = count.unwrap_or(self.delayed.len());
        self.delayed.drain(..count).collect()
    }

    /// Drops the delayed tokens from `index` on, and forbids the first of them at its position `place`. Fails if that
    /// token was forced.
    pub fn backtrack(&mut self, index: usize, place: usize) -> Result<()> {
        let first = &self.delayed[index];
        if first.is_forced {
            let problem =
                "a phrase is in the text that ends the reasoning when its budget is used up";
            return Err(Error::option("banned_phrases", problem));
        }
        // Tokens forbidden at later positions followed a text that has been dropped.
        self.excluded_starts.split_off(&(place + 1));
        self.excluded_starts.entry(place).or_default().push(first.token);
        self.delayed.truncate(index);
        Ok(())
    }

    /// The offset of the first phrase in a text, in bytes.
    fn first_in(&self, text: &[u8]) -> Option<usize> {
        let find = |phrase: &Vec<u8>| text.windows(phrase.len()).position(|part| part == phrase);
        self.phrases.iter().filter_map(find).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banned(phrases: &[&str]) -> Banned {
        let phrases = phrases.iter().map(|phrase| phrase.as_bytes().to_vec()).collect();
        Banned { phrases, ..Banned::default() }
    }

    fn delayed(token: Token, piece: &str) -> DelayedToken {
        DelayedToken { token, piece: piece.into(), logprob: None, is_forced: false }
    }

    #[test]
    fn tokens_of_possible_phrases_are_delayed() {
        let mut banned = banned(&["bad word", "worse"]);
        assert_eq!(banned.delay(delayed(1, "not ")), PhraseCheck::Certain(1));
        assert_eq!(banned.take(Some(1)).len(), 1);
        assert_eq!(banned.delay(delayed(2, "a b")), PhraseCheck::Certain(0));
        assert_eq!(banned.delay(delayed(3, "ad ")), PhraseCheck::Certain(0));
        assert_eq!(banned.delay(delayed(4, "wo")), PhraseCheck::Certain(0));
        // The last token alone may begin another phrase.
        assert_eq!(banned.delay(delayed(5, "rs")), PhraseCheck::Certain(2));
        assert_eq!(banned.take(Some(2)).len(), 2);
        assert_eq!(banned.delay(delayed(6, "e!")), PhraseCheck::Banned(0));
    }

    #[test]
    fn phrase_start_is_forbidden_at_its_position() {
        let mut banned = banned(&["ab"]);
        banned.delay(delayed(1, "xa"));
        assert_eq!(banned.delay(delayed(2, "bc")), PhraseCheck::Banned(0));
        banned.backtrack(0, 10).unwrap();
        assert!(banned.delayed.is_empty());
        assert_eq!(banned.forbidden_at(10).collect::<Vec<_>>(), [1]);
        banned.delay(delayed(3, "ya"));
        banned.delay(delayed(4, ""));
        assert_eq!(banned.delay(delayed(2, "b")), PhraseCheck::Banned(0));
        banned.backtrack(0, 10).unwrap();
        assert_eq!(banned.forbidden_at(10).collect::<Vec<_>>(), [1, 3]);
        // After going back to an earlier position, tokens forbidden later are allowed again.
        banned.delay(delayed(5, "a"));
        banned.delay(delayed(6, "b"));
        banned.backtrack(0, 9).unwrap();
        assert_eq!(banned.forbidden_at(10).count(), 0);
        assert_eq!(banned.forbidden_at(9).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn forced_phrases_cannot_be_avoided() {
        let mut banned = banned(&["ab"]);
        banned.delay(DelayedToken { is_forced: true, ..delayed(1, "ab") });
        assert!(banned.backtrack(0, 3).is_err());
    }
}
