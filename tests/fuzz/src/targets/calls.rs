//! Arguments of calls: options of every kind, messages, tools, plans, shapes and devices.

use std::path::Path;

use fastrand::Rng;
use mullama::{
    ChatOptions, ContextParams, DeviceSpec, EmbedOptions, GenerateOptions, Inputs, Lora, Message,
    Model, ModelParams, Naming, OptionSet, PlanOptions, PlanSource, RerankOptions, parse_options,
    plan,
};
use mullama_testkit::fixture;
use serde_json::{Map, Value, json};

use super::load;
use crate::grammar::Grammar;
use crate::mutate;
use crate::outcome::Outcome;
use crate::worker::Fuzz;

const MODELS: &[&str] =
    &["chat-thinking", "chat-headers", "chat-brackets", "chat-strict", "encoder", "reranker"];

pub fn start(_: &Path) -> Fuzz {
    let lists = Grammar::read_json(include_str!("../../corpus/messages.txt"));
    let devices = Grammar::read(include_str!("../../corpus/devices.txt"));
    let models: Vec<Model> = MODELS
        .iter()
        .map(|name| load(fixture(name), ModelParams::default()).expect("it is sound"))
        .collect();
    Box::new(move |input| {
        let rng = &mut input.rng;
        let model = &models[rng.usize(..models.len())];
        let mut outcome = Outcome::default();
        match rng.u8(..8) {
            0..=2 => chat(model, &lists, input, &mut outcome),
            3 => {
                let options = options(&mut GenerateOptions::default(), rng);
                input.save("options.json", options.to_string());
                if let Some(options) =
                    outcome.decide("options", parsed(GenerateOptions::default(), options))
                {
                    outcome.decide("generate", model.generate("hello", &bounded(options)));
                }
            }
            4 => embed(model, input, &mut outcome),
            5 => load_with(rng, &mut outcome),
            _ => plans(&devices, input, &mut outcome),
        }
        outcome
    })
}

/// Random options of a set, with random values.
fn options(set: &mut dyn OptionSet, rng: &mut Rng) -> Value {
    let specs = set.specs();
    let mut given = Map::new();
    for _ in 0..rng.usize(1..4) {
        let spec = &specs[rng.usize(..specs.len())];
        let value =
            if rng.u8(..5) == 0 { mutate::any(rng) } else { fitting(spec.kind.python, rng) };
        given.insert(spec.name.to_owned(), value);
    }
    given.into()
}

/// A random value that may have the given type, which is a type of Python.
fn fitting(ty: &str, rng: &mut Rng) -> Value {
    let number =
        |rng: &mut Rng| serde_json::from_str::<Value>(&mutate::number(rng)).unwrap_or_default();
    if ty.contains("Mapping[int") {
        return json!({ (mutate::number(rng)): number(rng), "5": if rng.bool() { number(rng) } else { false.into() } });
    }
    if ty.contains("Literal") && rng.bool() {
        let words: Vec<&str> = ty.split('"').skip(1).step_by(2).collect();
        return rng.choice(words).unwrap_or("x").into();
    }
    match ty {
        _ if ty.contains("float") || ty.contains("int") => number(rng),
        _ if ty.contains("bool") => rng.bool().into(),
        _ if ty.contains("Sequence") => json!([mutate::words(rng), mutate::words(rng)]),
        _ => mutate::any(rng),
    }
}

fn parsed<T: OptionSet>(mut set: T, given: Value) -> mullama::Result<T> {
    let Value::Object(given) = given else { return Ok(set) };
    parse_options(&mut [&mut set], given, Naming::Snake)?;
    Ok(set)
}

/// Limits the length and time of an answer, since long answers are valid.
fn bounded(options: GenerateOptions) -> GenerateOptions {
    let max_tokens = options.max_tokens.map_or(6, |count| count.min(6));
    let timeout =
        options.timeout.filter(|seconds| seconds.is_nan() || *seconds <= 3.0).unwrap_or(3.0);
    options.with_max_tokens(max_tokens).with_timeout(timeout)
}

fn chat(model: &Model, lists: &Grammar, input: &mut crate::input::Input, outcome: &mut Outcome) {
    let rng = &mut input.rng;
    let read = |text: String| serde_json::from_str::<Value>(&text).unwrap_or_default();
    let mut messages = read(lists.make("messages", rng));
    let mut tools = read(lists.make("tools", rng));
    for value in [&mut messages, &mut tools] {
        if rng.bool() {
            mutate::json(value, rng);
        }
    }
    let mut given = Map::new();
    if rng.bool() {
        given.insert("tools".to_owned(), tools);
    }
    let choices = [
        json!("auto"),
        json!("none"),
        json!("required"),
        json!({"type": "function", "function": {"name": "get_weather"}}),
    ];
    if rng.bool() {
        given.insert("tool_choice".to_owned(), choices[rng.usize(..choices.len())].clone());
    }
    let mut set = ChatOptions::default();
    for set in set.option_sets() {
        if rng.u8(..3) == 0
            && let Value::Object(more) = options(set, rng)
        {
            given.extend(more);
        }
    }
    input.save("messages.json", messages.to_string());
    input.save("options.json", Value::from(given.clone()).to_string());
    let done = parse_options(&mut set.option_sets(), given, Naming::Snake);
    if outcome.decide("options", done).is_none() {
        return;
    }
    let Some(messages) = outcome.decide("messages", Message::list_from_json(messages)) else {
        return;
    };
    set.generate = bounded(set.generate);
    outcome.see("template", model.apply_chat_template(&messages, &set, true));
    if let Some(answer) = outcome.decide("chat", model.chat(&messages, &set)) {
        // An answer must be accepted as a message.
        let mut messages = messages;
        messages.push(answer.message);
        outcome.see("again", model.apply_chat_template(&messages, &set, false));
    }
}

fn embed(model: &Model, input: &mut crate::input::Input, outcome: &mut Outcome) {
    let rng = &mut input.rng;
    let texts: Vec<String> = (0..rng.usize(..5)).map(|_| mutate::words(rng)).collect();
    let given = options(&mut EmbedOptions::default(), rng);
    let documents = options(&mut RerankOptions::default(), rng);
    input.save("options.json", json!([given, documents, texts]).to_string());
    let rng = &mut input.rng;
    if let Some(options) = outcome.decide("options", parsed(EmbedOptions::default(), given)) {
        outcome.decide("embed", model.embed(texts.clone(), &options));
        let tokens: Vec<i32> = (0..rng.usize(..9)).map(|_| rng.i32(-2..2000)).collect();
        outcome.see("embed", model.embed(Inputs::from(vec![tokens]), &options));
    }
    if let Some(options) = outcome.see("options", parsed(RerankOptions::default(), documents)) {
        outcome.see("rerank", model.rerank(&mutate::words(rng), &texts, &options));
    }
}

/// Loads a small model with random options.
fn load_with(rng: &mut Rng, outcome: &mut Outcome) {
    let given =
        [options(&mut ModelParams::default(), rng), options(&mut ContextParams::default(), rng)];
    let [model, context] = given;
    let Some(model) = outcome.decide("options", parsed(ModelParams::default(), model)) else {
        return;
    };
    let Some(mut context) = outcome.decide("options", parsed(ContextParams::default(), context))
    else {
        return;
    };
    // Large sizes are replaced: they would be allocated, as long as there is memory.
    let is_wish = |size: u32| (1 << 16..1 << 29).contains(&size);
    context.n_ctx = context.n_ctx.filter(|size| !is_wish(*size)).or(Some(256));
    context.n_parallel = context.n_parallel.filter(|count| !is_wish(*count));
    if let Some(model) = outcome.decide("load", Model::load(fixture("tiny"), model, context)) {
        outcome.see("generate", model.generate("hello", &super::brief()));
    }
    outcome.see("lora", Lora::from_json(mutate::any(rng)));
}

fn plans(devices: &Grammar, input: &mut crate::input::Input, outcome: &mut Outcome) {
    let rng = &mut input.rng;
    let text = devices.make("devices", rng);
    outcome.see("devices", DeviceSpec::list(&text));
    let mut shape = json!({
        "architecture": "llama", "block_count": 4, "embedding_length": 64, "feed_forward_length": 128,
        "attention.head_count": 4, "attention.head_count_kv": 2, "vocab_size": 1000, "quantization": "Q8_0",
    });
    for _ in 0..rng.usize(..3) {
        mutate::json(&mut shape, rng);
    }
    let mut given = json!({
        "devices": if rng.bool() { json!(text) } else { json!([{"memory": devices.make("size", rng), "bandwidth": devices.make("rate", rng)}]) },
        "host_memory": devices.make("size", rng),
    });
    if rng.bool() {
        given["host_bandwidth"] = devices.make("rate", rng).into();
    }
    if rng.bool() {
        mutate::json(&mut given, rng);
    }
    for more in
        [options(&mut ModelParams::default(), rng), options(&mut ContextParams::default(), rng)]
    {
        if let (Value::Object(given), Value::Object(more), true) =
            (&mut given, more, rng.u8(..4) == 0)
        {
            given.extend(more);
        }
    }
    input.save("plan.json", json!([shape, given]).to_string());
    let Value::Object(given) = given else { return };
    let Some(options) = outcome.decide("options", PlanOptions::parse(given, Naming::Snake)) else {
        return;
    };
    let source = if input.rng.bool() { json!(fixture("moe")) } else { shape };
    if let Some(source) = outcome.decide("source", PlanSource::parse(source))
        && let Some(plan) = outcome.decide("plan", plan(source, &options))
    {
        let _ = (plan.summary(), plan.explain(), serde_json::to_string(&plan));
    }
}
