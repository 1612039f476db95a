//! Banned phrases: phrases that an answer must not contain.
//!
//! Tokens that may begin a banned phrase are delayed until the phrase is ruled out. If a phrase is completed, the
//! request goes back to the token with which the phrase began, and cannot choose that token again at that position.

use std::collections::{BTreeMap, VecDeque};

use super::completion::TokenLogprob;
use crate::engine::Vocab;
use crate::{Error, Result, Token};

/// A delayed token: it may be part of a banned phrase.
pub(super) struct Held {
    pub token: Token,
    pub piece: Vec<u8>,
    pub logprob: Option<TokenLogprob>,
    /// Whether the token was forced and not sampled.
    pub is_forced: bool,
}

/// What to do with the delayed tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
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
    never: Vec<Token>,
    /// The delayed tokens, oldest first.
    held: VecDeque<Held>,
    /// Tokens that began a phrase, by position (number of tokens before them).
    begun: BTreeMap<usize, Vec<Token>>,
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
                    banned.never.push(token);
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
        self.never.iter().chain(self.begun.get(&place).into_iter().flatten()).copied()
    }

    /// Number of delayed tokens.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Appends a token to the delayed ones, and decides which of them to deliver or drop.
    pub(super) fn hold(&mut self, held: Held) -> Verdict {
        self.held.push_back(held);
        let text: Vec<u8> = self.held.iter().flat_map(|held| &held.piece).copied().collect();
        let mut end = 0;
        let ends = self.held.iter().map(|held| {
            end += held.piece.len();
            end
        });
        if let Some(start) = self.first_in(&text) {
            let before = ends.take_while(|end| *end <= start).count();
            return Verdict::Banned(before);
        }
        let open = self.phrases.iter().map(|phrase| begun(&text, phrase)).max().unwrap_or(0);
        Verdict::Certain(ends.take_while(|end| *end <= text.len() - open).count())
    }

    /// Removes and returns the first `count` delayed tokens, or all.
    pub(super) fn take(&mut self, count: Option<usize>) -> Vec<Held> {
        let count = count.unwrap_or(self.held.len());
        self.held.drain(..count).collect()
    }

    /// Drops the delayed tokens from `index` on, and forbids the first of them at its position `place`. Fails if that
    /// token was forced.
    pub fn go_back(&mut self, index: usize, place: usize) -> Result<()> {
        let first = &self.held[index];
        if first.is_forced {
            let problem =
                "a phrase is in the text that ends the reasoning when its budget is used up";
            return Err(Error::option("banned_phrases", problem));
        }
        // Tokens forbidden at later positions followed a text that has been dropped.
        self.begun.split_off(&(place + 1));
        self.begun.entry(place).or_default().push(first.token);
        self.held.truncate(index);
        Ok(())
    }

    /// The offset of the first phrase in a text, in bytes.
    fn first_in(&self, text: &[u8]) -> Option<usize> {
        let find = |phrase: &Vec<u8>| text.windows(phrase.len()).position(|part| part == phrase);
        self.phrases.iter().filter_map(find).min()
    }
}

/// The length in bytes of the longest proper prefix of `phrase` that `text` ends with.
fn begun(text: &[u8], phrase: &[u8]) -> usize {
    let longest = (phrase.len() - 1).min(text.len());
    (1..=longest).rev().find(|&length| text.ends_with(&phrase[..length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banned(phrases: &[&str]) -> Banned {
        let phrases = phrases.iter().map(|phrase| phrase.as_bytes().to_vec()).collect();
        Banned { phrases, ..Banned::default() }
    }

    fn held(token: Token, piece: &str) -> Held {
        Held { token, piece: piece.into(), logprob: None, is_forced: false }
    }

    #[test]
    fn tokens_of_possible_phrases_are_delayed() {
        let mut banned = banned(&["bad word", "worse"]);
        assert_eq!(banned.hold(held(1, "not ")), Verdict::Certain(1));
        assert_eq!(banned.take(Some(1)).len(), 1);
        assert_eq!(banned.hold(held(2, "a b")), Verdict::Certain(0));
        assert_eq!(banned.hold(held(3, "ad ")), Verdict::Certain(0));
        assert_eq!(banned.hold(held(4, "wo")), Verdict::Certain(0));
        // The last token alone may begin another phrase.
        assert_eq!(banned.hold(held(5, "rs")), Verdict::Certain(2));
        assert_eq!(banned.take(Some(2)).len(), 2);
        assert_eq!(banned.hold(held(6, "e!")), Verdict::Banned(0));
    }

    #[test]
    fn phrase_start_is_forbidden_at_its_position() {
        let mut banned = banned(&["ab"]);
        banned.hold(held(1, "xa"));
        assert_eq!(banned.hold(held(2, "bc")), Verdict::Banned(0));
        banned.go_back(0, 10).unwrap();
        assert!(banned.held.is_empty());
        assert_eq!(banned.forbidden_at(10).collect::<Vec<_>>(), [1]);
        banned.hold(held(3, "ya"));
        banned.hold(held(4, ""));
        assert_eq!(banned.hold(held(2, "b")), Verdict::Banned(0));
        banned.go_back(0, 10).unwrap();
        assert_eq!(banned.forbidden_at(10).collect::<Vec<_>>(), [1, 3]);
        // After going back to an earlier position, tokens forbidden later are allowed again.
        banned.hold(held(5, "a"));
        banned.hold(held(6, "b"));
        banned.go_back(0, 9).unwrap();
        assert_eq!(banned.forbidden_at(10).count(), 0);
        assert_eq!(banned.forbidden_at(9).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn forced_phrases_cannot_be_avoided() {
        let mut banned = banned(&["ab"]);
        banned.hold(Held { is_forced: true, ..held(1, "ab") });
        assert!(banned.go_back(0, 3).is_err());
    }
}
