//! The vectors in `tests/vectors`, which every language executes.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use mullama::{
    ChatOptions, ContextParams, EmbedOptions, Error, ErrorKind, GenerateOptions, Inputs, Message,
    Model, ModelParams, Naming, Overflow, PlanOptions, PlanSource, Pooling, Prompt, RerankOptions,
    Result, parse_options,
};
use serde_json::{Map, Value};

static DEMO: LazyLock<Model> = LazyLock::new(|| {
    let context = ContextParams::default().with_n_threads(1).with_n_parallel(1);
    Model::load("demo", ModelParams::default(), context).expect("the demo model loads")
});

fn vectors(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().filter(|list| !list.is_empty()).expect("a list of vectors")
}

fn tokens(value: &Value) -> Vec<i32> {
    serde_json::from_value(value.clone()).expect("a list of tokens")
}

fn greedy() -> GenerateOptions {
    GenerateOptions::default().with_temperature(0.0)
}

/// The messages and options of a case.
fn chat_case(case: &Value) -> Result<(Vec<Message>, ChatOptions)> {
    let mut options = ChatOptions::from(greedy().with_max_tokens(200));
    if let Some(tools) = case["tools"].as_array() {
        options = options.with_tools(tools.clone());
    }
    Ok((Message::list_from_json(case["messages"].clone())?, options))
}

#[test]
fn demo_tokens() {
    for case in list(&vectors("demo_tokenize.json")) {
        let text = case["text"].as_str().unwrap();
        let parse_special = case["parse_special"].as_bool().unwrap();
        let expected = tokens(&case["tokens"]);
        assert_eq!(DEMO.tokenize(text, false, parse_special).unwrap(), expected, "{text:?}");
        assert_eq!(DEMO.detokenize(&expected, false).unwrap(), text);
    }
}

#[test]
fn published_vocabularies() {
    let data = std::env::var_os("MULLAMA_TEST_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let Ok(entries) = data.join("tokenizers").read_dir() else {
        let reason = format!("no test data at {}; MULLAMA_TEST_DATA names it", data.display());
        mullama_testkit::skip(reason);
        return;
    };
    let files = entries.flatten().map(|entry| entry.path());
    let files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == "gguf")).collect();
    assert!(!files.is_empty());
    for file in files {
        let params = ModelParams::default().with_vocab_only(true);
        let model = Model::load(&file, params, ContextParams::default()).unwrap();
        let read =
            |suffix: &str| std::fs::read_to_string(format!("{}.{suffix}", file.display())).unwrap();
        let texts = read("inp");
        // The file ends with the separator's newline.
        let texts: Vec<_> = texts.split("\n__ggml_vocab_test__\n").collect();
        let expected = read("out");
        let expected: Vec<Vec<i32>> = expected
            .lines()
            .map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect())
            .collect();
        let mut checked = 0;
        for (text, ids) in texts.iter().zip(&expected) {
            assert_eq!(&model.tokenize(text, false, false).unwrap(), ids, "{file:?}: {text:?}");
            checked += 1;
        }
        assert!(checked > 30, "{file:?} has {checked} cases");
        println!("{}: {checked} texts", file.display());
    }
}

#[test]
fn demo_prompts() {
    for case in list(&vectors("demo_chat.json")) {
        let (messages, options) = chat_case(case).unwrap();
        let generation = case["add_generation_prompt"].as_bool().unwrap();
        let prompt = DEMO.apply_chat_template(&messages, &options, generation).unwrap();
        assert_eq!(prompt, case["prompt"].as_str().unwrap(), "{}", case["messages"]);
    }
}

#[test]
fn demo_capitals() {
    let vectors = vectors("demo_greedy.json");
    let cases = list(&vectors["capitals"]);
    for case in cases {
        let question = Message::user(case["question"].as_str().unwrap());
        let answer = DEMO.chat(&[question], &greedy().into()).unwrap();
        assert_eq!(answer.text, case["text"].as_str().unwrap());
        assert!(answer.text.contains(case["capital"].as_str().unwrap()));
    }
    // The acceptance criterion of the model's training: 95 % of the capitals in its training data.
    let taught = 163;
    assert!(cases.len() * 100 >= taught * 95, "{} of {taught} capitals", cases.len());
}

#[test]
fn demo_chats() {
    for case in list(&vectors("demo_greedy.json")["chat"]) {
        let (messages, options) = chat_case(case).unwrap();
        let answer = DEMO.chat(&messages, &options).unwrap();
        let expected = case["text"].as_str().unwrap();
        if expected.contains("<tool_call>") {
            let call = &answer.message.tool_calls[0].function;
            let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
            let called = serde_json::json!({"name": call.name, "arguments": arguments});
            assert_eq!(called, tool_call_in(expected), "{}", case["messages"]);
        } else {
            assert_eq!(answer.text, expected, "{}", case["messages"]);
        }
    }
}

#[test]
fn conversations_beyond_the_context() {
    for case in list(&vectors("overflow.json")) {
        let n_ctx = case["context_size"].as_u64().unwrap() as u32;
        let context = ContextParams::default().with_n_ctx(n_ctx).with_n_threads(1);
        let model = Model::load("demo", ModelParams::default(), context).unwrap();
        let (messages, options) = chat_case(case).unwrap();
        let most = case["options"]["max_tokens"].as_u64().unwrap() as u32;
        let options = options.with_max_tokens(most).with_overflow(Overflow::Truncate);
        let usage = model.chat(&messages, &options).unwrap().usage;
        let expected = ["dropped_messages", "dropped_tokens"].map(|name| case[name].as_u64());
        let dropped = [usage.dropped_messages, usage.dropped_tokens];
        assert_eq!(dropped.map(|count| Some(u64::from(count))), expected, "{}", case["messages"]);
    }
}

/// The call in `<tool_call>\n{...}\n</tool_call>`.
fn tool_call_in(text: &str) -> Value {
    let json = text.trim().strip_prefix("<tool_call>").unwrap().strip_suffix("</tool_call>");
    serde_json::from_str(json.unwrap()).unwrap()
}

#[test]
fn demo_completions() {
    for case in list(&vectors("demo_greedy.json")["completions"]) {
        let max_tokens = case["max_tokens"].as_u64().unwrap() as u32;
        let prompt = case["prompt"].as_str().unwrap();
        let completion = DEMO.generate(prompt, &greedy().with_max_tokens(max_tokens)).unwrap();
        assert_eq!(completion.text, case["text"].as_str().unwrap(), "{prompt:?}");
    }
}

#[test]
fn demo_tool_calls() {
    let vectors = vectors("demo_greedy.json");
    let options = ChatOptions::from(greedy()).with_tools(list(&vectors["tools"]));
    let cases = list(&vectors["tool_calls"]);
    let mut right = 0;
    for case in cases {
        let question = Message::user(case["question"].as_str().unwrap());
        let answer = DEMO.chat(&[question], &options).unwrap();
        let call = &answer.message.tool_calls[0].function;
        let arguments: Value = serde_json::from_str(&call.arguments).expect("arguments are JSON");
        assert_eq!(call.name, case["call"]["name"]);
        assert_eq!(arguments, case["call"]["arguments"]);
        right += 1;
    }
    println!("{right} tool calls as recorded");

    // The acceptance criterion of the model's training: 50 of 50 calls are valid JSON.
    let mut valid = 0;
    for case in &list(&vectors["capitals"])[..50] {
        let city = case["capital"].as_str().unwrap();
        let question = Message::user(format!("What is the weather in {city}?"));
        let answer = DEMO.chat(&[question], &options).unwrap();
        let call = answer.message.tool_calls.first().unwrap_or_else(|| panic!("{city}: {answer}"));
        valid += usize::from(serde_json::from_str::<Value>(&call.function.arguments).is_ok());
    }
    assert_eq!(valid, 50);
}

#[test]
fn demo_draws() {
    for case in list(&vectors("demo_seeded.json")) {
        let mut options = GenerateOptions::default();
        parse_options(&mut [&mut options], object(&case["options"]), Naming::Snake).unwrap();
        let completion = DEMO.generate(case["prompt"].as_str().unwrap(), &options).unwrap();
        assert_eq!(completion.tokens, tokens(&case["tokens"]), "{case}");
        assert_eq!(completion.text, case["text"].as_str().unwrap());
    }
}

#[test]
fn option_defaults() {
    assert_eq!(DEMO.default_options().unwrap(), vectors("defaults.json"));
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

/// Converts a list of texts or tokens to inputs.
fn inputs(texts: &Value) -> Inputs {
    let prompt = |value: &Value| match value.as_str() {
        Some(text) => Prompt::from(text),
        None => tokens(value).into(),
    };
    match texts.as_array() {
        Some(list) if !list.iter().all(Value::is_i64) => {
            list.iter().map(prompt).collect::<Vec<_>>().into()
        }
        _ => prompt(texts).into(),
    }
}

#[test]
fn demo_embeddings() {
    let vectors = vectors("demo_embeddings.json");
    let tolerance = vectors["tolerance"].as_f64().unwrap() as f32;
    let cases = list(&vectors["cases"]);
    let texts: Vec<_> = cases.iter().map(|case| case["text"].as_str().unwrap()).collect();
    for pooling in [Pooling::Mean, Pooling::Cls, Pooling::Last] {
        let options = EmbedOptions::default().with_pooling(pooling);
        let embeddings = DEMO.embed(&texts, &options).unwrap();
        for (index, case) in cases.iter().enumerate() {
            let expected: Vec<f32> = serde_json::from_value(case[pooling.name()].clone()).unwrap();
            assert_eq!(embeddings[index].len(), expected.len());
            for (number, expected) in embeddings[index].iter().zip(&expected) {
                assert!((number - expected).abs() < tolerance, "{pooling:?} of {:?}", texts[index]);
            }
            assert_eq!(u64::from(embeddings.token_counts()[index]), case["tokens"]);
        }
    }
}

#[test]
fn error_kinds() {
    let known: Map<_, _> = ErrorKind::ALL
        .iter()
        .map(|kind| (kind.name().to_owned(), Value::from(kind.code())))
        .collect();
    assert_eq!(Value::Object(known), vectors("errors.json")["kinds"]);
}

#[test]
fn errors_of_calls() {
    let vectors = vectors("errors.json");
    let check = |case: &Value, error: Option<Error>| {
        let error = error.unwrap_or_else(|| panic!("no error from {case}"));
        assert_eq!(error.kind().name(), case["kind"], "{case}: {error:?}");
        if let Some(hint) = case["hint"].as_str() {
            assert!(error.hint().is_some_and(|given| given.contains(hint)), "{case}: {error:?}");
        }
    };
    for case in list(&vectors["load"]) {
        let load = || {
            let (mut model, mut context) = (ModelParams::default(), ContextParams::default());
            parse_options(
                &mut [&mut model, &mut context],
                object(&case["options"]),
                Naming::Snake,
            )?;
            Model::load(case["source"].as_str().unwrap(), model, context)
        };
        check(case, load().err());
    }
    for case in list(&vectors["generate"]) {
        let generate = || {
            let mut options = GenerateOptions::default();
            parse_options(&mut [&mut options], object(&case["options"]), Naming::Snake)?;
            let prompt = match case["prompt"].as_str() {
                Some(text) => Prompt::from(text),
                None => tokens(&case["prompt"]).into(),
            };
            DEMO.generate(prompt, &options)
        };
        check(case, generate().err());
    }
    for case in list(&vectors["chat"]) {
        let chat = || {
            let mut options = ChatOptions::default();
            parse_options(&mut options.option_sets(), object(&case["options"]), Naming::Snake)?;
            DEMO.chat(&Message::list_from_json(case["messages"].clone())?, &options)
        };
        check(case, chat().err());
    }
    for case in list(&vectors["embed"]) {
        let embed = || {
            let mut options = EmbedOptions::default();
            parse_options(&mut [&mut options], object(&case["options"]), Naming::Snake)?;
            DEMO.embed(inputs(&case["texts"]), &options)
        };
        check(case, embed().err());
    }
    for case in list(&vectors["rerank"]) {
        let rerank = || {
            let mut options = RerankOptions::default();
            parse_options(&mut [&mut options], object(&case["options"]), Naming::Snake)?;
            let documents: Vec<String> = serde_json::from_value(case["documents"].clone()).unwrap();
            DEMO.rerank(case["query"].as_str().unwrap(), &documents, &options)
        };
        check(case, rerank().err());
    }
}

/// The source of a plan's case.
fn plan_source(vectors: &Value, case: &Value) -> Result<PlanSource, Error> {
    let shape = case["shape"].as_str().map(|name| &vectors["shapes"][name]);
    let source = shape.or(case.get("fields")).unwrap_or(&case["source"]);
    PlanSource::parse(source.clone())
}

#[test]
fn plans() {
    let vectors = vectors("plan.json");
    let planned = |case: &Value| {
        let options = PlanOptions::parse(object(&case["options"]), Naming::Snake)?;
        mullama::plan(plan_source(&vectors, case)?, &options)
    };
    for case in list(&vectors["plans"]) {
        let plan = planned(case).unwrap_or_else(|error| panic!("{case}: {error:?}"));
        let plan = serde_json::to_value(plan).unwrap();
        for (field, value) in object(&case["plan"]) {
            assert_eq!(plan[&field], value, "{case}: {field}");
        }
        if let Some(layers) = case.get("layers") {
            let gpus = plan["devices"].as_array().unwrap().iter();
            let on: Map<_, _> = gpus
                .map(|gpu| (gpu["name"].as_str().unwrap().to_owned(), gpu["layers"].clone()))
                .collect();
            assert_eq!(&Value::Object(on), layers, "{case}");
        }
    }
    for case in list(&vectors["errors"]) {
        let Err(error) = planned(case) else { panic!("no error from {case}") };
        assert_eq!(error.kind().name(), case["kind"], "{case}: {error:?}");
        if let Some(hint) = case["hint"].as_str() {
            assert!(error.hint().is_some_and(|given| given.contains(hint)), "{case}: {error:?}");
        }
    }
}
