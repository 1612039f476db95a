//! What a model's header says that a placement needs.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::options::ModelParams;
use mullama_gguf::{GgufHeader, MetadataValue};

/// A number of the model's architecture, as the file has it or the caller overrides it.
pub(crate) fn number(header: &GgufHeader, params: &ModelParams, key: &str) -> Option<i64> {
    let overrides = params.metadata_overrides.as_ref();
    let overridden = overrides.and_then(|overrides| {
        overrides.get(&format!("{}.{key}", header.text("general.architecture")?))?.as_i64()
    });
    overridden.or_else(|| header.architecture_number(key))
}

/// What the metadata would say of a vocabulary that is as large as the file's and has no words.
pub(super) fn vocabulary(header: &GgufHeader) -> BTreeMap<String, Value> {
    let architecture = header.text("general.architecture");
    let (Some(architecture), Some(&MetadataValue::Array { length })) =
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
