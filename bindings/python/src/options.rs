//! Keyword arguments as the core's options.

use mullama::{
    ChatOptions, Companion, ContextParams, CudaSettings, EmbedOptions, GenerateOptions, Lora,
    ModelParams, Naming, OptionSet, PlanFields, RerankOptions, parse_options,
};
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString};
use serde_json::{Map, Value};

use crate::errors::raise;
use crate::hints::hint;
use crate::json;
use crate::processors::take_processors;
use crate::text::Text;

/// Options that keyword arguments set.
pub trait Keywords: Default {
    /// Whether they include tools, which may be functions, and a type as the format of the answer.
    const IS_CHAT: bool = false;

    fn sets(&mut self) -> Vec<&mut dyn OptionSet>;

    /// The options of the generation, if this call has them.
    fn generate(&mut self) -> Option<&mut GenerateOptions> {
        None
    }

    /// Takes the function that parses the answer as a value of a type.
    fn take_response_type(&mut self, _: Py<PyAny>) {}
}

macro_rules! keywords {
    ($($name:ident),+) => { $(
        impl Keywords for $name {
            fn sets(&mut self) -> Vec<&mut dyn OptionSet> {
                vec![self]
            }
        }
    )+ };
}

keywords!(EmbedOptions, RerankOptions);

impl Keywords for GenerateOptions {
    fn sets(&mut self) -> Vec<&mut dyn OptionSet> {
        vec![self]
    }

    fn generate(&mut self) -> Option<&mut GenerateOptions> {
        Some(self)
    }
}

impl Keywords for ChatOptions {
    const IS_CHAT: bool = true;

    fn sets(&mut self) -> Vec<&mut dyn OptionSet> {
        self.option_sets().into()
    }

    fn generate(&mut self) -> Option<&mut GenerateOptions> {
        Some(&mut self.generate)
    }

    fn take_response_type(&mut self, response_type: Py<PyAny>) {
        self.companion = Companion::new(response_type);
    }
}

/// The options of loading a model.
impl Keywords for (ModelParams, ContextParams) {
    fn sets(&mut self) -> Vec<&mut dyn OptionSet> {
        vec![&mut self.0, &mut self.1]
    }
}

/// The `**options` of a call.
pub struct Options<T>(T);

impl<T: Keywords> FromPyObject<'_, '_> for Options<T> {
    type Error = PyErr;

    fn extract(keywords: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let mut options = T::default();
        let mut keywords: Bound<'_, PyDict> = keywords.to_owned().cast_into()?;
        if let Some(generate) = options.generate() {
            (keywords, generate.logits_processors) = take_processors(keywords)?;
        }
        let keywords = if T::IS_CHAT {
            let (keywords, response_type) = describe_type(describe_tools(keywords)?)?;
            if let Some(response_type) = response_type {
                options.take_response_type(response_type);
            }
            keywords
        } else {
            keywords
        };
        let (arguments, unusable) = convert(&keywords)?;
        parse_options(&mut options.sets(), arguments, Naming::Snake).map_err(raise)?;
        unusable.map_or(Ok(Self(options)), Err)
    }
}

/// The options of a call; defaults if none were passed.
pub fn with_defaults<T: Default>(options: Option<Options<T>>) -> T {
    options.map(|options| options.0).unwrap_or_default()
}

/// LoRA adapters: a path, or a list of paths and of pairs of a path and a scale.
pub struct LoraArgument(pub Lora);

impl FromPyObject<'_, '_> for LoraArgument {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = hint("Lora");

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        Lora::from_json(json::from_python(&value, "lora")?).map(Self).map_err(raise)
    }
}

/// Replaces tools that are functions by their definitions.
fn describe_tools(keywords: Bound<'_, PyDict>) -> PyResult<Bound<'_, PyDict>> {
    let Some(tools) = keywords.get_item("tools")?.filter(|tools| !tools.is_none()) else {
        return Ok(keywords);
    };
    let keywords = keywords.copy()?;
    let describe = keywords.py().import("mullama._tools")?.getattr("definitions")?;
    keywords.set_item("tools", describe.call1((tools,))?)?;
    Ok(keywords)
}

/// Replaces a type as `response_format` by its schema, and returns the function that parses an answer into a
/// value of it.
fn describe_type(keywords: Bound<'_, PyDict>) -> PyResult<(Bound<'_, PyDict>, Option<Py<PyAny>>)> {
    const NAME: &str = "response_format";
    let is_type = |given: &Bound<'_, PyAny>| {
        !(given.is_none()
            || given.is_instance_of::<PyString>()
            || given.cast::<PyMapping>().is_ok())
    };
    let Some(given) = keywords.get_item(NAME)?.filter(is_type) else { return Ok((keywords, None)) };
    let keywords = keywords.copy()?;
    let make = keywords.py().import("mullama._types")?.getattr("ResponseType")?;
    let response_type = make.call1((given,))?;
    keywords.set_item(NAME, response_type.getattr(NAME)?)?;
    Ok((keywords, Some(response_type.unbind())))
}

/// Keyword arguments as JSON.
pub fn arguments(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Map<String, Value>> {
    let (arguments, unusable) = keywords.map(convert).transpose()?.unwrap_or_default();
    unusable.map_or(Ok(arguments), Err)
}

/// The valid keyword arguments, and the error of the first invalid one.
fn convert(keywords: &Bound<'_, PyDict>) -> PyResult<(Map<String, Value>, Option<PyErr>)> {
    let mut arguments = Map::new();
    let mut unusable = None;
    for (name, value) in keywords {
        let Text(name) = name.extract()?;
        // An error for an unknown option takes precedence over one for its unusable value.
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
    let cuda = CudaSettings::default();
    let sets: [(_, &dyn OptionSet); 10] = [
        ("cuda", &cuda),
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
