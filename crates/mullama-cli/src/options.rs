//! Command line flags, generated from the library's tables of options.

use clap::builder::ArgAction;
use clap::{Arg, ArgMatches};
use mullama::{
    ChatOptions, ContextParams, Error, FlagForm, ModelParams, Naming, OptionSet, OptionSpec,
    PlanFields, PlanOptions, Result, parse_options,
};
use serde_json::{Map, Value};

use crate::llama_cpp;

/// The flags for all options of loading a model.
pub fn load_flags() -> Vec<Arg> {
    let (model, context) = (ModelParams::default(), ContextParams::default());
    flags(model.specs().iter().chain(context.specs()), "Loading").collect()
}

/// The flags for all options of a plan, except its devices.
pub fn plan_flags() -> Vec<Arg> {
    let hardware = PlanFields::default();
    let loading = load_flags().into_iter().filter(|flag| flag.get_id() != "devices");
    let own = flags(hardware.specs().iter(), "Hardware").filter(|flag| flag.get_id() != "devices");
    own.chain(loading).collect()
}

/// The values of these flags, by option name.
pub fn read_plan(matches: &ArgMatches) -> Result<Map<String, Value>> {
    let options = PlanOptions::default();
    let sets: [&dyn OptionSet; 3] = [&options.hardware, &options.model, &options.context];
    let specs = sets.iter().flat_map(|set| set.specs());
    given(matches, specs.filter(|spec| spec.name != "devices"))
}

/// The flags for all options of an answer.
pub fn chat_flags() -> Vec<Arg> {
    let mut options = ChatOptions::default();
    let [generate, chat] = options.option_sets();
    let specs = generate.specs().iter().chain(chat.specs());
    // Adapters are set when the model is loaded, since it serves only one request.
    flags(specs.filter(|spec| !is_for_loading(spec.name)), "Generation").collect()
}

/// All options of loading a model and generating answers.
#[derive(Default)]
pub struct Options {
    pub model: ModelParams,
    pub context: ContextParams,
    pub chat: ChatOptions,
}

impl Options {
    /// Parses options from names and values.
    pub fn parse(values: Map<String, Value>) -> Result<Self> {
        let mut options = Self::default();
        let [generate, chat] = options.chat.option_sets();
        let mut sets: [&mut dyn OptionSet; 4] =
            [&mut options.model, &mut options.context, generate, chat];
        parse_options(&mut sets, values, Naming::Snake)?;
        Ok(options)
    }
}

/// Whether changing this option requires loading the model again.
pub fn is_for_loading(option: &str) -> bool {
    let (model, context) = (ModelParams::default(), ContextParams::default());
    model.specs().iter().chain(context.specs()).any(|spec| spec.name == option)
}

/// The flag that is suggested for a name, without dashes.
pub fn flag_for(name: &str) -> Option<String> {
    let option = name.replace('-', "_");
    let error = Options::parse(Map::from_iter([(option, Value::Null)])).err()?;
    let meant = error.hint()?.split('`').nth(1)?;
    let mut options = Options::default();
    let [generate, chat] = options.chat.option_sets();
    let sets = [options.model.specs(), options.context.specs(), generate.specs(), chat.specs()];
    let spec = sets.iter().flat_map(|specs| *specs).find(|spec| spec.name == meant)?;
    Some(spec.flag_name())
}

/// The values of the flags, by option name.
pub fn read(matches: &ArgMatches) -> Result<Map<String, Value>> {
    let mut options = Options::default();
    let [generate, chat] = options.chat.option_sets();
    let chat = generate.specs().iter().chain(chat.specs());
    let chat = chat.filter(|spec| !is_for_loading(spec.name));
    given(matches, options.model.specs().iter().chain(options.context.specs()).chain(chat))
}

/// A message of the library, in which options with another flag than their name have that flag.
pub fn with_flag_names(message: &str) -> String {
    let mut options = Options::default();
    let [generate, chat] = options.chat.option_sets();
    let sets = [options.model.specs(), options.context.specs(), generate.specs(), chat.specs()];
    let renamed = sets.iter().flat_map(|specs| *specs).filter(|spec| spec.flag.is_some());
    renamed.fold(message.to_owned(), |message, spec| {
        let name = format!("`--{}`", spec.name.replace('_', "-"));
        message.replace(&name, &format!("`--{}`", spec.flag_name()))
    })
}

/// The documentation of an option as help: names of options are written as flags.
fn help(doc: &str) -> String {
    let doc = doc.split_whitespace().collect::<Vec<_>>().join(" ");
    let (model, context) = (ModelParams::default(), ContextParams::default());
    let mut chat = ChatOptions::default();
    let [generate, chat] = chat.option_sets();
    let sets = [model.specs(), context.specs(), generate.specs(), chat.specs()];
    let flag = |name: &str| {
        let spec = sets.iter().flat_map(|specs| *specs).find(|spec| spec.name == name)?;
        Some(format!("--{}", spec.flag_name()))
    };
    let pieces = doc.split('`').enumerate().map(|(index, piece)| match index % 2 {
        1 => flag(piece).unwrap_or_else(|| piece.to_owned()),
        _ => piece.to_owned(),
    });
    pieces.collect()
}

fn flags(
    specs: impl Iterator<Item = &'static OptionSpec>,
    heading: &'static str,
) -> impl Iterator<Item = Arg> {
    specs.filter(|spec| has_flag(spec)).map(move |spec| {
        let arg = Arg::new(spec.name)
            .long(spec.flag_name())
            // The option's name is accepted too.
            .alias(spec.name.replace('_', "-"))
            .help(help(spec.doc))
            .help_heading(heading)
            .hide_short_help(heading == "Generation" && !spec.shown)
            // Negative numbers are values, not flags: `--n-gpu-layers -1`.
            .allow_hyphen_values(true);
        let arg = match spec.kind.flag {
            FlagForm::Switch => {
                let arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
                arg.allow_hyphen_values(false).value_name("true|false")
            }
            FlagForm::Names => {
                arg.action(ArgAction::Append).value_delimiter(',').value_name("A,B,...")
            }
            FlagForm::Patterns => arg.action(ArgAction::Append).value_name("REGEX=DEVICE,..."),
            FlagForm::Settings => arg.action(ArgAction::Append).value_name("NAME=VALUE,..."),
            FlagForm::Adapters => arg.action(ArgAction::Append).value_name("FILE[=SCALE]"),
            FlagForm::Texts => arg.action(ArgAction::Append).value_name("TEXT"),
            FlagForm::Numbers => arg.value_name("A,B,..."),
            FlagForm::Number => arg.value_name("N"),
            FlagForm::NumberOr(words) => arg.value_name(format!("N|{words}")),
            FlagForm::Text(name) | FlagForm::Pair(name) => arg.value_name(name),
            _ => arg.value_name("JSON"),
        };
        match spec.short.or_else(|| letter(&spec.flag_name())) {
            Some(short) => arg.short(short),
            None => arg,
        }
    })
}

/// Whether the values of an option can be written on a command line.
fn has_flag(spec: &OptionSpec) -> bool {
    spec.kind.flag != FlagForm::None
}

/// llama.cpp's short form of a flag.
fn letter(flag: &str) -> Option<char> {
    llama_cpp::spellings(flag).into_iter().find_map(|name| {
        let mut letters = name.strip_prefix('-')?.chars();
        letters.next().filter(|_| letters.next().is_none())
    })
}

/// Converts the flags that are present into option values, as the library accepts them from any language.
fn given<'a>(
    matches: &ArgMatches,
    specs: impl Iterator<Item = &'a OptionSpec>,
) -> Result<Map<String, Value>> {
    let mut options = Map::new();
    for spec in specs.filter(|spec| has_flag(spec)) {
        let Some(values) = matches.get_many::<String>(spec.name) else { continue };
        let values: Vec<&str> = values.map(String::as_str).collect();
        if values.last().is_some_and(|text| is_default(spec, text)) {
            continue;
        }
        options.insert(spec.name.to_owned(), value(spec, &values)?);
    }
    Ok(options)
}

fn value(spec: &OptionSpec, values: &[&str]) -> Result<Value> {
    let text = values.last().copied().unwrap_or_default();
    let flag = format!("--{}", spec.flag_name());
    let number = |text: &str| {
        let whole = text.trim().parse::<i64>().map(Value::from).ok();
        let value = whole.or_else(|| text.trim().parse::<f64>().map(Value::from).ok());
        value
            .filter(|value| !value.is_null())
            .ok_or_else(|| Error::argument(&flag, format!("`{text}` is not a number")))
    };
    Ok(match spec.kind.flag {
        FlagForm::Texts | FlagForm::Names => values.into(),
        // llama.cpp's syntax: PATTERN=DEVICE.
        FlagForm::Patterns => {
            let pair = |text: String| {
                let (pattern, device) = text.rsplit_once('=').ok_or_else(|| {
                    Error::argument(&flag, format!("`{text}` is not PATTERN=DEVICE"))
                })?;
                Ok((pattern.to_owned(), Value::from(device)))
            };
            let pairs = values.iter().flat_map(|text| split_pairs(text)).map(pair);
            Value::Object(pairs.collect::<Result<_>>()?)
        }
        FlagForm::Settings => {
            let pair = |text: &str| {
                let (name, value) = text
                    .split_once('=')
                    .ok_or_else(|| Error::argument(&flag, format!("`{text}` is not NAME=VALUE")))?;
                let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
                Ok((name.trim().to_owned(), value))
            };
            let pairs = values.iter().flat_map(|text| text.split(',')).map(pair);
            Value::Object(pairs.collect::<Result<_>>()?)
        }
        FlagForm::Adapters => {
            let adapter = |text: &&str| {
                let scaled = text.rsplit_once('=').and_then(|(path, scale)| {
                    Some(Value::from(vec![Value::from(path), number(scale).ok()?]))
                });
                scaled.unwrap_or_else(|| Value::from(*text))
            };
            values.iter().map(adapter).collect()
        }
        // One of several words, in any case.
        FlagForm::Text(words) if is_one_of(text, words) => text.to_ascii_lowercase().into(),
        FlagForm::Text(_) => text.into(),
        FlagForm::NumberOr(words) if is_one_of(text, words) => text.to_ascii_lowercase().into(),
        FlagForm::NumberOr(words) => number(text).map_err(|_| {
            let words = words.replace('|', ", ");
            Error::argument(&flag, format!("expected a number or one of {words}, not {text}"))
        })?,
        FlagForm::Number => number(text)?,
        FlagForm::Numbers => Value::Array(text.split(',').map(number).collect::<Result<_>>()?),
        FlagForm::Pair(_) => match text.to_ascii_lowercase().split_once(',') {
            Some((keys, values)) => vec![keys, values].into(),
            None => text.to_ascii_lowercase().into(),
        },
        FlagForm::Switch => match text {
            "true" => true.into(),
            "false" => false.into(),
            _ => return Err(Error::argument(&flag, format!("`{text}` is neither true nor false"))),
        },
        // Words such as `auto` need no quotes.
        _ => match serde_json::from_str(text) {
            Ok(value) => value,
            Err(_) if text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => text.into(),
            Err(error) => {
                let error = Error::argument(&flag, format!("is not valid JSON: {error}"));
                return Err(match spec.name {
                    "json_schema" => error.with_hint("`--format FILE` reads a schema from a file"),
                    _ => error,
                });
            }
        },
    })
}

/// Whether a text is the word that the help states as the default, such as `all` or `random`. Free text is never one.
fn is_default(spec: &OptionSpec, text: &str) -> bool {
    const WORDS: [&str; 5] = ["all", "none", "off", "random", "unlimited"];
    let is_free = matches!(spec.kind.flag, FlagForm::Text(_) | FlagForm::Texts | FlagForm::Pair(_));
    let default = spec.doc.rsplit_once("Default:").map(|(_, default)| default.replace('`', ""));
    let word = default.as_deref().and_then(|it| it.split_whitespace().next());
    let word = word.unwrap_or_default().trim_end_matches(['.', ';', ',']);
    !is_free && WORDS.contains(&word) && word.eq_ignore_ascii_case(text)
}

/// Whether the text is one of `a|b|c`, ignoring case.
fn is_one_of(text: &str, words: &str) -> bool {
    words.contains('|') && words.split('|').any(|word| word.eq_ignore_ascii_case(text))
}

/// Splits `PATTERN=DEVICE,PATTERN=DEVICE`. Commas within brackets, and those after text without a device, belong to
/// the pattern.
fn split_pairs(text: &str) -> Vec<String> {
    let mut pairs = vec![String::new()];
    let (mut open, mut escaped, mut names_device) = (0_u32, false, false);
    for letter in text.chars() {
        match letter {
            _ if escaped => {}
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        escaped = letter == '\\' && !escaped;
        if letter == ',' && open == 0 && names_device {
            pairs.push(String::new());
            names_device = false;
        } else if let Some(last) = pairs.last_mut() {
            last.push(letter);
            names_device |= letter == '=' && open == 0;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> ArgMatches {
        let command = clap::Command::new("test").args(load_flags()).args(chat_flags());
        command.no_binary_name(true).try_get_matches_from(arguments).unwrap()
    }

    #[test]
    fn flags_become_options() {
        let matches = parse(&[
            "--n-gpu-layers",
            "-1",
            "--tensor-split",
            "0.6,0.4",
            "-c",
            "512",
            "--use-mmap=false",
            "--kv-cache-type",
            "q8_0,f16",
            "--temperature",
            "0",
            "--stop",
            "a",
            "--stop",
            "b",
            "--tool-choice",
            "none",
            "--logit-bias",
            "{\"5\": false}",
            "--samplers",
            "top_k,temperature",
            "--banned-phrases",
            "a, b",
        ]);
        let Options { model, context, chat: options } =
            Options::parse(read(&matches).unwrap()).unwrap();
        assert_eq!(model.n_gpu_layers, Some((-1).into()));
        assert_eq!(model.tensor_split, Some(vec![0.6, 0.4]));
        assert_eq!((model.use_mmap, context.n_ctx), (Some(false), Some(512)));
        assert_eq!(options.generate.temperature, Some(0.0));
        assert_eq!(options.generate.stop, Some(["a", "b"].into()));
        assert_eq!(options.chat.tool_choice, Some("none".into()));
        assert!(options.generate.logit_bias.is_some());
        let samplers = [mullama::SamplerKind::TopK, mullama::SamplerKind::Temperature];
        assert_eq!(options.generate.samplers, Some(samplers.into()));
        assert_eq!(options.generate.banned_phrases, Some(vec!["a, b".to_owned()]));
    }

    #[test]
    fn messages_have_the_names_of_flags() {
        let message = with_flag_names("option `--devices`: x; see `--n-gpu-layers`, `--max-gpus`");
        assert_eq!(message, "option `--device`: x; see `--n-gpu-layers`, `--max-gpu`");
        let error = value(
            ModelParams::default().specs().iter().find(|it| it.name == "max_gpus").unwrap(),
            &["x"],
        );
        assert!(error.unwrap_err().to_string().contains("option `--max-gpu`: `x` is not a number"));
    }

    #[test]
    fn words_of_defaults_are_values() {
        let options = |arguments: &[&str]| read(&parse(arguments)).unwrap();
        for (flag, word) in [
            ("--device", "all"),
            ("--max-gpu", "all"),
            ("--rpc", "none"),
            ("--lora", "none"),
            ("--override-tensor", "none"),
            ("--seed", "random"),
            ("--max-queue", "Unlimited"),
            ("--logprobs", "off"),
        ] {
            assert_eq!(options(&[flag, word]), Map::new(), "{flag} {word}");
        }
        assert_eq!(options(&["--device", "none"])["devices"], serde_json::json!(["none"]));
        assert_eq!(options(&["--regex", "none"])["regex"], "none");
    }

    #[test]
    fn help_writes_names_of_options_as_flags_and_values_as_they_are() {
        let doc = |name: &str| {
            let flags = load_flags().into_iter().chain(chat_flags());
            let flag = flags.into_iter().find(|flag| flag.get_id() == name).unwrap();
            flag.get_help().unwrap().to_string()
        };
        assert!(doc("samplers").contains("top_n_sigma, top_k"), "{}", doc("samplers"));
        assert!(!doc("regex").contains("--regex"), "{}", doc("regex"));
        assert!(doc("draft_gpu_layers").contains("--n-gpu-layers"), "{}", doc("draft_gpu_layers"));
    }

    #[test]
    fn patterns_may_have_commas() {
        for (text, parts) in [
            ("a=CPU", &["a=CPU"][..]),
            ("a=CPU,b=CUDA0", &["a=CPU", "b=CUDA0"]),
            ("a{1,2}=CPU,b=CUDA0", &["a{1,2}=CPU", "b=CUDA0"]),
            ("x(?=[1,2]{1,2})=CPU", &["x(?=[1,2]{1,2})=CPU"]),
            ("x(?=y),z=CPU,b=CPU", &["x(?=y),z=CPU", "b=CPU"]),
            ("a\\(,b=CPU,c=CUDA0", &["a\\(,b=CPU", "c=CUDA0"]),
        ] {
            assert_eq!(split_pairs(text), parts);
        }
        let matches = parse(&["--override-tensor", "a{1,2}=cpu,b=CPU", "--n-gpu-layers", "ALL"]);
        let model = Options::parse(read(&matches).unwrap()).unwrap().model;
        let pairs = model.tensor_overrides.unwrap().0;
        assert_eq!(pairs[0], ("a{1,2}".to_owned(), "cpu".to_owned()));
        assert_eq!((pairs.len(), model.n_gpu_layers), (2, Some((-1).into())));
    }

    #[test]
    fn keyword_values_are_case_insensitive() {
        let matches = parse(&[
            "--n-gpu-layers",
            "Auto",
            "--split-mode",
            "Row",
            "--flash-attention",
            "ON",
            "--kv-cache-type",
            "Q8_0,F16",
            "--chat-template",
            "TEXT",
        ]);
        let Options { model, context, .. } = Options::parse(read(&matches).unwrap()).unwrap();
        assert_eq!(model.n_gpu_layers, Some(mullama::GpuLayers::Auto));
        assert_eq!(model.split_mode, Some(mullama::SplitMode::Row));
        assert_eq!(context.flash_attention, Some(mullama::FlashAttention::On));
        assert_eq!(context.kv_cache_type.unwrap().keys, mullama::KvCacheType::Q8_0);
        assert_eq!(model.chat_template.as_deref(), Some("TEXT"));
    }

    #[test]
    fn invalid_values_name_the_flag() {
        let refused = |arguments: &[&str]| {
            let matches = parse(arguments);
            read(&matches).and_then(Options::parse).map(drop).unwrap_err().to_string()
        };
        assert!(refused(&["--tensor-split", "a,b"]).contains("`--tensor-split`"));
        assert!(refused(&["--top-k", "many"]).contains("`--top-k`"));
        assert!(
            refused(&["--n-gpu-layers", "lots"])
                .contains("expected a number or one of all, auto, not lots")
        );
        assert!(refused(&["--json-schema", "{"]).contains("`--json-schema`"));
        let samplers = refused(&["--samplers", "top_k,top_q"]);
        assert!(samplers.contains("expected one of `penalties`, `dry`"), "{samplers}");
        assert!(refused(&["--top-k", "nan"]).contains("`--top-k`"));
    }
}
