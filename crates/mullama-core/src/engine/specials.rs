//! Special tokens in prompts: text of a template may contain them, text of users is plain text.

use std::collections::HashSet;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use mullama_sys as sys;

use super::vocab::Vocab;
use crate::{Result, Token};

/// The control tokens of a vocabulary: they mark turns, tools and so on, and are not text.
pub(crate) struct Specials {
    finder: AhoCorasick,
    texts: Vec<Special>,
    /// All proper prefixes of their texts.
    beginnings: HashSet<String>,
}

struct Special {
    text: String,
    /// Whether the tokenizer strips white space before it, and after it.
    strips: (bool, bool),
}

/// A text with ranges written by users, in which special tokens are plain text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Prompt {
    pub text: String,
    /// Ranges of special tokens that users wrote, in order. An empty range marks a boundary that no special token may
    /// span.
    pub written: Vec<Range<usize>>,
}

impl Prompt {
    /// Splits the prompt at each occurrence of a character.
    pub fn split(&self, at: char) -> Vec<Self> {
        let mut start = 0;
        let parts = self.text.split(at).map(|text| {
            let range = start..start + text.len();
            start = range.end + at.len_utf8();
            let within =
                |written: &&Range<usize>| written.start >= range.start && written.end <= range.end;
            let moved =
                |written: &Range<usize>| written.start - range.start..written.end - range.start;
            let written = self.written.iter().filter(within).map(moved).collect();
            Self { text: text.to_owned(), written }
        });
        parts.collect()
    }
}

impl Specials {
    pub fn of(vocab: &Vocab) -> Self {
        let mut piece = Vec::new();
        let texts: Vec<Special> = (0..vocab.len() as Token)
            .filter_map(|token| {
                let kind = vocab.attributes(token);
                if kind & (sys::LLAMA_TOKEN_ATTR_CONTROL | sys::LLAMA_TOKEN_ATTR_UNKNOWN) == 0 {
                    return None;
                }
                vocab.piece(token, true, &mut piece);
                let text = std::str::from_utf8(&piece).ok().filter(|text| !text.is_empty())?;
                Some(Special { text: text.to_owned(), strips: vocab.strips(token) })
            })
            .collect();
        Self::new(texts)
    }

    fn new(texts: Vec<Special>) -> Self {
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(texts.iter().map(|special| &special.text))
            .expect("texts of a vocabulary are few enough");
        let beginnings = texts.iter().flat_map(|special| {
            special.text.char_indices().skip(1).map(|(at, _)| special.text[..at].to_owned())
        });
        let beginnings = beginnings.collect();
        Self { finder, texts, beginnings }
    }

    pub fn text(&self, index: usize) -> &str {
        &self.texts[index].text
    }

    /// Finds the special tokens in a text: their ranges and their indices.
    pub fn find(&self, text: &str) -> impl Iterator<Item = (Range<usize>, usize)> {
        self.finder.find_iter(text).map(|found| (found.range(), found.pattern().as_usize()))
    }

    /// Whether a text ends with a proper prefix of a special token.
    pub fn ends_in_partial_special(&self, text: &str) -> bool {
        let longest = self.texts.iter().map(|special| special.text.len()).max().unwrap_or_default();
        let ends = text.char_indices().rev().take_while(|(at, _)| text.len() - at < longest);
        ends.into_iter().any(|(at, _)| self.beginnings.contains(&text[at..]))
    }

    /// The tokens of each part of a prompt. Special tokens of the template are parsed; text of users is tokenised as
    /// plain text.
    pub fn tokenize(&self, vocab: &Vocab, prompt: &[Prompt]) -> Result<Vec<Vec<Token>>> {
        let mut all = Vec::with_capacity(prompt.len());
        let mut last = None;
        for (place, prompt) in prompt.iter().enumerate() {
            let parts = if prompt.written.is_empty() {
                vec![Part { text: &prompt.text, has_specials: true }]
            } else {
                self.parts(prompt)
            };
            let mut tokens = Vec::new();
            for (index, part) in parts.into_iter().enumerate() {
                let is_first = place == 0 && index == 0;
                tokens.extend(vocab.tokenize(part.text, is_first, part.has_specials)?);
                // The token that the vocabulary adds after a text goes after the last part.
                if is_first && vocab.adds_end() {
                    last = tokens.pop();
                }
            }
            all.push(tokens);
        }
        if let Some(tokens) = all.last_mut() {
            tokens.extend(last);
        }
        Ok(all)
    }

    /// Splits a prompt into parts that can be tokenised separately: they are cut at special tokens.
    fn parts<'a>(&self, prompt: &'a Prompt) -> Vec<Part<'a>> {
        let Prompt { text, written } = prompt;
        // Special tokens of the template: those outside the ranges of users.
        let mut specials = Vec::new();
        let mut from = 0;
        for range in written.iter().chain([&(text.len()..text.len())]) {
            let found = self.find(&text[from..range.start]);
            specials
                .extend(found.map(|(found, index)| (from + found.start, from + found.end, index)));
            from = range.end;
        }
        let mut parts = Vec::new();
        let mut written = written.iter().peekable();
        // Start of the text that is not in a part yet, and end of the last special token.
        let (mut begin, mut start, mut strips) = (0, 0, false);
        let end = (text.len(), text.len(), usize::MAX);
        for (special_start, special_end, index) in specials.into_iter().chain([end]) {
            let own = self.texts.get(index).map(|special| special.strips).unwrap_or_default();
            let mut is_written = false;
            while written.next_if(|range| range.end <= special_start).is_some() {
                is_written = true;
            }
            if is_written {
                if begin < start {
                    parts.push(Part { text: &text[begin..start], has_specials: true });
                }
                let mut between = &text[start..special_start];
                if strips {
                    between = between.trim_start_matches(|c: char| c.is_ascii_whitespace());
                }
                if own.0 {
                    between = between.trim_end_matches(|c: char| c.is_ascii_whitespace());
                }
                if !between.is_empty() {
                    parts.push(Part { text: between, has_specials: false });
                }
                begin = special_start;
            }
            (start, strips) = (special_end, own.1);
        }
        if begin < text.len() {
            parts.push(Part { text: &text[begin..], has_specials: true });
        }
        parts
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Part<'a> {
    text: &'a str,
    has_specials: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specials() -> Specials {
        let special = |text: &str, strips| Special { text: text.to_owned(), strips };
        Specials::new(vec![
            special("<a>", (false, false)),
            special("<a>b", (false, false)),
            special("<s>", (true, true)),
        ])
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "lists of ranges")]
    fn user_text_is_separate_from_template_text() {
        let text = |text| Part { text, has_specials: false };
        let markup = |text| Part { text, has_specials: true };
        for (prompt, written, parts) in [
            // A user's special token in the middle.
            ("<a>x<a>y<a>z", vec![4..7], vec![markup("<a>"), text("x<a>y"), markup("<a>z")]),
            ("x<a>y", vec![1..4], vec![text("x<a>y")]),
            ("<a><a>", vec![3..6], vec![markup("<a>"), text("<a>")]),
            ("<a><a>", vec![0..3], vec![text("<a>"), markup("<a>")]),
            // One half in each of two texts.
            ("<a>x<a>", vec![5..5], vec![markup("<a>"), text("x<a>")]),
            ("<a>b", vec![3..3], vec![markup("<a>"), text("b")]),
            // White space around a token that strips it.
            ("<s> <a> <s> x", vec![4..7], vec![markup("<s>"), text("<a>"), markup("<s> x")]),
            (
                "<a>1<a>2<a>3<a>4",
                vec![4..7, 12..15],
                vec![markup("<a>"), text("1<a>2"), markup("<a>"), text("3<a>4")],
            ),
        ] {
            let prompt = Prompt { text: prompt.to_owned(), written };
            assert_eq!(specials().parts(&prompt), parts, "{prompt:?}");
        }
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "lists of ranges")]
    fn splitting_preserves_user_ranges() {
        let prompt = Prompt { text: "a<a>|b|<a>".to_owned(), written: vec![1..4, 7..10] };
        let parts = prompt.split('|');
        let texts: Vec<_> = parts.iter().map(|part| part.text.as_str()).collect();
        assert_eq!(texts, ["a<a>", "b", "<a>"]);
        let written: Vec<_> = parts.into_iter().map(|part| part.written).collect();
        assert_eq!(written, [vec![1..4], vec![], vec![0..3]]);
    }

    #[test]
    fn partial_special_tokens_are_detected() {
        for (text, is_begun) in
            [("x<", true), ("x<a", true), ("<a>", true), ("x", false), ("", false)]
        {
            assert_eq!(specials().ends_in_partial_special(text), is_begun, "{text}");
        }
    }
}
