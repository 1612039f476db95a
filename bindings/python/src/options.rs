//! Keyword arguments as the core's options.

use mullama::{
    ChatOptions, ContextParams, EmbedOptions, GenerateOptions, ModelParams, Naming, OptionSet,
    PlanFields, RerankOptions, parse_options,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyDictMethods};
use serde_json::{Map, Value};

use crate::errors::raise;
use crate::json;
use crate::text::Text;

/// The options of loading a model.
pub fn load(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<(ModelParams, ContextParams)> {
    let (mut model, mut context) = <(ModelParams, ContextParams)>::default();
    fill(&mut [&mut model, &mut context], keywords)?;
    Ok((model, context))
}

/// The options of a generation.
pub fn generate(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<GenerateOptions> {
    let mut options = GenerateOptions::default();
    fill(&mut [&mut options], keywords)?;
    Ok(options)
}

/// The options of a chat. Tools may be functions.
pub fn chat(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<ChatOptions> {
    let mut options = ChatOptions::default();
    let described = keywords.map(describe_tools).transpose()?;
    fill(&mut options.option_sets(), described.as_ref())?;
    Ok(options)
}

/// The options of an embedding.
pub fn embed(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<EmbedOptions> {
    let mut options = EmbedOptions::default();
    fill(&mut [&mut options], keywords)?;
    Ok(options)
}

/// The options of a reranking.
pub fn rerank(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<RerankOptions> {
    let mut options = RerankOptions::default();
    fill(&mut [&mut options], keywords)?;
    Ok(options)
}

/// The options of every answer of a conversation, which are checked now rather than when it is asked.
pub fn for_chat<'py>(
    py: Python<'py>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyDict>> {
    chat(keywords)?;
    keywords.map_or_else(|| Ok(PyDict::new(py)), PyDictMethods::copy)
}

/// Replaces tools that are functions by what describes them.
fn describe_tools<'py>(keywords: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyDict>> {
    let Some(tools) = keywords.get_item("tools")?.filter(|tools| !tools.is_none()) else {
        return Ok(keywords.clone());
    };
    let keywords = keywords.copy()?;
    let describe = keywords.py().import("mullama._tools")?.getattr("definitions")?;
    keywords.set_item("tools", describe.call1((tools,))?)?;
    Ok(keywords)
}

/// Keyword arguments as JSON.
pub fn arguments(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Map<String, Value>> {
    let (arguments, unusable) = convert(keywords)?;
    unusable.map_or(Ok(arguments), Err)
}

fn fill(targets: &mut [&mut dyn OptionSet], keywords: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
    let (arguments, unusable) = convert(keywords)?;
    parse_options(targets, arguments, Naming::Snake).map_err(raise)?;
    unusable.map_or(Ok(()), Err)
}

/// What can be used of keyword arguments, and the error of what cannot.
fn convert(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<(Map<String, Value>, Option<PyErr>)> {
    let mut arguments = Map::new();
    let mut unusable = None;
    for (name, value) in keywords.into_iter().flatten() {
        let Text(name) = name.extract()?;
        // That there is no such option is the better thing to say of a value that cannot be used.
        let value = json::from_python(&value, &name).unwrap_or_else(|error| {
            unusable.get_or_insert(error);
            Value::Null
        });
        arguments.insert(name, value);
    }
    Ok((arguments, unusable))
}

/// Every option as (set, name, type in Rust, documentation), for the script that writes
/// `mullama/options.py`.
#[pyfunction(name = "_option_specs")]
pub fn option_specs() -> Vec<(&'static str, &'static str, &'static str, &'static str)> {
    let (model, context) = <(ModelParams, ContextParams)>::default();
    let ChatOptions { generate, chat, .. } = ChatOptions::default();
    let (embed, rerank) = <(EmbedOptions, RerankOptions)>::default();
    let hardware = PlanFields::default();
    let sets: [(_, &dyn OptionSet); 9] = [
        ("load", &model),
        ("load", &context),
        ("generate", &generate),
        ("chat", &chat),
        ("embed", &embed),
        ("rerank", &rerank),
        ("plan", &hardware),
        ("plan", &model),
        ("plan", &context),
    ];
    sets.iter()
        .flat_map(|(name, set)| set.specs().iter().map(move |spec| (*name, spec)))
        // An argument of `plan` itself.
        .filter(|(name, spec)| *name != "plan" || spec.name != "devices")
        .map(|(set, spec)| (set, spec.name, spec.kind.python, spec.doc))
        .collect()
}
