//! Grammars: what a text must follow, and where it is in it.

use std::ffi::CString;

use mullama_base::Text;
use mullama_sys as sys;
use serde_json::Value;

use super::guide::{Guide, Guides};
use super::raw::RawSampler;
use super::reasoning::ReasoningTags;
use super::trigger::GrammarTriggers;
use crate::engine::Vocab;
use crate::options::GenerateOptions;
use crate::runtime::log;
use crate::{Error, ErrorKind, Result, Token};

/// What an answer must follow.
#[derive(Debug, Clone)]
pub(crate) enum GrammarSpec {
    /// GBNF with a rule `root`.
    Gbnf(String),
    /// A Lark grammar as llguidance reads it.
    Lark(String),
    /// An expression that the whole text matches.
    Regex(String),
    Schema {
        /// A JSON schema.
        schema: Value,
        /// What may come before, where the model's template knows of it.
        reasoning: Option<ReasoningTags>,
        /// The answer as far as it has been begun.
        begun: String,
    },
    /// The form of a template, with the schemas of tools in it, or that of the answer.
    Form {
        /// As llguidance reads it.
        text: String,
        /// Control tokens that are texts of it.
        spoken: Vec<String>,
        /// Where given, the grammar rules only from the point at which one of these matches.
        lazy: Option<GrammarTriggers>,
        /// Text of the prompt's end that the grammar takes for the beginning of the answer.
        prefill: String,
    },
}

impl GrammarSpec {
    /// What the options of a request ask for, a JSON schema aside: it must be alone.
    pub fn asked(options: &GenerateOptions) -> Result<Option<Self>> {
        let given = [
            (
                "grammar",
                "cannot be combined with {grammar}",
                options.grammar.clone().map(Self::Gbnf),
            ),
            ("lark", "cannot be combined with {lark}", options.lark.clone().map(Self::Lark)),
            ("regex", "cannot be combined with {regex}", options.regex.clone().map(Self::Regex)),
        ];
        let mut given = given.into_iter().filter_map(|(name, why, spec)| Some((name, why, spec?)));
        let Some((name, _, spec)) = given.next() else { return Ok(None) };
        let other = given.next().map(|(_, why, _)| why);
        let has_schema = options.json_schema.is_some();
        match other.or(has_schema.then_some("cannot be combined with {json_schema}")) {
            Some(why) => Err(Error::option(name, Text::with_names(why))),
            None => Ok(Some(spec)),
        }
    }
}

/// A place in a text that follows something.
pub(crate) enum Grammar {
    Gbnf(RawSampler),
    Guide(Box<Guide>),
}

impl Grammar {
    /// Compiles what is to be followed.
    pub fn new(vocab: &Vocab, guides: &Guides, spec: &GrammarSpec) -> Result<Self> {
        match spec {
            GrammarSpec::Gbnf(text) => gbnf(vocab, text).map(Self::Gbnf),
            GrammarSpec::Lark(text) => Ok(Self::Guide(Box::new(guides.for_lark(vocab, text)?))),
            GrammarSpec::Regex(text) => Ok(Self::Guide(Box::new(guides.for_regex(vocab, text)?))),
            GrammarSpec::Schema { schema, reasoning, begun } => {
                let mut guide = guides.for_schema(vocab, schema, reasoning.as_ref())?;
                guide.accept_text(begun)?;
                Ok(Self::Guide(Box::new(guide)))
            }
            GrammarSpec::Form { text, spoken, lazy, prefill } => {
                let mut guide = guides.for_grammar(vocab, text, spoken, lazy.as_ref())?;
                if lazy.is_none() {
                    guide.accept_text(prefill)?;
                }
                Ok(Self::Guide(Box::new(guide)))
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
            Self::Guide(guide) => guide.allows(token),
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
            Self::Guide(guide) => {
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
            Self::Guide(guide) => guide.accept(token),
        }
    }
}

fn accept_by_gbnf(sampler: &RawSampler, token: Token) -> std::result::Result<(), ()> {
    // SAFETY: the sampler is owned, the token is from the vocabulary; the wrapper catches what the grammar throws.
    let status = unsafe { sys::llama_rs_sampler_accept(sampler.as_ptr(), token) };
    if status == sys::LLAMA_RS_STATUS_OK { Ok(()) } else { Err(()) }
}

/// Compiles GBNF.
fn gbnf(vocab: &Vocab, text: &str) -> Result<RawSampler> {
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
    let (sampler, said) = log::capture(|| {
        // SAFETY: NUL-terminated strings that outlive the call; the wrapper catches what the parser throws and gives
        // null.
        unsafe {
            sys::llama_rs_sampler_init_grammar(vocab.as_ptr(), text.as_ptr(), c"root".as_ptr())
        }
    });
    RawSampler::own(sampler).ok_or_else(|| {
        let reason = said.problem().unwrap_or_else(|| "it does not parse".to_owned());
        problem(format!("the grammar cannot be used: {reason}"))
    })
}
