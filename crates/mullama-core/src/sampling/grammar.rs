//! Grammars: what a text must follow, and where it is in it.

use std::ffi::CString;

use mullama_sys as sys;
use serde_json::Value;

use super::guide::{Guide, Guides};
use super::raw::RawSampler;
use super::reasoning::ReasoningTags;
use super::schema::{check_counts, check_depth};
use crate::engine::Vocab;
use crate::runtime::log;
use crate::{Error, ErrorKind, Result, Token};

/// What an answer must follow.
#[derive(Debug, Clone)]
pub(crate) enum GrammarSpec {
    Gbnf {
        /// GBNF with a rule `root`.
        text: String,
        /// Where given, the grammar rules only from the point at which one of these matches.
        lazy: Option<GrammarTriggers>,
        /// Text of the prompt's end that the grammar takes for the beginning of the answer.
        prefill: String,
    },
    Schema {
        /// A JSON schema.
        schema: Value,
        /// What may come before, where the model's template knows of it.
        reasoning: Option<ReasoningTags>,
        /// The answer as far as it has been begun.
        begun: String,
    },
}

impl GrammarSpec {
    /// A grammar that a caller gave.
    pub fn gbnf(text: &str) -> Self {
        Self::Gbnf { text: text.to_owned(), lazy: None, prefill: String::new() }
    }
}

/// What makes a lazy grammar rule.
#[derive(Debug, Clone, Default)]
pub(crate) struct GrammarTriggers {
    /// Regular expressions over the answer.
    pub patterns: Vec<String>,
    /// Tokens.
    pub tokens: Vec<Token>,
}

/// Turns a JSON schema into a grammar, as the engine does with the parameters of tools.
pub(crate) fn schema_to_gbnf(schema: &Value) -> Result<String> {
    let problem =
        |what: &str| Error::new(ErrorKind::InvalidGrammar, format!("JSON schema: {what}"));
    check_depth(schema)
        .and_then(|()| check_counts(schema, "#"))
        .map_err(|reason| problem(&reason))?;
    let text = match schema {
        Value::String(text) => text.clone(),
        Value::Object(_) | Value::Bool(_) => schema.to_string(),
        _ => return Err(problem("expected an object")),
    };
    let text = CString::new(text).map_err(|_| problem("it contains a NUL byte"))?;
    let mut grammar = std::ptr::null_mut();
    // SAFETY: a NUL-terminated string in, an owned one out, freed below.
    let (status, gbnf) = unsafe {
        let status = sys::llama_rs_json_schema_to_grammar(text.as_ptr(), false, &raw mut grammar);
        let gbnf = (!grammar.is_null())
            .then(|| std::ffi::CStr::from_ptr(grammar).to_string_lossy().into_owned());
        sys::llama_rs_string_free(grammar);
        (status, gbnf)
    };
    match gbnf {
        Some(gbnf) if status == sys::LLAMA_RS_STATUS_OK => Ok(gbnf),
        _ => Err(problem("the engine cannot turn it into a grammar")
            .with_hint("check that it is valid JSON and that every `$ref` points to a definition")),
    }
}

/// A place in a text that follows something.
pub(crate) enum Grammar {
    Gbnf(RawSampler),
    Schema(Box<Guide>),
}

impl Grammar {
    /// Compiles what is to be followed.
    pub fn new(vocab: &Vocab, guides: &Guides, spec: &GrammarSpec) -> Result<Self> {
        match spec {
            GrammarSpec::Gbnf { text, lazy, prefill } => {
                gbnf(vocab, text, lazy.as_ref(), prefill).map(Self::Gbnf)
            }
            GrammarSpec::Schema { schema, reasoning, begun } => {
                let mut guide = guides.start(vocab, schema, reasoning.as_ref())?;
                guide.accept_text(begun)?;
                Ok(Self::Schema(Box::new(guide)))
            }
        }
    }

    /// Whether a token may be next.
    pub fn allows(&mut self, token: Token) -> Result<bool> {
        match self {
            Self::Gbnf(_) => {
                let mut single = [sys::llama_token_data { id: token, logit: 1.0, p: 0.0 }];
                self.forbid(&mut single)?;
                Ok(single[0].logit > f32::NEG_INFINITY)
            }
            Self::Schema(guide) => guide.allows(token),
        }
    }

    /// Gives all candidates that may not be next a logit of minus infinity.
    pub fn forbid(&mut self, candidates: &mut [sys::llama_token_data]) -> Result<()> {
        match self {
            Self::Gbnf(sampler) => {
                let mut array = sys::llama_token_data_array {
                    data: candidates.as_mut_ptr(),
                    size: candidates.len(),
                    selected: -1,
                    sorted: false,
                };
                // SAFETY: `array` describes `candidates`, which are borrowed; a grammar changes their logits
                // alone.
                unsafe { sys::llama_sampler_apply(sampler.as_ptr(), &raw mut array) };
            }
            Self::Schema(guide) => {
                guide.look_ahead()?;
                for candidate in candidates {
                    if !guide.allows(candidate.id)? {
                        candidate.logit = f32::NEG_INFINITY;
                    }
                }
            }
        }
        Ok(())
    }

    /// Goes on by a token.
    pub fn accept(&mut self, token: Token) -> Result<()> {
        match self {
            Self::Gbnf(sampler) => accept_by_gbnf(sampler, token).map_err(|()| {
                let message = "the grammar allows no continuation of what was generated";
                Error::new(ErrorKind::InvalidGrammar, message)
            }),
            Self::Schema(guide) => guide.accept(token),
        }
    }
}

fn accept_by_gbnf(sampler: &RawSampler, token: Token) -> std::result::Result<(), ()> {
    // SAFETY: the sampler is owned, the token is from the vocabulary; the wrapper catches what the grammar throws.
    let status = unsafe { sys::llama_rs_sampler_accept(sampler.as_ptr(), token) };
    if status == sys::LLAMA_RS_STATUS_OK { Ok(()) } else { Err(()) }
}

/// Compiles GBNF.
fn gbnf(
    vocab: &Vocab,
    text: &str,
    lazy: Option<&GrammarTriggers>,
    prefill: &str,
) -> Result<RawSampler> {
    let problem = |what: String| {
        Error::new(ErrorKind::InvalidGrammar, what)
            .with_hint("a grammar is GBNF and has a rule named `root`")
    };
    if text.trim().is_empty() {
        return Err(problem("the grammar is empty".to_owned()));
    }
    let text =
        CString::new(text).map_err(|_| problem("the grammar contains a NUL byte".to_owned()))?;
    // SAFETY: the vocabulary is alive.
    unsafe { sys::shim::check_grammar(vocab.as_ptr(), &text) }
        .map_err(|reason| problem(format!("the grammar cannot be used: {reason}")))?;
    let triggers = lazy.cloned().unwrap_or_default();
    let patterns: Vec<CString> = triggers
        .patterns
        .iter()
        .map(|pattern| CString::new(pattern.as_str()))
        .collect::<Result<_, _>>()
        .map_err(|_| problem("a grammar trigger contains a NUL byte".to_owned()))?;
    let mut pointers: Vec<_> = patterns.iter().map(|pattern| pattern.as_ptr()).collect();

    let (sampler, said) = log::capture(|| {
        // SAFETY: NUL-terminated strings and arrays that outlive the calls; the wrappers catch what
        // the parser throws and give null.
        unsafe {
            if lazy.is_some() {
                sys::llama_rs_sampler_init_grammar_lazy_patterns(
                    vocab.as_ptr(),
                    text.as_ptr(),
                    c"root".as_ptr(),
                    pointers.as_mut_ptr(),
                    pointers.len(),
                    triggers.tokens.as_ptr(),
                    triggers.tokens.len(),
                )
            } else {
                sys::llama_rs_sampler_init_grammar(vocab.as_ptr(), text.as_ptr(), c"root".as_ptr())
            }
        }
    });
    let sampler = RawSampler::own(sampler).ok_or_else(|| {
        let reason = said.problem().unwrap_or_else(|| "it does not parse".to_owned());
        problem(format!("the grammar cannot be used: {reason}"))
    })?;
    if lazy.is_none() && !prefill.is_empty() {
        for token in vocab.tokenize(prefill, false, true)? {
            accept_by_gbnf(&sampler, token).map_err(|()| {
                let message = "the answer that was begun does not follow the grammar";
                Error::new(ErrorKind::InvalidArgument, message)
            })?;
        }
    }
    Ok(sampler)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_become_grammars_or_errors() {
        let schema =
            serde_json::json!({"type": "object", "properties": {"a": {"type": "integer"}}});
        assert!(schema_to_gbnf(&schema).unwrap().contains("root"));
        let error = schema_to_gbnf(&serde_json::json!({"$ref": "#/nowhere"})).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidGrammar);
        assert_eq!(schema_to_gbnf(&Value::from(3)).unwrap_err().kind(), ErrorKind::InvalidGrammar);
    }
}
