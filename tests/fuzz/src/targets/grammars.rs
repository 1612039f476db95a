//! JSON schemas, grammars (GBNF, Lark) and regular expressions, generated from rules and damaged. A complete answer
//! with a schema must be JSON of the type that the schema names.

use std::path::Path;

use mullama::{FinishReason, GenerateOptions, Model, ModelParams};
use mullama_testkit::fixture;
use serde_json::Value;

use super::load;
use crate::grammar::Grammar;
use crate::mutate;
use crate::outcome::Outcome;
use crate::worker::Fuzz;

/// Maximum number of tokens of an answer: enough for short answers to be complete.
const TOKENS: u32 = 40;

pub fn start(_: &Path) -> Fuzz {
    let gbnf = Grammar::read(include_str!("../../corpus/gbnf.txt"));
    let lark = Grammar::read(include_str!("../../corpus/lark.txt"));
    let schemas = Grammar::read_json(include_str!("../../corpus/schema.txt"));
    let model = load(fixture("tiny"), ModelParams::default()).expect("it is sound");
    Box::new(move |input| {
        let mut outcome = Outcome::default();
        let rng = &mut input.rng;
        let options = GenerateOptions::default()
            .with_max_tokens(TOKENS)
            .with_timeout(2.0)
            .with_temperature(1.5);
        let options = options.with_seed(rng.u32(..100));
        let kind = rng.u8(..8);
        let mut text = match kind {
            0..=2 => gbnf.make("grammar", rng),
            3 => lark.make("grammar", rng),
            4 => lark.make("pattern", rng),
            _ => schemas.make("schema", rng),
        };
        if kind < 5 {
            for _ in 0..rng.usize(..3) {
                mutate::text(&mut text, &[], rng);
            }
            input.save("grammar.txt", &text);
            let options = match kind {
                0..=2 => options.with_grammar(text),
                3 => options.with_lark(text),
                _ => options.with_regex(text),
            };
            outcome.decide("grammar", model.generate("x", &options));
            return outcome;
        }
        let mut schema: Value = serde_json::from_str(&text).unwrap_or_default();
        for _ in 0..rng.usize(..3) {
            mutate::json(&mut schema, rng);
        }
        input.save("schema.json", schema.to_string());
        under_schema(&model, &schema, &options, &mut outcome);
        outcome
    })
}

fn under_schema(model: &Model, schema: &Value, options: &GenerateOptions, outcome: &mut Outcome) {
    let options = options.clone().with_json_schema(schema.clone());
    let Some(answer) = outcome.decide("schema", model.generate("x", &options)) else { return };
    if answer.finish_reason != FinishReason::Stop {
        return;
    }
    match serde_json::from_str(&answer.text) {
        Ok(value) if is_of_type(&value, schema) => {}
        // Valid JSON with a number that this reader cannot represent.
        Err(error) if error.to_string().starts_with("number out of range") => {}
        read => outcome.wrong(format!("{:?} under the schema: {read:?}", answer.text)),
    }
}

/// Whether a value has the type of a schema, if it has one, and is within its values and bounds.
fn is_of_type(value: &Value, schema: &Value) -> bool {
    let one = |name: &Value| match name.as_str() {
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("integer") => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    };
    let is_typed = match &schema["type"] {
        Value::Null => true,
        Value::Array(names) => names.iter().any(one),
        name => one(name),
    };
    let is_listed = |values: &Vec<Value>| values.iter().any(|listed| is_same(listed, value));
    let is_listed = schema["enum"].as_array().is_none_or(is_listed);
    let count = value.as_array().map(Vec::len);
    let count = |key: &str, holds: fn(f64, f64) -> bool| match (count, schema[key].as_f64()) {
        (Some(count), Some(limit)) => holds(count as f64, limit),
        _ => true,
    };
    is_typed
        && is_listed
        && count("minItems", |n, least| n >= least)
        && count("maxItems", |n, most| n <= most)
}

/// Whether two values are equal: 1 equals 1.0.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same = |(key, a)| other.get(key).is_some_and(|b| is_same(a, b));
            one.len() == other.len() && one.iter().all(same)
        }
        _ => one == other,
    }
}
