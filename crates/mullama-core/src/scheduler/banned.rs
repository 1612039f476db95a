//! Phrases that an answer must not contain.
//!
//! Tokens that may begin one are held back until it is certain that they do not. When a phrase is complete, the
//! answer goes back to the token in which it began, which is not chosen again at that place.

use std::collections::{BTreeMap, VecDeque};

use super::completion::TokenLogprob;
use crate::engine::Vocab;
use crate::{Error, Result, Token};

/// A token that may be the beginning of a phrase.
pub(super) struct Held {
    pub token: Token,
    pub piece: Vec<u8>,
    pub logprob: Option<TokenLogprob>,
    /// Whether it was not chosen, but settled.
    pub is_forced: bool,
}

/// What becomes of the tokens that are held back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// So many of them are part of the answer.
    Certain(usize),
    /// With the one of this index a phrase begins.
    Banned(usize),
}

/// The phrases that one answer must not contain, and how far it may have come with them.
#[derive(Default)]
pub(crate) struct Banned {
    phrases: Vec<Vec<u8>>,
    /// Tokens that have a phrase within themselves.
    never: Vec<Token>,
    /// The last tokens, which are not part of the answer yet.
    held: VecDeque<Held>,
    /// Tokens that began a phrase, by how many tokens were before them.
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

    /// Whether there are any phrases.
    pub fn is_on(&self) -> bool {
        !self.phrases.is_empty()
    }

    /// Tokens that are not to be chosen after so many.
    pub fn forbidden_at(&self, place: usize) -> impl Iterator<Item = Token> {
        self.never.iter().chain(self.begun.get(&place).into_iter().flatten()).copied()
    }

    /// How many tokens are held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether a phrase was avoided by what is chosen after so many tokens.
    pub fn acts_at(&self, place: usize) -> bool {
        self.begun.contains_key(&place)
    }

    /// Adds a token, and judges all that are held back.
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

    /// Takes out those that are certain: `count` of the tokens that are held back, or all.
    pub(super) fn take(&mut self, count: Option<usize>) -> Vec<Held> {
        let count = count.unwrap_or(self.held.len());
        self.held.drain(..count).collect()
    }

    /// Goes back to before the held token of this index, which is after `place` tokens, and is not chosen there
    /// again. An error where it was not chosen at all.
    pub fn go_back(&mut self, index: usize, place: usize) -> Result<()> {
        let first = &self.held[index];
        if first.is_forced {
            let problem =
                "a phrase is in the text that ends the reasoning when its budget is used up";
            return Err(Error::option("banned_phrases", problem));
        }
        // What was avoided further on was avoided in another text.
        self.begun.split_off(&(place + 1));
        self.begun.entry(place).or_default().push(first.token);
        self.held.truncate(index);
        Ok(())
    }

    /// Where the first phrase in a text begins.
    fn first_in(&self, text: &[u8]) -> Option<usize> {
        let find = |phrase: &Vec<u8>| text.windows(phrase.len()).position(|part| part == phrase);
        self.phrases.iter().filter_map(find).min()
    }
}

/// The length of the longest end of a text that is a beginning of a phrase.
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
    fn tokens_are_held_back_while_a_phrase_may_come() {
        let mut banned = banned(&["bad word", "worse"]);
        assert_eq!(banned.hold(held(1, "not ")), Verdict::Certain(1));
        assert_eq!(banned.take(Some(1)).len(), 1);
        assert_eq!(banned.hold(held(2, "a b")), Verdict::Certain(0));
        assert_eq!(banned.hold(held(3, "ad ")), Verdict::Certain(0));
        assert_eq!(banned.hold(held(4, "wo")), Verdict::Certain(0));
        // Another phrase may have begun with the last token alone.
        assert_eq!(banned.hold(held(5, "rs")), Verdict::Certain(2));
        assert_eq!(banned.take(Some(2)).len(), 2);
        assert_eq!(banned.hold(held(6, "e!")), Verdict::Banned(0));
    }

    #[test]
    fn a_token_that_began_a_phrase_is_not_chosen_there_again() {
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
        // Back to an earlier place: what was avoided here may be right after another text.
        banned.hold(held(5, "a"));
        banned.hold(held(6, "b"));
        banned.go_back(0, 9).unwrap();
        assert_eq!(banned.forbidden_at(10).count(), 0);
        assert_eq!(banned.forbidden_at(9).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn what_was_not_chosen_cannot_be_avoided() {
        let mut banned = banned(&["ab"]);
        banned.hold(Held { is_forced: true, ..held(1, "ab") });
        assert!(banned.go_back(0, 3).is_err());
    }
}
