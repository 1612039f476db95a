//! Answers that follow a JSON schema, by llguidance: each token is held to the schema before it is chosen.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use super::reasoning::ReasoningTags;
use super::schema::{check_depth, simplified};
use crate::engine::{Vocab, with_stack};
use crate::{Error, ErrorKind, Result, Token};

/// White space between the parts of a value: what people write, and no more, or a model goes on with it for
/// ever.
const WHITE_SPACE: &str = r"(?: |\n{1,2}[ \t]{0,20})";

/// Stack for compiling a schema.
const STACK: usize = 6 << 20;

/// What guides of one model share: its tokens as a tree of bytes, made when it is first needed.
#[derive(Default)]
pub(crate) struct Guides(OnceLock<Result<ParserFactory>>);

impl Guides {
    fn factory(&self, vocab: &Vocab) -> Result<&ParserFactory> {
        let made = self.0.get_or_init(|| {
            let mut factory = ParserFactory::new_simple(&tokens_of(vocab)).map_err(internal)?;
            factory.quiet();
            *factory.limits_mut() =
                ParserLimits { verbose_errors: false, ..ParserLimits::default() };
            Ok(factory)
        });
        made.as_ref().map_err(Clone::clone)
    }

    /// A guide at the beginning of a value, or of the reasoning before it.
    pub fn start(
        &self,
        vocab: &Vocab,
        schema: &Value,
        reasoning: Option<&ReasoningTags>,
    ) -> Result<Guide> {
        let factory = self.factory(vocab)?;
        let schema = prepared(schema)?;
        let grammar = match reasoning {
            None => TopLevelGrammar::from_json_schema(schema),
            Some(tags) => TopLevelGrammar::from_lark(after_reasoning(vocab, tags, &schema)?),
        };
        let mut matcher = with_stack(STACK, || Matcher::new(factory.create_parser(grammar)))?;
        if let Some(reason) = matcher.get_error() {
            return Err(unusable(&in_a_line(&reason)));
        }
        if matcher.compute_mask().is_ok_and(|mask| mask.is_zero()) || matcher.is_stopped() {
            return Err(unusable("there is no value that follows it"));
        }
        Ok(Guide { matcher, vocab: vocab.clone(), mask: None })
    }
}

/// A place in a text that follows a schema.
pub(crate) struct Guide {
    matcher: Matcher,
    vocab: Vocab,
    /// The tokens that are allowed now, where they have been asked for.
    mask: Option<SimpleVob>,
}

impl Guide {
    /// Whether a token may be next.
    pub fn allows(&mut self, token: Token) -> Result<bool> {
        if let Some(mask) = &self.mask {
            return Ok(mask.get(token as usize));
        }
        if self.vocab.is_end_of_generation(token) {
            return self.matcher.is_accepting().map_err(stuck);
        }
        if self.matcher.is_stopped() {
            return Ok(false);
        }
        Ok(self.matcher.validate_tokens(&[token as u32]).map_err(stuck)? == 1)
    }

    /// Looks at all tokens at once; [`Self::allows`] answers from it until the next one is taken.
    pub fn look_ahead(&mut self) -> Result<()> {
        let mut mask = if self.matcher.is_stopped() {
            SimpleVob::alloc(self.vocab.len())
        } else {
            self.matcher.compute_mask().map_err(stuck)?
        };
        let is_accepting = self.matcher.is_accepting().map_err(stuck)?;
        for &token in self.vocab.ends_of_generation() {
            mask.set(token as usize, is_accepting);
        }
        self.mask = Some(mask);
        Ok(())
    }

    /// Goes on by a token.
    pub fn accept(&mut self, token: Token) -> Result<()> {
        self.mask = None;
        if self.vocab.is_end_of_generation(token) {
            return Ok(());
        }
        self.matcher.consume_token(token as u32).map_err(stuck)
    }

    /// Goes on by a text that is there already.
    pub fn accept_text(&mut self, text: &str) -> Result<()> {
        // By bytes: a model's own tokenizer may put a space before a text, which is none of it.
        let tokens = self.matcher.tok_env().map_err(internal)?.tokenize(text);
        self.matcher.consume_tokens(&tokens).map_err(|_| {
            let message = "the answer that was begun does not follow the JSON schema";
            Error::new(ErrorKind::InvalidArgument, message)
        })
    }
}

/// The tokens of a vocabulary, each with its bytes. Control tokens are no text.
fn tokens_of(vocab: &Vocab) -> TokEnv {
    let mut piece = Vec::new();
    let words: Vec<Vec<u8>> = (0..vocab.len() as Token)
        .map(|token| {
            vocab.piece(token, true, &mut piece);
            if vocab.is_control(token) || vocab.is_end_of_generation(token) {
                [&[TokTrie::SPECIAL_TOKEN_MARKER], piece.as_slice()].concat()
            } else {
                piece.clone()
            }
        })
        .collect();
    // A vocabulary without an end has its first token there, which is set apart by what we ask.
    let end = vocab.ends_of_generation().first().copied().unwrap_or(0);
    let info = TokRxInfo::new(words.len() as u32, end as u32);
    Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, &words)))
}

/// The schema as it is compiled.
fn prepared(schema: &Value) -> Result<Value> {
    let schema = match schema {
        Value::String(text) => serde_json::from_str(text)
            .map_err(|error| unusable(&format!("it is no JSON: {error}")))?,
        other => other.clone(),
    };
    check_depth(&schema).map_err(|reason| unusable(&reason))?;
    let settings = json!({"whitespace_flexible": true, "whitespace_pattern": WHITE_SPACE});
    match simplified(schema) {
        Value::Bool(true) => Ok(json!({"x-guidance": settings})),
        Value::Object(mut object) => {
            object.insert("x-guidance".to_owned(), settings);
            Ok(object.into())
        }
        Value::Bool(false) => Err(unusable("`false` allows nothing")),
        _ => Err(unusable("an object, true or false is expected")),
    }
}

/// A grammar of a value after reasoning, which may be open already, begin, or be left out.
fn after_reasoning(vocab: &Vocab, tags: &ReasoningTags, schema: &Value) -> Result<String> {
    // A tag that is one control token has no bytes: it is named by its number.
    let control = |tag: &str| match vocab.tokenize(tag, false, true)?.as_slice() {
        [token] if vocab.is_control(*token) => Ok(Some(*token)),
        _ => Ok::<_, Error>(None),
    };
    let mut ends = Vec::new();
    let mut lexemes = String::new();
    for (index, end) in tags.ends.iter().enumerate() {
        if let Some(token) = control(end)? {
            ends.push(format!("ANYTHING <[{token}]>"));
        } else {
            let pattern = escape(end).replace('/', r"\/");
            let _ = writeln!(lexemes, "until_{index}[lazy]: /(?s:.*){pattern}/");
            ends.push(format!("until_{index}"));
        }
    }
    let start = match control(&tags.start)? {
        Some(token) => format!("<[{token}]>"),
        None => Value::from(tags.start.as_str()).to_string(),
    };
    let before = if tags.begin_inside() {
        "body SPACE?".to_owned()
    } else if tags.start.is_empty() {
        "(body SPACE?)?".to_owned()
    } else {
        format!("({start} body SPACE?)?")
    };
    Ok(format!(
        "start: {before} value\nbody: {}\n{lexemes}ANYTHING: /(?s:.*)/\nSPACE: /{WHITE_SPACE}/\n\
         value: %json {schema}\n",
        ends.join(" | ")
    ))
}

/// The schema is at fault.
fn unusable(reason: &str) -> Error {
    Error::new(ErrorKind::InvalidGrammar, format!("the JSON schema cannot be followed: {reason}"))
}

/// A reason of several lines, which may quote a long schema.
fn in_a_line(reason: &str) -> String {
    const MOST: usize = 300;
    let line = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

/// The limits of a step were met, or nothing can follow.
#[allow(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn stuck(error: impl ToString) -> Error {
    let reason = in_a_line(&error.to_string());
    Error::new(
        ErrorKind::InvalidGrammar,
        format!("the JSON schema cannot be followed on: {reason}"),
    )
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn internal(error: impl ToString) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("the vocabulary cannot be held to: {}", error.to_string()),
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
    fn texts_are_escaped_for_patterns() {
        assert_eq!(escape("<tool_call>"), "<tool_call>");
        assert_eq!(escape("[a](b)."), "\\[a\\]\\(b\\)\\.");
    }
}
