//! Long texts in parts that are tokenised each by itself, to the tokens that the engine makes of the whole.
//!
//! Some of the engine's loops take a time that grows with the square of a text: it counts the parts around special
//! tokens from the beginning for each of them, and where a vocabulary of `SentencePiece` has no token for a character,
//! it copies all tokens so far.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use crate::Token;
use aho_corasick::{AhoCorasick, MatchKind};

/// How a vocabulary's texts may be cut.
pub(super) struct Cuts {
    specials: Vec<Special>,
    finder: AhoCorasick,
    /// Characters that stand next to each other in a token. Only vocabularies that merge pairs have them.
    pairs: Option<HashSet<(char, char)>>,
}

/// A token that the engine looks for before it makes tokens of the rest.
pub(super) struct Special {
    pub token: Token,
    pub text: String,
    /// What people write is not looked through for it.
    pub is_markup: bool,
    /// White space before it goes, and after it.
    pub strips: (bool, bool),
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Token(Token),
    Text(Range<usize>),
}

impl Cuts {
    /// `merged`: the texts of all tokens, where pairs of tokens are merged in the order of their scores.
    pub fn new<'a>(
        mut specials: Vec<Special>,
        merged: Option<impl Iterator<Item = &'a str>>,
    ) -> Self {
        let pairs = merged.map(|texts| {
            texts
                .flat_map(|text| text.chars().zip(text.chars().skip(1)))
                .map(|(one, other)| (as_merged(one), as_merged(other)))
                .collect()
        });
        // The longest first: the engine looks for them in this order.
        specials.sort_by_key(|special| std::cmp::Reverse(special.text.len()));
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(specials.iter().map(|special| &special.text))
            .expect("texts of a vocabulary are few enough");
        Self { specials, finder, pairs }
    }

    /// The special tokens in a text and what is between them, as the engine finds them. Nothing where that depends
    /// on an order that it does not tell.
    pub fn parts(&self, text: &str, parse_special: bool) -> Option<Vec<Part>> {
        let mut found: BTreeMap<usize, Range<usize>> = BTreeMap::new();
        for occurrence in self.finder.find_overlapping_iter(text) {
            let index = occurrence.pattern().as_usize();
            let special = &self.specials[index];
            if special.is_markup && !parse_special {
                continue;
            }
            // With the white space that goes with it.
            let mut range = occurrence.range();
            if special.strips.0 {
                range.start = text[..range.start].trim_end_matches(is_space).len();
            }
            if special.strips.1 {
                range.end = text.len() - text[range.end..].trim_start_matches(is_space).len();
            }
            let length = special.text.len();
            // The last one of each is enough: what overlaps an earlier one came before it.
            let same =
                |other: &usize| self.specials[*other].text.len() == length && *other != index;
            if found.iter().any(|(other, before)| same(other) && before.end > range.start) {
                return None;
            }
            found.insert(index, range);
        }
        let mut parts = vec![Part::Text(0..text.len())];
        for index in found.into_keys() {
            let mut next = Vec::with_capacity(parts.len());
            for part in parts {
                match part {
                    Part::Token(_) => next.push(part),
                    Part::Text(range) => self.specials[index].divide(text, range, &mut next),
                }
            }
            parts = next;
        }
        parts.retain(|part| *part != Part::Text(0..0));
        Some(parts)
    }

    /// Parts of a text of at least so many bytes, but for the last, which no token reaches across.
    pub fn pieces<'a>(
        &'a self,
        text: &'a str,
        bytes: usize,
    ) -> impl Iterator<Item = Range<usize>> + 'a {
        let mut start = 0;
        std::iter::from_fn(move || {
            if start == text.len() {
                return None;
            }
            let end = self.next_cut(text, start, bytes).unwrap_or(text.len());
            Some(std::mem::replace(&mut start, end)..end)
        })
    }

    fn next_cut(&self, text: &str, start: usize, bytes: usize) -> Option<usize> {
        let pairs = self.pairs.as_ref()?;
        let from = (start + bytes..text.len()).find(|at| text.is_char_boundary(*at))?;
        let mut before = text[..from].chars().next_back()?;
        for (at, character) in text[from..].char_indices() {
            if !pairs.contains(&(as_merged(before), as_merged(character))) {
                return Some(from + at);
            }
            before = character;
        }
        None
    }
}

impl Special {
    /// Divides a part of a text at each place where this token is.
    fn divide(&self, text: &str, range: Range<usize>, parts: &mut Vec<Part>) {
        let Range { mut start, end } = range;
        while let Some(at) = text[start..end].find(&self.text) {
            let mut before = &text[start..start + at];
            if self.strips.0 {
                before = before.trim_end_matches(is_space);
            }
            if !before.is_empty() {
                parts.push(Part::Text(start..start + before.len()));
            }
            parts.push(Part::Token(self.token));
            start += at + self.text.len();
            if self.strips.1 {
                start = end - text[start..end].trim_start_matches(is_space).len();
            }
        }
        if start < end {
            parts.push(Part::Text(start..end));
        }
    }
}

/// As C has it.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t'..='\r')
}

/// What stands for a character while pairs are merged.
fn as_merged(character: char) -> char {
    if character == ' ' { '\u{2581}' } else { character }
}
