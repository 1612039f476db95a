//! Sampling: chooses each next token.
//!
//! The default order of the samplers and their default values are llama.cpp's (`common/sampling.cpp`,
//! `common/common.h`): logit bias, penalties, DRY, top-n-sigma, top-k, typical-p, top-p, min-p, XTC, temperature, then
//! the draw.

mod bounds;
mod combined;
mod drafting;
mod endless;
mod equivalent;
mod gbnf;
mod grammar;
mod grammars;
mod guess;
mod guide;
mod json_schema;
mod keywords;
mod logits_adjuster;
mod pattern;
mod raw;
mod reasoning;
mod recent;
mod refusal;
mod sampler;
mod schema;
mod settings;
mod subschemas;
mod tag_search;
mod text_schema;
mod trigger;

pub(crate) use drafting::DraftSampler;
pub(crate) use grammar::{GRAMMAR_STACK, Grammar, GrammarSpec};
pub(crate) use grammars::Grammars;
pub(crate) use guess::Guess;
pub(crate) use guide::optional_reasoning;
pub(crate) use json_schema::{Schema, shape_of};
pub(crate) use logits_adjuster::LogitsAdjuster;
pub(crate) use reasoning::{ReasoningSpec, ReasoningTags};
pub(crate) use refusal::unusable;
pub(crate) use sampler::{Sampler, are_valid_logits, invalid_logits};
pub(crate) use schema::types;
pub(crate) use settings::Sampling;
pub(crate) use subschemas::escaped;
pub(crate) use text_schema::{ANY_TEXT, Texts, quoted};
pub(crate) use trigger::GrammarTriggers;
