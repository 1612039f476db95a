//! Which calls have an option.

use super::chat::ChatFields;
use super::context::ContextParams;
use super::embed::{EmbedOptions, RerankOptions};
use super::generate::GenerateOptions;
use super::model::ModelParams;
use crate::Naming;
use crate::OptionSet as _;

/// An option with this name in snake or camel case that is not among `known`, and the calls that have it.
pub(super) fn option_of_another_call(
    key: &str,
    known: &[&str],
    naming: Naming,
) -> Option<(&'static str, &'static str)> {
    calls()
        .filter(|(name, _)| !known.contains(name))
        .find(|(name, _)| naming.style(name) == key || *name == key)
}

/// The calls that have an option of mullama.
pub(super) fn call_of(option: &str) -> Option<&'static str> {
    calls().find(|(name, _)| *name == option).map(|(_, call)| call)
}

/// All options of the calls of a model, each with these calls.
fn calls() -> impl Iterator<Item = (&'static str, &'static str)> {
    let loading = "loading a model";
    let calls = [
        (ModelParams::default().specs(), loading),
        (ContextParams::default().specs(), loading),
        (GenerateOptions::default().specs(), "`generate`, `stream` and `chat`"),
        (ChatFields::default().specs(), "`chat`"),
        (EmbedOptions::default().specs(), "`embed`"),
        (RerankOptions::default().specs(), "`rerank`"),
    ];
    calls.into_iter().flat_map(|(specs, call)| specs.iter().map(move |spec| (spec.name, call)))
}
