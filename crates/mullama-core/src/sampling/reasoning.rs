//! Limits a model's reasoning: when the budget is spent, the tag that ends reasoning in the model's
//! template is forced as the next text, and the answer follows.

use std::collections::VecDeque;

use super::tag_search::TagSearch;
use crate::engine::Vocab;
use crate::{Result, Token};

/// How a model's template marks reasoning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReasoningTags {
    /// The tag before reasoning; empty if the answer starts inside it.
    pub start: String,
    /// The tags after reasoning. The first one is forced when the budget is spent.
    pub ends: Vec<String>,
    /// End of the prompt that belongs to the answer: it may open the reasoning.
    pub prefill: String,
}

impl ReasoningTags {
    /// All tags.
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.ends.iter().chain([&self.start])
    }

    /// Whether the prompt ends within reasoning.
    pub fn begin_inside(&self) -> bool {
        let last = |tag: &String| self.prefill.rfind(tag.as_str());
        let ended = self.ends.iter().filter_map(last).max();
        if self.start.is_empty() {
            return ended.is_none();
        }
        last(&self.start) > ended
    }

    /// Whether the prompt ends after reasoning, which is then over.
    pub fn are_closed(&self) -> bool {
        self.ends.iter().any(|end| self.prefill.contains(end)) && !self.begin_inside()
    }
}

/// The limit on reasoning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReasoningSpec {
    /// Largest number of tokens.
    pub budget: u32,
    pub tags: ReasoningTags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Outside,
    /// Number of tokens left.
    Inside(u32),
}

/// Counts the tokens of an answer's reasoning.
pub(crate) struct ReasoningBudget {
    vocab: Vocab,
    spec: ReasoningSpec,
    state: State,
    /// The end of the answer, to find tags of several tokens.
    search: TagSearch,
    /// The tokens that must be next.
    forced: VecDeque<Token>,
    piece: Vec<u8>,
}

impl ReasoningBudget {
    pub fn new(vocab: &Vocab, spec: ReasoningSpec) -> Result<Self> {
        let state = State::Outside;
        let (search, vocab) = (TagSearch::new(spec.tags.all()), vocab.clone());
        let (forced, piece) = (VecDeque::new(), Vec::new());
        let mut budget = Self { vocab, spec, state, search, forced, piece };
        if budget.spec.tags.begin_inside() {
            budget.enter()?;
        }
        Ok(budget)
    }

    /// The token that must be next, if the budget is spent.
    pub fn forced(&self) -> Option<Token> {
        self.forced.front().copied()
    }

    /// Records a token of the answer.
    pub fn accept(&mut self, token: Token) -> Result<()> {
        let is_forced = self.forced.front() == Some(&token);
        if is_forced {
            self.forced.pop_front();
        }
        let mut piece = std::mem::take(&mut self.piece);
        self.vocab.piece(token, true, &mut piece);
        self.search.push(&piece);
        self.piece = piece;
        match self.state {
            State::Outside
                if self.search.has_one_of(std::slice::from_ref(&self.spec.tags.start)) =>
            {
                self.enter()?;
            }
            State::Inside(_) if self.search.has_one_of(&self.spec.tags.ends) => {
                self.state = State::Outside;
                self.search.clear();
            }
            State::Inside(left) if !is_forced => self.spend(left)?,
            _ => {}
        }
        self.search.trim();
        Ok(())
    }

    fn enter(&mut self) -> Result<()> {
        self.search.clear();
        self.state = State::Inside(self.spec.budget);
        if self.spec.budget == 0 { self.close() } else { Ok(()) }
    }

    fn spend(&mut self, left: u32) -> Result<()> {
        let left = left.saturating_sub(1);
        self.state = State::Inside(left);
        if left == 0 && ends_at_character(self.search.tail()) { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<()> {
        if let Some(end) = self.spec.tags.ends.first() {
            self.forced = self.vocab.tokenize(end, false, true)?.into();
        }
        Ok(())
    }
}

/// Whether a text ends with a whole character.
fn ends_at_character(text: &[u8]) -> bool {
    let Some(start) = text.iter().rposition(|byte| byte & 0xC0 != 0x80) else { return true };
    match std::str::from_utf8(&text[start..]) {
        Ok(_) => true,
        Err(error) => error.error_len().is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_utf8_is_not_a_character_end() {
        assert!(ends_at_character(b""));
        assert!(ends_at_character("caf\u{e9}".as_bytes()));
        assert!(!ends_at_character(&"caf\u{e9}".as_bytes()[..4]));
        assert!(!ends_at_character(&"\u{1f600}".as_bytes()[..3]));
        // Invalid UTF-8 does not become valid by waiting.
        assert!(ends_at_character(b"\xff"));
    }
}
