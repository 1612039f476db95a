//! Conversion of results for JavaScript.

use std::marker::PhantomData;

use mullama::Naming;
use napi::bindgen_prelude::ToNapiValue;
use napi::sys;
use serde::Serialize;
use serde_json::Value;

/// A plain object, declared in TypeScript under the name of `T`.
pub struct Plain<T>(Value, PhantomData<fn() -> T>);

impl<T> Plain<T> {
    /// Converts a result of the core: names become camel case, and null fields are omitted.
    pub(crate) fn new(result: &impl Serialize) -> Self {
        Self::verbatim(camel_case_keys(to_json(result)))
    }

    /// A value whose names are not changed.
    pub(crate) fn verbatim(value: impl Into<Value>) -> Self {
        Self(value.into(), PhantomData)
    }
}

impl<T> ToNapiValue for Plain<T> {
    unsafe fn to_napi_value(env: sys::napi_env, plain: Self) -> napi::Result<sys::napi_value> {
        // SAFETY: the caller guarantees that `env` is valid.
        unsafe { Value::to_napi_value(env, plain.0) }
    }
}

/// Serialises a struct of plain data, which cannot fail.
pub(crate) fn to_json(result: &impl Serialize) -> Value {
    serde_json::to_value(result).unwrap_or_default()
}

/// Converts names to camel case, except in messages: those have OpenAI's names, so that they can be
/// sent back. Omits fields that are null.
pub(crate) fn camel_case_keys(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| {
                let value = if name == "message" { value } else { camel_case_keys(value) };
                (Naming::Camel.style(&name), value)
            })
            .collect(),
        Value::Array(elements) => elements.into_iter().map(camel_case_keys).collect(),
        other => other,
    }
}
