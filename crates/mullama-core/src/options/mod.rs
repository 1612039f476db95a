//! The options of all calls, in tables.
//!
//! An option is declared once, in a table: its name, its names in other languages, its type, its documentation.
//! [`options!`](table) generates a struct whose fields are all `Option`s (unset means the default), a `with_*` setter
//! for each field, and an implementation of [`OptionSet`]. Through it, [`parse_options`] fills the struct from the
//! JSON-like arguments of another language. The type declarations and reference pages of the other languages are
//! generated from [`OptionSet::specs`].

mod calls;
mod chat;
mod context;
mod cuda;
mod embed;
mod generate;
mod kind;
mod lora;
mod media;
mod model;
mod other_names;
mod processors;
mod prompt;
mod range;
mod samplers;
mod size;
pub(crate) mod table;
mod timeout;
mod wrong_type;

use mullama_base::nearest;
use serde_json::{Map, Value};

pub(crate) use chat::check_template;
pub use chat::{ChatFields, ChatOptions, Companion};
pub(crate) use context::MAX_THREADS;
pub use context::{ContextParams, FlashAttention, KvCacheType, KvCacheTypes};
pub use cuda::{AllReduce, AllReduceType, CudaSettings, MmqPrecision};
pub use embed::{EmbedOptions, Inputs, Pooling, RerankOptions, Truncate};
pub use generate::{DraftMode, GenerateOptions, LogitBias, Overflow, Stop};
pub(crate) use generate::{RANDOM_SEED, SamplerOptions};
pub(crate) use kind::option_type;
pub use kind::{FlagForm, OptionKind, OptionType};
pub use lora::Lora;
pub use media::MediaLimits;
pub use model::{CpuKernels, GpuLayers, ModelParams, SplitMode, TensorOverrides};
pub use processors::{LogitsProcessor, LogitsProcessors};
pub use prompt::Prompt;
pub use range::Allowed;
pub(crate) use range::check_range;
pub use samplers::SamplerKind;
pub use size::ByteSize;
pub(crate) use table::options;
pub(crate) use timeout::deadline;
pub(crate) use wrong_type::describe;
use wrong_type::describe_expected;

use crate::{Error, Naming, Result};

/// One option, as documented and declared in other languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionSpec {
    /// The name in snake case, as in Python; Node.js uses camel case.
    pub name: &'static str,
    /// Its meaning, unit and default.
    pub doc: &'static str,
    /// The notation of its values.
    pub kind: OptionKind,
    /// What the value -1 stands for.
    pub minus_one: MinusOne,
    /// The sampler that it is an option of.
    pub sampler: Option<&'static str>,
    /// The key of a model file's metadata that recommends a value.
    pub key: Option<&'static str>,
    /// The command's flag, if it differs from the name.
    pub flag: Option<&'static str>,
    /// The one-letter form of the flag.
    pub short: Option<char>,
    /// Whether the command's short help shows the flag.
    pub shown: bool,
}

impl OptionSpec {
    pub(crate) const EMPTY: Self = Self {
        name: "",
        doc: "",
        kind: OptionKind::new("", "", FlagForm::Json),
        minus_one: MinusOne::Number,
        sampler: None,
        key: None,
        flag: None,
        short: None,
        shown: false,
    };

    /// The command's flag, without the dashes.
    pub fn flag_name(&self) -> String {
        self.flag.map_or_else(|| self.name.replace('_', "-"), str::to_owned)
    }
}

/// What -1 stands for as the value of an option. llama.cpp's programs take it for "no limit" or "random".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MinusOne {
    /// The number -1.
    Number,
    /// The default.
    Default,
    /// 0.
    Zero,
}

impl MinusOne {
    /// The value that is meant.
    fn replace(self, value: Value) -> Value {
        match self {
            Self::Default if value.as_i64() == Some(-1) => Value::Null,
            Self::Zero if value.as_i64() == Some(-1) => 0.into(),
            _ => value,
        }
    }
}

/// A struct of options that can be filled by name.
pub trait OptionSet {
    /// The options, in the order of the documentation.
    fn specs(&self) -> &'static [OptionSpec];

    /// Sets the option `name` (one of `specs`) from a JSON value.
    fn set(&mut self, name: &str, value: Value) -> serde_json::Result<()>;

    /// The options that are set, by name in snake case.
    fn given(&self) -> Map<String, Value>;
}

/// Sets options from the arguments of a call in another language.
///
/// `null` leaves an option at its default. An unknown name or a value of the wrong type is an error. It names the
/// option as that language writes it, and suggests the nearest known name.
pub fn parse_options(
    targets: &mut [&mut dyn OptionSet],
    arguments: Map<String, Value>,
    naming: Naming,
) -> Result<()> {
    for (key, value) in arguments {
        let found = targets.iter_mut().find_map(|target| {
            let spec = target.specs().iter().find(|spec| naming.style(spec.name) == key)?;
            Some((target, spec))
        });
        let Some((target, spec)) = found else { return Err(unknown(&key, targets, naming)) };
        let value = match spec.minus_one.replace(value) {
            // One name is a list of one.
            Value::String(name) if matches!(spec.kind.flag, FlagForm::Names) => {
                Value::Array(vec![Value::String(name)])
            }
            value => value,
        };
        if !value.is_null() {
            target.set(spec.name, value).map_err(|error| {
                refuse(&key, spec, &describe_expected(&error, spec.kind.words().as_deref()))
            })?;
        }
    }
    Ok(())
}

/// Creates the error for a value, with the option's name as the caller wrote it.
fn refuse(key: &str, spec: &OptionSpec, problem: &str) -> Error {
    if key == spec.name { Error::option(key, problem) } else { Error::argument(key, problem) }
}

fn unknown(key: &str, targets: &[&mut dyn OptionSet], naming: Naming) -> Error {
    let known: Vec<&str> =
        targets.iter().flat_map(|target| target.specs()).map(|spec| spec.name).collect();
    let error = Error::argument(key, "there is no such option");
    if let Some((name, call)) = calls::option_of_another_call(key, &known, naming) {
        let hint = format!("`{}` is an option of {call}", naming.style(name));
        return error.with_hint(hint);
    }
    if let Some(hint) = other_names::hint(key, &known, naming) {
        return error.with_hint(hint);
    }
    match nearest(key, known.iter().map(|name| naming.style(name))) {
        Some(name) => error.with_hint(format!("did you mean `{name}`?")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::GenerateOptions;

    fn parse(arguments: Value, naming: Naming) -> Result<GenerateOptions> {
        let mut options = GenerateOptions::default();
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        parse_options(&mut [&mut options], arguments, naming)?;
        Ok(options)
    }

    #[test]
    fn option_names_follow_the_naming_style() {
        let options = parse(json!({"max_tokens": 3, "top_p": 0.5}), Naming::Snake).unwrap();
        assert_eq!((options.max_tokens, options.top_p), (Some(3), Some(0.5)));
        let options = parse(json!({"maxTokens": 3, "topNSigma": 1}), Naming::Camel).unwrap();
        assert_eq!((options.max_tokens, options.top_n_sigma), (Some(3), Some(1.0)));
        assert!(parse(json!({"maxTokens": 3}), Naming::Snake).is_err());
        let mut context = ContextParams::default();
        let asked = json!({"flash_attention": true}).as_object().unwrap().clone();
        let error = parse_options(&mut [&mut context], asked, Naming::Snake).unwrap_err();
        assert!(error.to_string().ends_with("expected one of `auto`, `on`, `off`, not `true`"));
        let mut model = ModelParams::default();
        let asked = json!({"devices": "CUDA0"}).as_object().unwrap().clone();
        parse_options(&mut [&mut model], asked, Naming::Snake).unwrap();
        assert_eq!(model.devices, Some(vec!["CUDA0".to_owned()]));
    }

    #[test]
    fn options_round_trip_through_given() {
        let given = json!({
            "n_gpu_layers": "auto", "tensor_overrides": { "b": "CPU", "a": "CPU" },
            "split_mode": "row", "kv_cache_type": ["q8_0", "iq4_nl"], "context_size": 512,
        });
        let fill = |given: &Map<String, Value>| {
            let (mut model, mut context) = <(ModelParams, ContextParams)>::default();
            parse_options(&mut [&mut model, &mut context], given.clone(), Naming::Snake).unwrap();
            model.given().into_iter().chain(context.given()).collect::<Map<_, _>>()
        };
        let read = fill(given.as_object().unwrap());
        assert_eq!(Value::from(read.clone()), given);
        assert_eq!(fill(&read), read);
    }

    #[test]
    fn minus_one_means_no_limit() {
        let options = parse(json!({"max_tokens": -1, "seed": -1}), Naming::Snake).unwrap();
        assert_eq!((options.max_tokens, options.seed), (None, None));
        assert_eq!(parse(json!({"top_k": -1}), Naming::Snake).unwrap().top_k, Some(0));
        assert_eq!(
            parse(json!({"repeat_last_n": -1}), Naming::Snake).unwrap().repeat_last_n,
            Some(-1)
        );
        for refused in [json!({"max_tokens": -2}), json!({"seed": -1.5}), json!({"logprobs": -1})] {
            assert!(parse(refused.clone(), Naming::Snake).is_err(), "{refused}");
        }
    }

    #[test]
    fn options_of_other_calls_are_named_with_their_call() {
        let hint = |arguments: Value, naming| {
            parse(arguments, naming).unwrap_err().hint().unwrap_or_default().to_owned()
        };
        let cases = [
            (json!({"context_size": 1}), "`context_size` is an option of loading a model"),
            (json!({"n_gpu_layers": 1}), "`n_gpu_layers` is an option of loading a model"),
            (json!({"tools": []}), "`tools` is an option of `chat`"),
            (json!({"pooling": "mean"}), "`pooling` is an option of `embed`"),
            (json!({"n_ctx": 1}), "the option is `context_size` of loading a model"),
        ];
        for (arguments, said) in cases {
            let hint = hint(arguments.clone(), Naming::Snake);
            assert!(hint.contains(said), "{arguments}: {hint}");
        }
        let camel = hint(json!({"nGpuLayers": 1}), Naming::Camel);
        assert_eq!(camel, "`nGpuLayers` is an option of loading a model");
    }

    #[test]
    fn null_is_the_default() {
        assert_eq!(parse(json!({"seed": null}), Naming::Snake).unwrap().seed, None);
    }

    #[test]
    fn unknown_options_get_suggestions() {
        let error = parse(json!({"temprature": 1}), Naming::Snake).unwrap_err();
        assert_eq!(error.to_string(), "option `temprature`: there is no such option");
        assert_eq!(error.hint(), Some("did you mean `temperature`?"));
        let error = parse(json!({"maxToken": 1}), Naming::Camel).unwrap_err();
        assert_eq!(error.hint(), Some("did you mean `maxTokens`?"));
    }

    #[test]
    fn ill_typed_values_name_the_option() {
        let error = parse(json!({"topK": "many"}), Naming::Camel).unwrap_err();
        let said = "option `topK`: expected a whole number from 0 to 4294967295, not \"many\"";
        assert_eq!(error.to_string(), said);
    }
}
