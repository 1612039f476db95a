//! Answers constrained by a grammar of llguidance: tokens that would violate it are never chosen.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory, regex_to_lark};
use regex_syntax::ast::parse::Parser;
use serde_json::Value;

use super::gbnf::TokenTexts;
use super::reasoning::ReasoningTags;
use super::refusal::{SCHEMA, single_line, unsupported_constraint};
use super::schema::{STACK, Schema, WHITE_SPACE, limits, quoted};
use super::trigger::{GrammarTriggers, Trigger};
use crate::engine::{Vocab, with_stack};
use crate::{Error, ErrorKind, Result, Token};

/// The name of a template's format in error messages.
const FORM: &str = "the format of the chat template for these tools or this schema";

/// The name of a caller's grammar in Lark in error messages.
const LARK: &str = "the Lark grammar";

/// Longest token in bytes that llguidance supports. Longer ones are never chosen.
const MAX_TOKEN_BYTES: usize = 1000;

/// Data shared by the guides and grammars of one model, created on first use: its tokens as a tree of bytes, and as
/// texts.
#[derive(Default)]
pub(crate) struct Guides {
    factory: OnceLock<Result<ParserFactory>>,
    texts: OnceLock<Arc<TokenTexts>>,
}

impl Guides {
    fn factory(&self, vocab: &Vocab) -> Result<&ParserFactory> {
        let made = self.factory.get_or_init(|| {
            let mut factory = ParserFactory::new_simple(&tokens_of(vocab)).map_err(internal)?;
            factory.quiet();
            *factory.limits_mut() = limits();
            Ok(factory)
        });
        made.as_ref().map_err(Clone::clone)
    }

    /// The tokens as texts.
    pub fn token_texts(&self, vocab: &Vocab) -> Arc<TokenTexts> {
        Arc::clone(self.texts.get_or_init(|| Arc::new(TokenTexts::new(vocab))))
    }

    /// Creates a guide at the start of a value, or of the reasoning before it.
    pub fn for_schema(
        &self,
        vocab: &Vocab,
        schema: &Value,
        reasoning: Option<&ReasoningTags>,
    ) -> Result<Guide> {
        let schema = Schema::new(schema)?.at("");
        let Some(tags) = reasoning else {
            return self.start(vocab, TopLevelGrammar::from_json_schema(schema), SCHEMA, &[]);
        };
        let grammar = TopLevelGrammar::from_lark(after_reasoning(tags, &schema));
        let spoken: Vec<_> = tags.all().cloned().collect();
        self.start(vocab, grammar, SCHEMA, &spoken)
    }

    /// Creates a guide at the start of an answer in a template's format, whose grammar contains these control tokens as
    /// text.
    pub fn for_grammar(&self, vocab: &Vocab, grammar: &str, spoken: &[String]) -> Result<Guide> {
        let grammar = TopLevelGrammar::from_lark(grammar.to_owned());
        let guide = self.start(vocab, grammar, SCHEMA, spoken)?;
        Ok(Guide { followed: FORM, ..guide })
    }

    /// Creates a guide at the start of a text that follows a caller's grammar in Lark.
    pub fn for_lark(&self, vocab: &Vocab, grammar: &str) -> Result<Guide> {
        let grammar = TopLevelGrammar::from_lark(grammar.to_owned());
        self.start(vocab, grammar, LARK, &[])
    }

    /// Creates a guide at the start of a text that a regular expression matches as a whole.
    pub fn for_regex(&self, vocab: &Vocab, expression: &str) -> Result<Guide> {
        const NAME: &str = "the regular expression";
        if let Err(error) = Parser::new().parse(expression) {
            let (kind, place) = (error.kind(), error.span().start);
            let reason = format!("{kind}, at line {}, column {}", place.line, place.column);
            return Err(unsupported_constraint(NAME, &reason));
        }
        let expression = regex_to_lark(without_anchors(expression), "dw");
        let grammar = TopLevelGrammar::from_lark(format!("start: /{expression}/"));
        self.start(vocab, grammar, NAME, &[])
    }

    /// `followed` is the name of the grammar in error messages.
    fn start(
        &self,
        vocab: &Vocab,
        grammar: TopLevelGrammar,
        followed: &'static str,
        spoken: &[String],
    ) -> Result<Guide> {
        let factory = self.factory(vocab)?;
        let mut matcher = with_stack(STACK, || Matcher::new(factory.create_parser(grammar)))?;
        if let Some(reason) = matcher.get_error() {
            let reason = if followed == LARK { with_place(&reason) } else { reason };
            return Err(unsupported_constraint(followed, &single_line(&reason)));
        }
        if matcher.compute_mask().is_ok_and(|mask| mask.is_zero()) || matcher.is_stopped() {
            return Err(unsupported_constraint(followed, "no text matches it"));
        }
        let mut control = Vec::new();
        for text in spoken.iter().filter(|text| !text.is_empty()) {
            if let [token] = vocab.tokenize(text, false, true)?.as_slice() {
                control.push(*token);
            }
        }
        let vocab = vocab.clone();
        Ok(Guide { matcher, vocab, followed, spoken: control, awaited: None, mask: None })
    }
}

/// The reason why llguidance rejects a Lark grammar: `at 1(8): unknown name: "b"` and an excerpt of the grammar become
/// one line with the place in words.
fn with_place(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or_default();
    let place = || {
        let (place, problem) = line.trim_start_matches("at ").split_once("): ")?;
        let (line, column) = place.split_once('(')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        (is_number(line) && is_number(column)).then_some((line, column, problem))
    };
    match place() {
        Some((line, column, problem)) => format!("line {line}, column {column}: {problem}"),
        None => reason.to_owned(),
    }
}

/// A position in a text that follows a grammar.
pub(crate) struct Guide {
    matcher: Matcher,
    vocab: Vocab,
    /// The name of the grammar in error messages.
    followed: &'static str,
    /// Control tokens that the grammar contains as text.
    spoken: Vec<Token>,
    /// The trigger that will activate the grammar, until it has.
    awaited: Option<Trigger>,
    /// The tokens that are allowed next, if computed.
    mask: Option<SimpleVob>,
}

impl Guide {
    /// Creates an independent copy with the same state.
    pub fn fork(&self) -> Self {
        Self {
            matcher: self.matcher.deep_clone(),
            vocab: self.vocab.clone(),
            followed: self.followed,
            spoken: self.spoken.clone(),
            awaited: self.awaited.clone(),
            mask: self.mask.clone(),
        }
    }

    /// The guide as it waits for one of these triggers.
    pub fn awaiting(self, triggers: &GrammarTriggers) -> Result<Self> {
        Ok(Self { awaited: Some(Trigger::new(triggers)?), ..self })
    }

    /// Whether a token may be next.
    pub fn allows(&mut self, token: Token) -> Result<bool> {
        if let Some(mask) = &self.mask {
            return Ok(mask.get(token as usize));
        }
        if let Some(awaited) = &self.awaited {
            // The token may contain more than the trigger.
            let Some(begun) = awaited.triggered_by(&self.vocab, token) else { return Ok(true) };
            return Ok(consume_bytes(&mut self.matcher.deep_clone(), &begun).is_ok());
        }
        if self.vocab.is_end_of_generation(token) {
            return self.matcher.is_accepting().map_err(step_failed);
        }
        if self.matcher.is_stopped() || self.is_not_text(token) {
            return Ok(false);
        }
        Ok(self.matcher.validate_tokens(&[token as u32]).map_err(step_failed)? == 1)
    }

    /// Whether a token is a control token that the grammar does not contain.
    fn is_not_text(&self, token: Token) -> bool {
        self.vocab.is_control(token) && !self.spoken.contains(&token)
    }

    /// Computes the mask of all tokens. [`Self::allows`] uses it until the next token is accepted.
    pub fn look_ahead(&mut self) -> Result<()> {
        if self.awaited.is_some() {
            return Ok(());
        }
        let mut mask = if self.matcher.is_stopped() {
            SimpleVob::alloc(self.vocab.len())
        } else {
            self.matcher.compute_mask().map_err(step_failed)?
        };
        for &token in self.vocab.control_tokens() {
            if mask.get(token as usize) && self.is_not_text(token) {
                mask.set(token as usize, false);
            }
        }
        let is_accepting = self.matcher.is_accepting().map_err(step_failed)?;
        for &token in self.vocab.ends_of_generation() {
            mask.set(token as usize, is_accepting);
        }
        self.mask = Some(mask);
        Ok(())
    }

    /// Advances by a token.
    pub fn accept(&mut self, token: Token) -> Result<()> {
        self.mask = None;
        if let Some(awaited) = &mut self.awaited {
            if let Some(begun) = awaited.accept(&self.vocab, token) {
                self.awaited = None;
                consume_bytes(&mut self.matcher, &begun).map_err(step_failed)?;
            }
            return Ok(());
        }
        if self.vocab.is_end_of_generation(token) {
            return Ok(());
        }
        self.matcher.consume_token(token as u32).map_err(step_failed)
    }

    /// Advances by a text that already exists.
    pub fn accept_text(&mut self, text: &str) -> Result<()> {
        consume_bytes(&mut self.matcher, text.as_bytes()).map_err(|_| self.mismatch())
    }

    /// The error of an answer whose beginning, which the request gives, does not match.
    pub fn mismatch(&self) -> Error {
        let message = format!("the beginning of the answer does not match {}", self.followed);
        Error::new(ErrorKind::InvalidArgument, message)
    }
}

/// Advances a matcher by bytes. The model's own tokenizer is not used, because it may add a space before a text.
fn consume_bytes(matcher: &mut Matcher, bytes: &[u8]) -> std::result::Result<(), String> {
    let tokens = matcher.tok_env().map_err(|error| error.to_string())?.tokenize_bytes(bytes);
    matcher.consume_tokens(&tokens).map_err(|error| error.to_string())
}

/// The tokens of a vocabulary with their bytes. Tokens that end an answer are marked as special.
fn tokens_of(vocab: &Vocab) -> TokEnv {
    let mut piece = Vec::new();
    let words: Vec<Vec<u8>> = (0..vocab.len() as Token)
        .map(|token| {
            vocab.piece(token, true, &mut piece);
            piece.truncate(if piece.len() > MAX_TOKEN_BYTES { 0 } else { MAX_TOKEN_BYTES });
            if vocab.is_end_of_generation(token) {
                [&[TokTrie::SPECIAL_TOKEN_MARKER], piece.as_slice()].concat()
            } else {
                piece.clone()
            }
        })
        .collect();
    // If the vocabulary has no end token, its first token is used instead.
    let end = vocab.ends_of_generation().first().copied().unwrap_or(0);
    let info = TokRxInfo::new(words.len() as u32, end as u32);
    Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, &words)))
}

/// A grammar of a value after optional reasoning.
fn after_reasoning(tags: &ReasoningTags, schema: &Value) -> String {
    let (before, definitions) = optional_reasoning(tags);
    format!("start: {before} value\nvalue: %json {schema}\n{definitions}")
}

/// An expression for optional reasoning, which the prompt may already have opened, and the definitions that it needs.
pub(crate) fn optional_reasoning(tags: &ReasoningTags) -> (String, String) {
    let mut lexemes = String::new();
    for (index, end) in tags.ends.iter().enumerate() {
        let pattern = escape(end).replace('/', r"\/");
        let _ = writeln!(lexemes, "until_{index}[lazy]: /(?s:.*){pattern}/");
    }
    let ends: Vec<_> = (0..tags.ends.len()).map(|index| format!("until_{index}")).collect();
    let before = if tags.begin_inside() {
        "body SPACE?".to_owned()
    } else if tags.start.is_empty() {
        "(body SPACE?)?".to_owned()
    } else {
        format!("({} body SPACE?)?", quoted(&tags.start))
    };
    (before, format!("body: {}\n{lexemes}SPACE: /{WHITE_SPACE}/\n", ends.join(" | ")))
}

/// Removes the anchors of an expression: they are redundant if the whole text must match.
fn without_anchors(expression: &str) -> &str {
    let from =
        expression.strip_prefix('^').or(expression.strip_prefix(r"\A")).unwrap_or(expression);
    let escapes =
        |text: &str| text.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1;
    match from.strip_suffix('$') {
        Some(inner) if !escapes(inner) => inner,
        _ => match from.strip_suffix('z') {
            Some(rest) if escapes(rest) => &rest[..rest.len() - 1],
            _ => from,
        },
    }
}

/// The error of a step that exceeds the limits, or that nothing can follow.
#[allow(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn step_failed(error: impl ToString) -> Error {
    unsupported_constraint("the format of the answer", &single_line(&error.to_string()))
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn internal(error: impl ToString) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("the model's vocabulary cannot be constrained: {}", error.to_string()),
    )
}

/// A regular expression that matches exactly this text.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if ".^$|()*+?[]{}\\".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_of_lark_grammars_have_their_place() {
        let reason = "at 1(8): unknown name: \"b\"\n  1 | start: b\n             ^";
        assert_eq!(with_place(reason), "line 1, column 8: unknown name: \"b\"");
        assert_eq!(with_place("no text matches"), "no text matches");
    }

    #[test]
    fn outer_regex_anchors_are_removed() {
        for (given, inner) in [
            ("^a$", "a"),
            (r"\Aa\z", "a"),
            ("a", "a"),
            (r"a\$", r"a\$"),
            (r"a\\$", r"a\\"),
            (r"a\\z", r"a\\z"),
            ("z", "z"),
        ] {
            assert_eq!(without_anchors(given), inner);
        }
    }

    #[test]
    fn texts_are_escaped_for_patterns() {
        assert_eq!(escape("<tool_call>"), "<tool_call>");
        assert_eq!(escape("[a](b)."), "\\[a\\]\\(b\\)\\.");
    }
}
