//! Values that override a file's metadata.

use std::collections::{BTreeMap, BTreeSet};

use mullama_base::nearest;
use mullama_gguf::{GgufHeader, MetadataValue};
use mullama_sys::{FLOAT_KEYS, METADATA_KEYS};
use serde_json::Value;

use crate::{Error, Result};

/// The tokens of a vocabulary, in the order of their ids.
const TOKENS: &str = "tokenizer.ggml.tokens";

/// The value as the engine takes it. `None` if it takes no such values: lists and objects.
pub(crate) fn value_of(key: &str, value: &Value) -> Option<MetadataValue> {
    Some(match value {
        Value::Bool(flag) => MetadataValue::Bool(*flag),
        Value::String(text) => MetadataValue::Text(text.clone()),
        Value::Number(number) => match number.as_i64() {
            Some(number) if !is_float(key) => MetadataValue::Int(number),
            _ => MetadataValue::Float(number.as_f64()?),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    })
}

/// Whether the engine reads the value as a floating-point number.
fn is_float(key: &str) -> bool {
    FLOAT_KEYS.iter().any(|known| match known.strip_prefix("%s") {
        Some(name) => key.ends_with(name),
        None => key == *known,
    })
}

/// Rejects overrides that the engine would ignore.
pub(super) fn check(
    header: &GgufHeader,
    overrides: Option<&BTreeMap<String, Value>>,
) -> Result<()> {
    let architecture = header.text("general.architecture").unwrap_or_default();
    let of_engine = METADATA_KEYS.iter().map(|key| key.replace("%s", architecture));
    let of_file = header.metadata.iter().map(|(key, _)| key.clone());
    let known: BTreeSet<String> = of_engine.chain(of_file).collect();
    for (key, value) in overrides.into_iter().flatten() {
        if !known.contains(key) {
            let problem = format!("neither the model nor the engine has a key `{key}`");
            let error = Error::option("metadata_overrides", problem);
            return Err(match nearest(key, &known) {
                Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                None => error,
            });
        }
        if let Some(problem) = value_problem(header, key, value) {
            return Err(Error::option("metadata_overrides", format!("`{key}`: {problem}")));
        }
    }
    Ok(())
}

fn value_problem(header: &GgufHeader, key: &str, value: &Value) -> Option<String> {
    // Others are rejected where they are converted for the engine.
    let value = value_of(key, value)?;
    let (given, in_file) = (type_of(&value), header.get(key));
    if matches!(in_file, Some(MetadataValue::Array { .. })) {
        return Some("the model has a list there, which cannot be overridden".to_owned());
    }
    let wanted = if is_float(key) { Some("a number") } else { in_file.map(type_of) };
    if let Some(wanted) = wanted
        && wanted != given
        && !(is_float(key) && matches!(value, MetadataValue::Float(_)))
    {
        return Some(format!("expected {wanted}, and it is {given}"));
    }
    let MetadataValue::Int(number) = value else { return None };
    if !(0..=i64::from(u32::MAX)).contains(&number) {
        return Some(format!("is {number}; it must be between 0 and {}", u32::MAX));
    }
    if key.ends_with("_token_id")
        && let Some(MetadataValue::Array { length, .. }) = header.get(TOKENS)
        && usize::try_from(number).is_ok_and(|number| number >= *length)
    {
        return Some(format!("is {number}, and the vocabulary has {length} tokens"));
    }
    None
}

/// The type of a value, for messages.
fn type_of(value: &MetadataValue) -> &'static str {
    match value {
        MetadataValue::Bool(_) => "true or false",
        MetadataValue::Int(_) | MetadataValue::Uint(_) => "an integer",
        MetadataValue::Float(_) => "a number with a fraction",
        MetadataValue::Text(_) => "a text",
        _ => "a list",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_are_numbers_of_any_kind() {
        assert_eq!(value_of("llama.rope.freq_base", &json!(1)), Some(MetadataValue::Float(1.0)));
        assert_eq!(value_of("llama.context_length", &json!(1)), Some(MetadataValue::Int(1)));
        assert_eq!(value_of("llama.context_length", &json!([1])), None);
    }
}
