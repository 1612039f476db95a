//! All options, for `generate-types.mjs`.

use mullama::{
    ChatOptions, ContextParams, CudaSettings, EmbedOptions, ModelParams, Naming, OptionSet as _,
    OptionSpec, PlanFields, RerankOptions,
};
use napi_derive::napi;
use serde_json::{Value, json};

/// The options of each set, with their names, types in TypeScript and documentation.
#[napi(js_name = "_optionSpecs", ts_return_type = "unknown", catch_unwind)]
pub fn option_specs() -> Value {
    let list = |specs: &[OptionSpec]| -> Value {
        let names = specs.iter().map(|spec| Naming::Camel.style(spec.name));
        let spec = |(name, spec): (_, &OptionSpec)| json!({"name": name, "type": spec.kind.typescript, "doc": spec.doc});
        names.zip(specs).map(spec).collect()
    };
    let mut chat = ChatOptions::default();
    let [generate, chat] = chat.option_sets();
    json!({
        "cuda": list(CudaSettings::default().specs()),
        "model": list(ModelParams::default().specs()),
        "context": list(ContextParams::default().specs()),
        "generate": list(generate.specs()),
        "chat": list(chat.specs()),
        "embed": list(EmbedOptions::default().specs()),
        "rerank": list(RerankOptions::default().specs()),
        "plan": list(PlanFields::default().specs()),
    })
}
