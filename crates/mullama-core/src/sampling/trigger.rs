//! Triggers of lazy grammars, which apply from the start of a tool call and not from the start of the answer.

use fancy_regex::Regex;

use crate::engine::Vocab;
use crate::{Error, ErrorKind, Result, Token};

/// What activates a grammar.
#[derive(Debug, Clone, Default)]
pub(crate) struct GrammarTriggers {
    /// Texts.
    pub words: Vec<String>,
    /// Regular expressions for the answer so far. The grammar applies from their first group on, if they have one.
    pub patterns: Vec<String>,
    /// Tokens.
    pub tokens: Vec<Token>,
}

/// Searches an answer for a trigger while it is generated.
#[derive(Clone)]
pub(super) struct Trigger {
    words: Vec<String>,
    patterns: Vec<Regex>,
    tokens: Vec<Token>,
    /// The answer so far.
    text: String,
    /// The bytes after it that do not form a whole character.
    rest: Vec<u8>,
}

impl Trigger {
    pub fn new(triggers: &GrammarTriggers) -> Result<Self> {
        let patterns = triggers.patterns.iter().map(|pattern| {
            Regex::new(pattern).map_err(|error| {
                let what = format!("a trigger of the engine cannot be read: {error}");
                Error::new(ErrorKind::Internal, what)
            })
        });
        Ok(Self {
            words: triggers.words.clone(),
            patterns: patterns.collect::<Result<_>>()?,
            tokens: triggers.tokens.clone(),
            text: String::new(),
            rest: Vec::new(),
        })
    }

    /// If a token activates the grammar, returns the bytes that the grammar starts with.
    pub fn triggered_by(&self, vocab: &Vocab, token: Token) -> Option<Vec<u8>> {
        let mut piece = Vec::new();
        vocab.piece(token, true, &mut piece);
        if self.tokens.contains(&token) {
            return Some(piece);
        }
        let bytes = [self.rest.as_slice(), &piece].concat();
        let (new, rest) = characters(&bytes);
        if new.is_empty() {
            return None;
        }
        let longest = self.words.iter().map(String::len).max().unwrap_or(0);
        // A word that was already complete would have activated the grammar before.
        let from = self.text.len().saturating_sub(longest);
        let from = (0..=from).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        let tail = format!("{}{new}", &self.text[from..]);
        let word = self.words.iter().filter_map(|word| tail.find(word.as_str())).min();
        let begun = match word {
            Some(at) => tail[at..].to_owned(),
            None if self.patterns.is_empty() => return None,
            None => {
                let whole = format!("{}{new}", self.text);
                let at = self.patterns.iter().find_map(|pattern| grammar_start(pattern, &whole))?;
                whole[at..].to_owned()
            }
        };
        Some([begun.as_bytes(), rest].concat())
    }

    /// As [`Self::triggered_by`], but also records the token.
    pub fn accept(&mut self, vocab: &Vocab, token: Token) -> Option<Vec<u8>> {
        let begun = self.triggered_by(vocab, token);
        if begun.is_none() {
            let mut piece = Vec::new();
            vocab.piece(token, true, &mut piece);
            self.rest.extend(piece);
            let (new, rest) = characters(&self.rest);
            self.text.push_str(&new);
            self.rest = rest.to_vec();
        }
        begun
    }
}

/// Where the grammar starts to apply: at the first nonempty group of a match, or else at the match.
fn grammar_start(pattern: &Regex, text: &str) -> Option<usize> {
    let found = pattern.captures(text).ok()??;
    let group = found.iter().skip(1).flatten().find(|group| !group.as_str().is_empty());
    group.or_else(|| found.get(0)).map(|group| group.start())
}

/// Decodes bytes to characters. Also returns the bytes of an incomplete character at the end.
fn characters(bytes: &[u8]) -> (String, &[u8]) {
    let mut text = String::new();
    let mut left = bytes;
    loop {
        match std::str::from_utf8(left) {
            Ok(rest) => {
                text.push_str(rest);
                return (text, &[]);
            }
            Err(error) => {
                let (valid, after) = left.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                let Some(count) = error.error_len() else { return (text, after) };
                text.push(char::REPLACEMENT_CHARACTER);
                left = &after[count..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar_starts_at_the_first_capture_group() {
        for (pattern, text, at) in [
            ("a(b)?c", "xac", Some(1)),
            ("a(b)?c", "xabc", Some(2)),
            ("^a$", "ba", None),
            (">>>(?!all)", ">>>f", Some(0)),
        ] {
            assert_eq!(grammar_start(&Regex::new(pattern).unwrap(), text), at, "{pattern}");
        }
    }

    #[test]
    fn partial_utf8_is_carried_over() {
        assert_eq!(characters("a\u{e9}".as_bytes()), ("a\u{e9}".to_owned(), &[][..]));
        assert_eq!(characters(b"a\xc3"), ("a".to_owned(), &b"\xc3"[..]));
        assert_eq!(characters(b"a\xffb"), ("a\u{fffd}b".to_owned(), &[][..]));
    }
}
