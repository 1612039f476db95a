//! Grammars that constrain an answer, and the position in them.

use mullama_base::Text;
use mullama_sys as sys;
use serde_json::Value;

use super::gbnf::Gbnf;
use super::guide::{Guide, Guides};
use super::reasoning::ReasoningTags;
use super::schema::STACK;
use super::tag_search::TagSearch;
use super::trigger::GrammarTriggers;
use crate::engine::Vocab;
use crate::options::GenerateOptions;
use crate::{Error, Result, Token};

/// A constraint on an answer.
#[derive(Debug, Clone)]
pub(crate) enum GrammarSpec {
    /// GBNF with a rule `root`.
    Gbnf(String),
    /// A Lark grammar for llguidance.
    Lark(String),
    /// A regular expression that matches the whole text.
    Regex(String),
    /// A constraint that applies after the reasoning that the prompt has opened.
    Delayed {
        spec: Box<GrammarSpec>,
        /// The tags that end the reasoning.
        ends: Vec<String>,
    },
    Schema {
        /// A JSON schema.
        schema: Value,
        /// Reasoning that may precede, if the model's template has tags for it.
        reasoning: Option<ReasoningTags>,
        /// The start of the answer, if it already exists.
        begun: String,
    },
    /// The format of a template, with the schemas of tools or of the answer.
    Form {
        /// A grammar for llguidance.
        text: String,
        /// Control tokens that the grammar contains as text.
        spoken: Vec<String>,
        /// If set, the grammar applies only from the point at which one of these matches.
        lazy: Option<GrammarTriggers>,
        /// How the answer may have begun: ends of the prompt. The first that matches is the start of what the grammar
        /// applies to.
        begun: Vec<String>,
        /// Whether one of them must match. Otherwise the grammar waits for its triggers.
        must_match: bool,
    },
}

impl GrammarSpec {
    /// The text that the compiled constraint depends on.
    pub fn source(&self) -> String {
        match self {
            Self::Gbnf(text) => format!("gbnf {text}"),
            Self::Lark(text) => format!("lark {text}"),
            Self::Regex(text) => format!("regex {text}"),
            Self::Delayed { spec, ends } => format!("delayed {ends:?} {}", spec.source()),
            Self::Schema { schema, reasoning, .. } => format!("schema {reasoning:?} {schema}"),
            Self::Form { text, spoken, .. } => format!("form {spoken:?} {text}"),
        }
    }

    /// The constraint in a request's options, except a JSON schema. Fails if there is more than
    /// one.
    pub fn from_options(options: &GenerateOptions) -> Result<Option<Self>> {
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

/// Bytes of stack for compiling a constraint.
pub(crate) const GRAMMAR_STACK: usize = STACK + (1 << 20);

/// A position in a constrained text.
pub(crate) enum Grammar {
    Gbnf(Box<Gbnf>),
    Guide(Box<Guide>),
    Delayed(Box<Delayed>),
}

/// A grammar that waits for the end of the reasoning. Until then, all tokens are allowed except those that end the
/// answer.
pub(crate) struct Delayed {
    grammar: Grammar,
    vocab: Vocab,
    ends: Vec<String>,
    /// `None` after the end of the reasoning.
    search: Option<TagSearch>,
}

impl Delayed {
    fn accept(&mut self, token: Token) -> Result<()> {
        let Some(search) = &mut self.search else { return self.grammar.accept(token) };
        let mut piece = Vec::new();
        self.vocab.piece(token, true, &mut piece);
        search.push(&piece);
        if search.has_one_of(&self.ends) {
            self.search = None;
        } else {
            search.trim();
        }
        Ok(())
    }
}

impl Grammar {
    /// Compiles a constraint, without what has begun.
    pub fn new(vocab: &Vocab, guides: &Guides, spec: &GrammarSpec) -> Result<Self> {
        let guide = match spec {
            GrammarSpec::Gbnf(text) => {
                let grammar = Gbnf::new(vocab, guides.token_texts(vocab), text)?;
                return Ok(Self::Gbnf(Box::new(grammar)));
            }
            GrammarSpec::Delayed { spec, ends } => {
                return Ok(Self::Delayed(Box::new(Delayed {
                    grammar: Self::new(vocab, guides, spec)?,
                    vocab: vocab.clone(),
                    ends: ends.clone(),
                    search: Some(TagSearch::new(ends.iter())),
                })));
            }
            GrammarSpec::Lark(text) => guides.for_lark(vocab, text)?,
            GrammarSpec::Regex(text) => guides.for_regex(vocab, text)?,
            GrammarSpec::Schema { schema, reasoning, .. } => {
                guides.for_schema(vocab, schema, reasoning.as_ref())?
            }
            GrammarSpec::Form { text, spoken, .. } => guides.for_grammar(vocab, text, spoken)?,
        };
        Ok(Self::Guide(Box::new(guide)))
    }

    /// Advances by the start of the answer, if it already exists.
    pub fn begin(self, spec: &GrammarSpec) -> Result<Self> {
        match (self, spec) {
            (Self::Guide(mut guide), GrammarSpec::Schema { begun, .. }) => {
                guide.accept_text(begun)?;
                Ok(Self::Guide(guide))
            }
            (Self::Guide(guide), GrammarSpec::Form { lazy, begun, must_match, .. }) => {
                let continued = begun.iter().find_map(|begun| {
                    let mut guide = guide.fork();
                    guide.accept_text(begun).ok().map(|()| guide)
                });
                let guide = match (continued, lazy) {
                    (Some(continued), _) => continued,
                    (None, Some(triggers)) if !must_match => (*guide).awaiting(triggers)?,
                    (None, _) => return Err(guide.mismatch()),
                };
                Ok(Self::Guide(Box::new(guide)))
            }
            (grammar, _) => Ok(grammar),
        }
    }

    /// Creates an independent copy with the same state.
    pub fn fork(&self) -> Self {
        match self {
            Self::Gbnf(grammar) => Self::Gbnf(grammar.clone()),
            Self::Guide(guide) => Self::Guide(Box::new(guide.fork())),
            Self::Delayed(delayed) => Self::Delayed(Box::new(Delayed {
                grammar: delayed.grammar.fork(),
                vocab: delayed.vocab.clone(),
                ends: delayed.ends.clone(),
                search: delayed.search.clone(),
            })),
        }
    }

    /// Whether a token may be next.
    pub fn allows(&mut self, token: Token) -> Result<bool> {
        match self {
            Self::Gbnf(grammar) => grammar.allows(token),
            Self::Guide(guide) => guide.allows(token),
            Self::Delayed(delayed) if delayed.search.is_none() => delayed.grammar.allows(token),
            Self::Delayed(delayed) => Ok(!delayed.vocab.is_end_of_generation(token)),
        }
    }

    /// Sets the logits of all candidates that may not be next to minus infinity.
    pub fn forbid(&mut self, candidates: &mut [sys::llama_token_data]) -> Result<()> {
        match self {
            Self::Gbnf(grammar) => grammar.forbid(candidates),
            Self::Guide(guide) => {
                guide.look_ahead()?;
                self.forbid_each(candidates)
            }
            Self::Delayed(delayed) if delayed.search.is_none() => {
                delayed.grammar.forbid(candidates)
            }
            Self::Delayed(_) => self.forbid_each(candidates),
        }
    }

    fn forbid_each(&mut self, candidates: &mut [sys::llama_token_data]) -> Result<()> {
        for candidate in candidates {
            if !self.allows(candidate.id)? {
                candidate.logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// Advances by a token.
    pub fn accept(&mut self, token: Token) -> Result<()> {
        match self {
            Self::Delayed(delayed) => delayed.accept(token),
            Self::Gbnf(grammar) => grammar.accept(token),
            Self::Guide(guide) => guide.accept(token),
        }
    }
}
