//! Splits long texts into parts that can be tokenised separately, with the same tokens as the engine's for the whole
//! text.
//!
//! Some loops of the engine take time quadratic in the length of the text: for each special token it recounts the parts
//! from the beginning, and where a `SentencePiece` vocabulary has no token for a character, it copies all tokens so
//! far.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use crate::Token;
use aho_corasick::{AhoCorasick, MatchKind};

/// The places where texts of a vocabulary may be cut.
pub(super) struct SplitRules {
    specials: Vec<Special>,
    finder: AhoCorasick,
    /// Pairs of characters that are adjacent in some token. Set only for vocabularies that merge pairs.
    pairs: Option<HashSet<(char, char)>>,
}

/// A token that the engine searches for before it tokenises the rest.
pub(super) struct Special {
    pub token: Token,
    pub text: String,
    /// Whether it is found only if special tokens are parsed, so not in text of users.
    pub is_markup: bool,
    /// Whether white space before it, and after it, is stripped.
    pub strips: (bool, bool),
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Token(Token),
    Text(Range<usize>),
}

impl SplitRules {
    /// `merged` has the texts of all tokens if the vocabulary merges pairs of tokens in the order of their scores.
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
        // The longest first: the engine searches in this order.
        specials.sort_by_key(|special| std::cmp::Reverse(special.text.len()));
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(specials.iter().map(|special| &special.text))
            .expect("texts of a vocabulary are few enough");
        Self { specials, finder, pairs }
    }

    /// Splits a text into its special tokens and the text between them, as the engine does. `None` if the result
    /// depends on an order that the engine does not expose.
    pub fn parts(&self, text: &str, parse_special: bool) -> Option<Vec<Part>> {
        let mut found: BTreeMap<usize, Range<usize>> = BTreeMap::new();
        for occurrence in self.finder.find_overlapping_iter(text) {
            let index = occurrence.pattern().as_usize();
            let special = &self.specials[index];
            if special.is_markup && !parse_special {
                continue;
            }
            // Including the white space that it strips.
            let mut range = occurrence.range();
            if special.strips.0 {
                range.start = text[..range.start].trim_end_matches(is_space).len();
            }
            if special.strips.1 {
                range.end = text.len() - text[range.end..].trim_start_matches(is_space).len();
            }
            let length = special.text.len();
            // Only the last occurrence of each token need be compared: of several that overlap this one, it ends last.
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

    /// Ranges of a text of at least `bytes` each, except the last, such that no token spans two of them.
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
    /// Splits a range of a text at each occurrence of this token.
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

/// White space as C defines it.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t'..='\r')
}

/// The character that represents another while pairs are merged.
fn as_merged(character: char) -> char {
    if character == ' ' { '\u{2581}' } else { character }
}
