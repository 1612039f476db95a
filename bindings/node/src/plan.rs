//! Plans: where a model would go, and how fast it would be.
#![allow(missing_docs, reason = "`index.d.ts` documents what a program sees")]

use mullama::{Naming, PlanOptions, PlanSource};
use napi::Env;
use napi::bindgen_prelude::PromiseRaw;
use napi::tokio::task::spawn_blocking;
use napi_derive::napi;
use serde_json::{Value, json};

use crate::error::{of_arguments, of_core, of_task};
use crate::exit::Call;
use crate::json::{Options, Text};
use crate::results::plain;

/// Plans on another thread. `source` is text, or `shape` the fields of a shape.
#[napi(catch_unwind)]
pub fn plan(
    env: &Env,
    source: Option<Text>,
    shape: Options,
    options: Options,
) -> napi::Result<PromiseRaw<'_, Value>> {
    let source = source.map_or(Value::Object(shape.0), |text| Value::String(text.0));
    let source = PlanSource::parse(source).map_err(|error| of_arguments(&error))?;
    let options =
        PlanOptions::parse(options.0, Naming::Camel).map_err(|error| of_arguments(&error))?;
    let call = Call::begin();
    env.spawn_future(async move {
        let planned = spawn_blocking(move || {
            let _call = call;
            mullama::plan(source, &options)
        });
        let plan = planned.await.map_err(of_task)?.map_err(of_core)?;
        Ok(json!({
            "plan": fields(&plan),
            "layerDevices": plan.layer_devices(),
            "table": plan.to_string(),
            "reasons": plan.explain(),
        }))
    })
}

/// A plan as a plain object, in which patterns and devices keep their names.
fn fields(plan: &mullama::Plan) -> Value {
    let mut fields = plain(plan);
    let keep = |target: &mut Value| {
        if let (Some(overrides), Some(target)) = (&plan.tensor_overrides, target.as_object_mut())
            && target.contains_key("tensorOverrides")
        {
            target.insert("tensorOverrides".to_owned(), json!(overrides));
        }
    };
    keep(&mut fields);
    keep(&mut fields["options"]);
    if let Some(predicted) = &plan.predicted {
        fields["predicted"]["sources"] = json!(predicted.sources);
    }
    fields
}
