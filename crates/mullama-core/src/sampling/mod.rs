//! Sampling: chooses each next token.
//!
//! The default order of the samplers and their default values are llama.cpp's (`common/sampling.cpp`,
//! `common/common.h`): logit bias, penalties, DRY, top-n-sigma, top-k, typical-p, top-p, min-p, XTC, temperature, then
//! the draw.

mod drafting;
mod gbnf;
mod grammar;
mod grammars;
mod guess;
mod guide;
mod logits_adjuster;
mod raw;
mod reasoning;
mod refusal;
mod sampler;
mod schema;
mod settings;
mod tag_search;
mod trigger;

pub(crate) use drafting::DraftSampler;
pub(crate) use grammar::{GRAMMAR_STACK, Grammar, GrammarSpec};
pub(crate) use grammars::Grammars;
pub(crate) use guess::Guess;
pub(crate) use guide::optional_reasoning;
pub(crate) use logits_adjuster::LogitsAdjuster;
pub(crate) use reasoning::{ReasoningSpec, ReasoningTags};
pub(crate) use refusal::unusable;
pub(crate) use sampler::{Sampler, are_valid_logits, invalid_logits};
pub(crate) use schema::{ANY_TEXT, Schema, Texts, escaped, quoted, shape_of, types};
pub(crate) use settings::Sampling;
pub(crate) use trigger::GrammarTriggers;
