//! The values of a model's header that a placement needs.

use std::collections::BTreeMap;

use serde_json::Value;

use mullama_gguf::{GgufHeader, MetadataValue};

/// A number in the metadata of the model's architecture, from the overrides or the file.
pub(crate) fn number(
    header: &GgufHeader,
    overrides: &BTreeMap<String, Value>,
    key: &str,
) -> Option<i64> {
    let architecture = header.text("general.architecture");
    let overridden =
        architecture.and_then(|name| overrides.get(&format!("{name}.{key}"))?.as_i64());
    overridden.or_else(|| header.architecture_number(key))
}

/// Metadata overrides for a vocabulary of the file's size without any tokens in it.
pub(super) fn vocabulary(header: &GgufHeader) -> BTreeMap<String, Value> {
    let architecture = header.text("general.architecture");
    let (Some(architecture), Some(&MetadataValue::Array { length, .. })) =
        (architecture, header.get("tokenizer.ggml.tokens"))
    else {
        return BTreeMap::new();
    };
    [
        ("tokenizer.ggml.model".to_owned(), Value::from("none")),
        (format!("{architecture}.vocab_size"), Value::from(length)),
    ]
    .into()
}
