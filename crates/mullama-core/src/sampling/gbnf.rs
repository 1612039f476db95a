//! Grammars in the engine's notation (GBNF): which tokens may be next, and the position in a text.
//!
//! The engine parses a grammar; this module follows it. The engine's own implementation processes each possible
//! position separately and takes far too long if there are many: under `([a-z]+)+`, letters can be split in a thousand
//! ways. Here equal positions are merged, and work is limited.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::sync::Arc;

use mullama_sys as sys;
use serde::Deserialize;

use crate::engine::Vocab;
use crate::{Error, ErrorKind, Result, Token};

/// Limit of the positions that are processed for one token, or for one check of all tokens.
const MAX_STEPS: usize = 20_000_000;
/// Limit of simultaneous positions.
const MAX_POSITIONS: usize = 20_000;
/// Number of entries in the table of stacks above which unused ones are removed. A token may add as many.
const MAX_STACKS: usize = 1 << 20;

/// `llama_gretype`
mod kind {
    pub const END: u32 = 0;
    pub const ALTERNATIVE: u32 = 1;
    pub const RULE: u32 = 2;
    pub const CHARACTER: u32 = 3;
    pub const NOT_CHARACTER: u32 = 4;
    /// The upper end of the range that the previous element starts.
    pub const UPPER: u32 = 5;
    /// One more character of the set that the previous elements start.
    pub const OR_CHARACTER: u32 = 6;
    pub const ANY_CHARACTER: u32 = 7;
    pub const TOKEN: u32 = 8;
    pub const NOT_TOKEN: u32 = 9;
}

/// An element of a rule: its kind, and a character, a rule or a token.
type Element = (u32, u32);

/// A grammar as parsed by the engine.
#[derive(Deserialize)]
struct Parsed {
    root: usize,
    rules: Vec<Vec<Element>>,
}

/// The elements still to be matched: an index into the table of stacks.
type Stack = u32;

/// The empty stack: nothing is left to match.
const EMPTY_STACK: Stack = u32::MAX;

/// The first bytes of an incomplete character in UTF-8, which other bytes can complete; or none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Partial {
    bytes: [u8; 3],
    length: usize,
}

impl Partial {
    fn new(begun: &[u8]) -> Self {
        let mut bytes = [0; 3];
        bytes[..begun.len()].copy_from_slice(begun);
        Self { bytes, length: begun.len() }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The first and the last character that may begin in this way. `None` if no character is begun.
    fn characters(&self) -> Option<[u32; 2]> {
        let lead = *self.bytes().first()?;
        let second = match lead {
            0xe0 => [0xa0, 0xbf],
            0xed => [0x80, 0x9f],
            0xf0 => [0x90, 0xbf],
            0xf4 => [0x80, 0x8f],
            _ => [0x80, 0xbf],
        };
        let count = match lead {
            ..0xe0 => 2,
            0xe0..0xf0 => 3,
            _ => 4,
        };
        let ends = [0, 1].map(|end| {
            let rest = (self.length..count)
                .map(|at| if at == 1 { second[end] } else { [0x80, 0xbf][end] });
            let bytes: Vec<u8> = self.bytes().iter().copied().chain(rest).collect();
            str::from_utf8(&bytes).ok()?.chars().next().map(u32::from)
        });
        Some([ends[0]?, ends[1]?])
    }
}

/// The characters of a token; `None` if it is not UTF-8.
type Text = Option<(Box<[u32]>, Partial)>;

/// The tokens of a vocabulary as texts, sorted by their characters. Those that start within a character are stored
/// separately.
pub(crate) struct TokenTexts {
    sorted: Vec<(Box<[u32]>, Partial, Token)>,
    /// Tokens that are not text by themselves, but may complete a character that others began.
    broken: Vec<(Vec<u8>, Token)>,
}

impl TokenTexts {
    pub fn new(vocab: &Vocab) -> Self {
        let (mut sorted, mut broken) = (Vec::new(), Vec::new());
        let mut piece = Vec::new();
        for token in 0..vocab.len() as Token {
            vocab.piece(token, true, &mut piece);
            if vocab.is_end_of_generation(token) || piece.is_empty() {
                continue;
            }
            match characters(&piece, Partial::default()) {
                Some((text, partial)) => sorted.push((text, partial, token)),
                None => broken.push((piece.clone(), token)),
            }
        }
        sorted.sort_unstable();
        Self { sorted, broken }
    }
}

/// A place in a text that follows a grammar.
#[derive(Clone)]
pub(crate) struct Gbnf {
    /// All rules, one after the other.
    elements: Vec<Element>,
    /// The start of each rule in `elements`.
    rules: Vec<u32>,
    stacks: Stacks,
    /// The possible positions in the grammar.
    positions: Vec<Stack>,
    partial: Partial,
    work: usize,
    vocab: Vocab,
    texts: Arc<TokenTexts>,
}

/// Stacks as chains: each is an element on top of another stack, and those that are the same are one.
#[derive(Clone, Default)]
struct Stacks {
    entries: Vec<(Stack, u32)>,
    known: HashMap<(Stack, u32), Stack>,
}

impl Stacks {
    fn push(&mut self, below: Stack, element: u32) -> Stack {
        *self.known.entry((below, element)).or_insert_with(|| {
            self.entries.push((below, element));
            self.entries.len() as Stack - 1
        })
    }

    /// Removes the entries from index `length` on.
    fn truncate(&mut self, length: usize) {
        for entry in self.entries.drain(length..) {
            self.known.remove(&entry);
        }
    }

    /// Removes all entries that these stacks do not need, and updates the stacks.
    fn keep(&mut self, needed: &mut [Stack]) {
        let mut kept = Self::default();
        for stack in needed {
            let mut chain = Vec::new();
            while *stack != EMPTY_STACK {
                let (below, element) = self.entries[*stack as usize];
                chain.push(element);
                *stack = below;
            }
            for element in chain.into_iter().rev() {
                *stack = kept.push(*stack, element);
            }
        }
        *self = kept;
    }
}

impl Gbnf {
    /// Parses a grammar. `texts` are those of the vocabulary.
    pub fn new(vocab: &Vocab, texts: Arc<TokenTexts>, grammar: &str) -> Result<Self> {
        if grammar.trim().is_empty() {
            return Err(unusable("the grammar is empty"));
        }
        let text =
            CString::new(grammar).map_err(|_| unusable("the grammar contains a NUL byte"))?;
        // SAFETY: the vocabulary is alive.
        let parsed =
            unsafe { sys::shim::parse_grammar(vocab.as_ptr(), &text) }.map_err(|reason| {
                // The engine quotes the rest of the grammar, which may be empty.
                let end = if reason.ends_with(" at ") { "its end" } else { "" };
                unusable(&format!("the grammar cannot be used: {reason}{end}"))
            })?;
        let parsed: Parsed = serde_json::from_str(&parsed)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let mut rules = Vec::with_capacity(parsed.rules.len());
        let mut elements = Vec::new();
        for rule in parsed.rules {
            rules.push(elements.len() as u32);
            elements.extend(rule);
        }
        let mut grammar = Self {
            elements,
            rules,
            stacks: Stacks::default(),
            positions: Vec::new(),
            partial: Partial::default(),
            work: 0,
            vocab: vocab.clone(),
            texts,
        };
        grammar
            .check_characters()
            .map_err(|reason| unusable(&format!("the grammar cannot be used: {reason}")))?;
        if grammar.recurses_leftwards() {
            let reason = "a rule begins with itself (left recursion), which is not supported";
            return Err(unusable(&format!("the grammar cannot be used: {reason}")));
        }
        let mut positions = Positions::default();
        for alternative in grammar.alternatives(parsed.root) {
            let stack = grammar.push_onto(EMPTY_STACK, alternative);
            grammar.expand(stack, &mut positions)?;
        }
        grammar.positions = positions.list;
        Ok(grammar)
    }

    /// Fails for characters that do not exist, and for ranges whose ends are in the wrong order.
    fn check_characters(&self) -> std::result::Result<(), String> {
        let mut last = 0;
        for &(kind, value) in &self.elements {
            let is_character = matches!(
                kind,
                kind::CHARACTER | kind::NOT_CHARACTER | kind::UPPER | kind::OR_CHARACTER
            );
            if is_character && char::from_u32(value).is_none() {
                return Err(format!("there is no character U+{value:04X}"));
            }
            if kind == kind::UPPER && value < last {
                return Err(format!("the range U+{last:04X} to U+{value:04X} is empty"));
            }
            last = value;
        }
        Ok(())
    }

    fn element(&self, at: u32) -> Element {
        self.elements.get(at as usize).copied().unwrap_or((kind::END, 0))
    }

    /// Whether an alternative ends here.
    fn is_end(&self, at: u32) -> bool {
        matches!(self.element(at).0, kind::END | kind::ALTERNATIVE)
    }

    /// The starts of a rule's alternatives.
    fn alternatives(&self, rule: usize) -> Vec<u32> {
        let Some(&start) = self.rules.get(rule) else { return Vec::new() };
        let mut found = vec![start];
        for at in start.. {
            match self.element(at).0 {
                kind::END => break,
                kind::ALTERNATIVE => found.push(at + 1),
                _ => {}
            }
        }
        found
    }

    /// Pushes the rest of an alternative, from this element on, onto a stack.
    fn push_onto(&mut self, below: Stack, at: u32) -> Stack {
        if self.is_end(at) { below } else { self.stacks.push(below, at) }
    }

    /// Whether a rule is left-recursive, directly or after rules with an empty alternative. Other forms of left
    /// recursion are not detected, and reach the limit of work.
    fn recurses_leftwards(&self) -> bool {
        let count = self.rules.len();
        let is_empty = |rule| self.alternatives(rule).into_iter().any(|start| self.is_end(start));
        let may_be_empty: Vec<bool> = (0..count).map(is_empty).collect();
        // For each rule, the rules that it may begin with; then a search for cycles.
        let begins: Vec<Vec<usize>> = (0..count)
            .map(|rule| {
                let mut found = Vec::new();
                for start in self.alternatives(rule) {
                    for at in start.. {
                        let (kind, value) = self.element(at);
                        if kind != kind::RULE {
                            break;
                        }
                        found.push(value as usize);
                        if !may_be_empty[value as usize] {
                            break;
                        }
                    }
                }
                found
            })
            .collect();
        let (mut open, mut closed) = (vec![false; count], vec![false; count]);
        for first in 0..count {
            let mut path = vec![(first, 0)];
            while let Some((rule, next)) = path.last_mut() {
                let rule = *rule;
                open[rule] = true;
                let Some(&other) = begins[rule].get(*next) else {
                    (open[rule], closed[rule]) = (false, true);
                    path.pop();
                    continue;
                };
                *next += 1;
                if open[other] {
                    return true;
                }
                if !closed[other] {
                    path.push((other, 0));
                }
            }
        }
        false
    }

    fn count_work(&mut self, positions: usize) -> Result<()> {
        self.work += 1;
        let is_too_much = self.work > MAX_STEPS
            || positions > MAX_POSITIONS
            || self.stacks.entries.len() > 2 * MAX_STACKS;
        if is_too_much {
            let message =
                "the grammar is too ambiguous: the generated text can be parsed in too many ways";
            return Err(Error::new(ErrorKind::InvalidGrammar, message)
                .with_hint("avoid nested repetitions such as ([a-z]+)+"));
        }
        Ok(())
    }

    /// Adds the positions of a stack: expands rules until a character or a token is on top.
    fn expand(&mut self, stack: Stack, positions: &mut Positions) -> Result<()> {
        let mut left = vec![stack];
        while let Some(stack) = left.pop() {
            self.count_work(positions.list.len())?;
            if !positions.seen.insert(stack) {
                continue;
            }
            if stack == EMPTY_STACK {
                positions.list.push(stack);
                continue;
            }
            let (below, at) = self.stacks.entries[stack as usize];
            let (kind, value) = self.element(at);
            if kind != kind::RULE {
                positions.list.push(stack);
                continue;
            }
            let after = self.push_onto(below, at + 1);
            for alternative in self.alternatives(value as usize) {
                let stack = self.push_onto(after, alternative);
                left.push(stack);
            }
        }
        Ok(())
    }

    /// The positions after a character.
    fn step(&mut self, from: &[Stack], character: u32) -> Result<Vec<Stack>> {
        let mut positions = Positions::default();
        // Tokens that are single bytes can encode code points that do not exist.
        if char::from_u32(character).is_none() {
            return Ok(positions.list);
        }
        for &stack in from {
            if stack == EMPTY_STACK {
                continue;
            }
            let (below, at) = self.stacks.entries[stack as usize];
            if let Some((true, after)) =
                self.matches(at, |low, high| (low..=high).contains(&character))
            {
                let stack = self.push_onto(below, after);
                self.expand(stack, &mut positions)?;
            }
        }
        Ok(positions.list)
    }

    /// Whether the character set at this element has a range for which `holds` returns true (or has none, if the set is
    /// negated), and the element after it. `None` for tokens.
    fn matches(&self, at: u32, holds: impl Fn(u32, u32) -> bool) -> Option<(bool, u32)> {
        let (first, _) = self.element(at);
        if !matches!(first, kind::CHARACTER | kind::NOT_CHARACTER | kind::ANY_CHARACTER) {
            return None;
        }
        let (mut at, mut found) = (at, false);
        loop {
            let (kind, low) = self.element(at);
            let (next, high) = self.element(at + 1);
            if next == kind::UPPER {
                found |= holds(low, high);
                at += 2;
            } else {
                found |= kind == kind::ANY_CHARACTER || holds(low, low);
                at += 1;
            }
            if self.element(at).0 != kind::OR_CHARACTER {
                return Some((found == (first != kind::NOT_CHARACTER), at));
            }
        }
    }

    /// Whether an incomplete character can be completed so that it is allowed at one of these positions.
    fn can_continue(&self, positions: &[Stack], partial: Partial) -> bool {
        let Some([low, high]) = partial.characters() else { return true };
        positions.iter().filter(|&&stack| stack != EMPTY_STACK).any(|&stack| {
            let (_, at) = self.stacks.entries[stack as usize];
            let overlaps = |first: u32, last: u32| first <= high && low <= last;
            self.matches(at, overlaps).is_some_and(|(matches, _)| matches)
        })
    }

    /// Whether a token is matched by its id at one of the positions.
    fn is_token_allowed(&self, token: Token) -> bool {
        self.positions.iter().filter(|&&stack| stack != EMPTY_STACK).any(|&stack| {
            match self.element(self.stacks.entries[stack as usize].1) {
                (kind::TOKEN, value) => value == token as u32,
                (kind::NOT_TOKEN, value) => value != token as u32,
                _ => false,
            }
        })
    }

    /// Whether the text may end here.
    fn can_end(&self) -> bool {
        self.positions.contains(&EMPTY_STACK)
    }

    /// Whether a token may be next.
    pub fn allows(&mut self, token: Token) -> Result<bool> {
        if self.vocab.is_end_of_generation(token) {
            return Ok(self.can_end());
        }
        let mut piece = Vec::new();
        self.vocab.piece(token, true, &mut piece);
        self.with_lookahead(|grammar| grammar.allows_piece(token, &piece))
    }

    fn allows_piece(&mut self, token: Token, piece: &[u8]) -> Result<bool> {
        if piece.first().is_none_or(|byte| *byte == 0) {
            return Ok(false);
        }
        if self.is_token_allowed(token) {
            return Ok(true);
        }
        let Some((text, partial)) = characters(piece, self.partial) else { return Ok(false) };
        let mut positions = self.positions.clone();
        for &character in &*text {
            positions = self.step(&positions, character)?;
            if positions.is_empty() {
                return Ok(false);
            }
        }
        Ok(self.can_continue(&positions, partial))
    }

    /// Runs a lookahead, and removes the stacks that it added.
    fn with_lookahead<T>(&mut self, look: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let known = self.stacks.entries.len();
        self.work = 0;
        let seen = look(self);
        self.stacks.truncate(known);
        seen
    }

    /// Sets the logits of all candidates that may not be next to minus infinity.
    pub fn forbid(&mut self, candidates: &mut [sys::llama_token_data]) -> Result<()> {
        let mut allowed = self.with_lookahead(Self::all_allowed)?;
        let can_end = self.can_end();
        for &token in self.vocab.ends_of_generation() {
            if let Some(allowed) = allowed.get_mut(token as usize) {
                *allowed = can_end;
            }
        }
        for candidate in candidates {
            if !allowed.get(candidate.id as usize).is_some_and(|allowed| *allowed) {
                candidate.logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// Returns for each token whether it may be next.
    fn all_allowed(&mut self) -> Result<Vec<bool>> {
        let mut allowed = vec![false; self.vocab.len()];
        let texts = Arc::clone(&self.texts);
        if self.partial != Partial::default() {
            // Within a character, only tokens that are not text by themselves may follow.
            for (piece, token) in &texts.broken {
                allowed[*token as usize] = self.allows_piece(*token, piece)?;
            }
            return Ok(allowed);
        }
        // Positions after each character of `path`. Common prefixes of tokens are processed once.
        let mut path: Vec<u32> = Vec::new();
        let mut positions = vec![self.positions.clone()];
        for (text, partial, token) in &texts.sorted {
            let common = path.iter().zip(&**text).take_while(|(a, b)| a == b).count();
            path.truncate(common);
            positions.truncate(common + 1);
            for &character in &text[common..] {
                let last = &positions[positions.len() - 1];
                if last.is_empty() {
                    break;
                }
                let next = self.step(&last.clone(), character)?;
                path.push(character);
                positions.push(next);
            }
            let last = &positions[positions.len() - 1];
            let is_whole = path.len() == text.len() && !last.is_empty();
            allowed[*token as usize] =
                is_whole && text.first() != Some(&0) && self.can_continue(last, *partial)
                    || self.is_token_allowed(*token);
        }
        for (_, token) in &texts.broken {
            allowed[*token as usize] = self.is_token_allowed(*token);
        }
        Ok(allowed)
    }

    /// Advances by a token.
    pub fn accept(&mut self, token: Token) -> Result<()> {
        let mut piece = Vec::new();
        self.vocab.piece(token, true, &mut piece);
        if self.vocab.is_end_of_generation(token) {
            return if self.can_end() { Ok(()) } else { Err(no_continuation()) };
        }
        self.accept_piece(token, &piece)
    }

    fn accept_piece(&mut self, token: Token, piece: &[u8]) -> Result<()> {
        self.work = 0;
        let mut positions = Positions::default();
        for stack in self.positions.clone().into_iter().filter(|&stack| stack != EMPTY_STACK) {
            let (below, at) = self.stacks.entries[stack as usize];
            let is_token_allowed = match self.element(at) {
                (kind::TOKEN, value) => value == token as u32,
                (kind::NOT_TOKEN, value) => value != token as u32,
                _ => false,
            };
            if is_token_allowed {
                let stack = self.push_onto(below, at + 1);
                self.expand(stack, &mut positions)?;
            }
        }
        let text: Text = characters(piece, self.partial);
        self.partial = Partial::default();
        if let Some((text, partial)) = text {
            let is_set = |stack: &Stack| {
                *stack != EMPTY_STACK
                    && self.matches(self.stacks.entries[*stack as usize].1, |_, _| true).is_some()
            };
            let mut read: Vec<_> = self.positions.iter().copied().filter(is_set).collect();
            for &character in &*text {
                read = self.step(&read, character)?;
            }
            if !read.is_empty() {
                self.partial = partial;
            }
            positions.list.extend(read.into_iter().filter(|stack| positions.seen.insert(*stack)));
        }
        self.positions = positions.list;
        if self.stacks.entries.len() > MAX_STACKS {
            self.stacks.keep(&mut self.positions);
        }
        if self.positions.is_empty() { Err(no_continuation()) } else { Ok(()) }
    }
}

/// A set of positions, in order of insertion.
#[derive(Default)]
struct Positions {
    list: Vec<Stack>,
    seen: HashSet<Stack>,
}

/// Decodes UTF-8 that may start and end within a character. `None` if it is invalid.
fn characters(piece: &[u8], begun: Partial) -> Text {
    let bytes = [begun.bytes(), piece].concat();
    let whole = match str::from_utf8(&bytes) {
        Ok(text) => text.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => return None,
    };
    let (text, rest) = bytes.split_at(whole);
    let text = str::from_utf8(text).ok()?;
    Some((text.chars().map(u32::from).collect(), Partial::new(rest)))
}

fn unusable(what: &str) -> Error {
    Error::new(ErrorKind::InvalidGrammar, what)
        .with_hint("write the grammar in GBNF, with a rule named `root`")
}

fn no_continuation() -> Error {
    let message = "the grammar allows no continuation of what was generated";
    Error::new(ErrorKind::InvalidGrammar, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_utf8_continues_across_pieces() {
        let text = "aé漢🦙";
        for end in 0..=text.len() {
            let (first, partial) = characters(&text.as_bytes()[..end], Partial::default()).unwrap();
            let (rest, last) = characters(&text.as_bytes()[end..], partial).unwrap();
            let all: Vec<u32> = first.iter().chain(&*rest).copied().collect();
            assert_eq!(all, text.chars().map(u32::from).collect::<Vec<_>>(), "cut at {end}");
            assert_eq!(last, Partial::default());
        }
        for invalid in [
            &b"\x80"[..],
            b"\xc0\xaf",
            b"\xe0\x80",
            b"\xed\xa0",
            b"\xf0\x80",
            b"\xf4\x90",
            b"\xf8",
            b"\xf0a",
        ] {
            assert_eq!(characters(invalid, Partial::default()), None, "{invalid:x?}");
        }
        assert_eq!(characters(b"a", Partial::new(b"\xc3")), None);
    }

    #[test]
    fn begun_characters_have_a_range() {
        for (begun, range) in [
            (&b"\xc3"[..], [0xc0, 0xff]),
            (b"\xe0", [0x800, 0xfff]),
            (b"\xed", [0xd000, 0xd7ff]),
            (b"\xe6\xbc", [0x6f00, 0x6f3f]),
            (b"\xf0", [0x10000, 0x3ffff]),
            (b"\xf4", [0x10_0000, 0x10_ffff]),
            (b"\xf0\x9f\x98", [0x1f600, 0x1f63f]),
        ] {
            assert_eq!(Partial::new(begun).characters(), Some(range), "{begun:x?}");
        }
        assert_eq!(Partial::default().characters(), None);
    }
}
