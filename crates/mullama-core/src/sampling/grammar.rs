//! Grammars: what a text must follow, and where it is in it.

use mullama_base::Text;
use mullama_sys as sys;
use serde_json::Value;

use super::gbnf::Gbnf;
use super::guide::{Guide, Guides};
use super::reasoning::ReasoningTags;
use super::trigger::GrammarTriggers;
use crate::engine::Vocab;
use crate::options::GenerateOptions;
use crate::{Error, Result, Token};

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
    Gbnf(Box<Gbnf>),
    Guide(Box<Guide>),
}

impl Grammar {
    /// Compiles what is to be followed.
    pub fn new(vocab: &Vocab, guides: &Guides, spec: &GrammarSpec) -> Result<Self> {
        match spec {
            GrammarSpec::Gbnf(text) => {
                let grammar = Gbnf::new(vocab, guides.token_texts(vocab), text)?;
                Ok(Self::Gbnf(Box::new(grammar)))
            }
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

    /// The same place, to go on from independently.
    pub fn fork(&self) -> Self {
        match self {
            Self::Gbnf(grammar) => Self::Gbnf(grammar.clone()),
            Self::Guide(guide) => Self::Guide(Box::new(guide.fork())),
        }
    }

    /// Whether a token may be next.
    pub fn allows(&mut self, token: Token) -> Result<bool> {
        match self {
            Self::Gbnf(grammar) => grammar.allows(token),
            Self::Guide(guide) => guide.allows(token),
        }
    }

    /// Gives all candidates that may not be next a logit of minus infinity.
    pub fn forbid(&mut self, candidates: &mut [sys::llama_token_data]) -> Result<()> {
        match self {
            Self::Gbnf(grammar) => grammar.forbid(candidates),
            Self::Guide(guide) => {
                guide.look_ahead()?;
                for candidate in candidates {
                    if !guide.allows(candidate.id)? {
                        candidate.logit = f32::NEG_INFINITY;
                    }
                }
                Ok(())
            }
        }
    }

    /// Goes on by a token.
    pub fn accept(&mut self, token: Token) -> Result<()> {
        match self {
            Self::Gbnf(grammar) => grammar.accept(token),
            Self::Guide(guide) => guide.accept(token),
        }
    }
}
