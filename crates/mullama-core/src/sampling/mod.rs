//! The choice of each next token.
//!
//! The order of the samplers and their defaults are llama.cpp's (`common/sampling.cpp`,
//! `common/common.h`): logit bias, penalties, DRY, top-n-sigma, top-k, typical-p, top-p, min-p, XTC,
//! temperature, then the draw.

mod grammar;
mod guide;
mod raw;
mod reasoning;
mod sampler;
mod schema;
mod settings;

pub(crate) use grammar::{Grammar, GrammarSpec, GrammarTriggers, schema_to_gbnf};
pub(crate) use guide::{Guides, escape};
pub(crate) use reasoning::{ReasoningSpec, ReasoningTags};
pub(crate) use sampler::Sampler;
pub(crate) use settings::Sampling;
