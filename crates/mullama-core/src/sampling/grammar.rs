//! Grammars: what a text must follow, and where it is in it.

use std::ffi::CString;

use mullama_sys as sys;
use serde_json::Value;

use super::raw::RawSampler;
use crate::engine::Vocab;
use crate::runtime::log;
use crate::{Error, ErrorKind, Result, Token};

/// A grammar to follow, and when.
#[derive(Debug, Clone, Default)]
pub(crate) struct GrammarSpec {
    /// GBNF with a rule `root`.
    pub gbnf: String,
    /// Where given, the grammar rules only from the point at which one of these matches.
    pub lazy: Option<GrammarTriggers>,
    /// Text of the prompt's end that the grammar takes for the beginning of the answer.
    pub prefill: String,
}

/// What makes a lazy grammar rule.
#[derive(Debug, Clone, Default)]
pub(crate) struct GrammarTriggers {
    /// Regular expressions over the answer.
    pub patterns: Vec<String>,
    /// Tokens.
    pub tokens: Vec<Token>,
}

/// Turns a JSON schema into a grammar.
pub(crate) fn schema_to_gbnf(schema: &Value) -> Result<String> {
    let problem =
        |what: &str| Error::new(ErrorKind::InvalidGrammar, format!("JSON schema: {what}"));
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

/// A grammar at some place in a text that follows it.
pub(crate) struct Grammar(pub(super) RawSampler);

impl Grammar {
    /// Compiles a grammar.
    pub fn new(vocab: &Vocab, spec: &GrammarSpec) -> Result<Self> {
        let problem = |what: String| {
            Error::new(ErrorKind::InvalidGrammar, what)
                .with_hint("a grammar is GBNF and has a rule named `root`")
        };
        if spec.gbnf.trim().is_empty() {
            return Err(problem("the grammar is empty".to_owned()));
        }
        let gbnf = CString::new(spec.gbnf.as_str())
            .map_err(|_| problem("the grammar contains a NUL byte".to_owned()))?;
        // SAFETY: the vocabulary is alive.
        unsafe { sys::shim::check_grammar(vocab.as_ptr(), &gbnf) }
            .map_err(|reason| problem(format!("the grammar cannot be used: {reason}")))?;
        let triggers = spec.lazy.clone().unwrap_or_default();
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
                if spec.lazy.is_some() {
                    sys::llama_rs_sampler_init_grammar_lazy_patterns(
                        vocab.as_ptr(),
                        gbnf.as_ptr(),
                        c"root".as_ptr(),
                        pointers.as_mut_ptr(),
                        pointers.len(),
                        triggers.tokens.as_ptr(),
                        triggers.tokens.len(),
                    )
                } else {
                    sys::llama_rs_sampler_init_grammar(
                        vocab.as_ptr(),
                        gbnf.as_ptr(),
                        c"root".as_ptr(),
                    )
                }
            }
        });
        let sampler = RawSampler::own(sampler).ok_or_else(|| {
            let reason = said.problem().unwrap_or_else(|| "it does not parse".to_owned());
            problem(format!("the grammar cannot be used: {reason}"))
        })?;
        if spec.lazy.is_none() && !spec.prefill.is_empty() {
            for token in vocab.tokenize(&spec.prefill, false, true)? {
                // SAFETY: the sampler is owned, the token is from the vocabulary.
                unsafe { sys::llama_rs_sampler_accept(sampler.as_ptr(), token) };
            }
        }
        Ok(Self(sampler))
    }
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
