//! Results on their way to JavaScript.

use mullama::Naming;
use serde::Serialize;
use serde_json::Value;

/// A result of the core as a plain object: names in camel case, absent what is not there.
pub(crate) fn plain(result: &impl Serialize) -> Value {
    // Writing a struct of plain data to a `Value` cannot fail.
    styled(serde_json::to_value(result).unwrap_or_default())
}

fn styled(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| {
                // A message has OpenAI's names, so that it can be sent back.
                let value = if name == "message" { value } else { styled(value) };
                (Naming::Camel.style(&name), value)
            })
            .collect(),
        Value::Array(elements) => elements.into_iter().map(styled).collect(),
        other => other,
    }
}
