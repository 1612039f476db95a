//! Plans: where a model would be placed, and how fast it would run.
#![allow(missing_docs, reason = "`lib/plan.ts` documents what a program sees")]

use mullama::{Naming, PlanOptions, PlanSource};
use napi::Env;
use napi::bindgen_prelude::PromiseRaw;
use napi_derive::napi;
use serde_json::{Value, json};

use crate::arguments::{Json, Options};
use crate::calls::on_thread;
use crate::error::argument_error;
use crate::results::{Plain, camel_case_keys, to_json};

/// A plan, with the results of its methods.
#[napi(object, object_from_js = false)]
pub struct Planned {
    pub plan: Plain<mullama::Plan>,
    pub layer_devices: Vec<String>,
    pub table: String,
    pub reasons: String,
}

/// Plans on another thread. The source is a string, or the fields of a shape.
#[napi(catch_unwind)]
pub fn plan(env: &Env, source: Json, options: Options) -> napi::Result<PromiseRaw<'_, Planned>> {
    let source = PlanSource::parse(source.0).map_err(|error| argument_error(&error))?;
    let options =
        PlanOptions::parse(options.0, Naming::Camel).map_err(|error| argument_error(&error))?;
    on_thread(env, move || {
        let plan = mullama::plan(source, &options)?;
        Ok(Planned {
            plan: fields(&plan),
            layer_devices: plan.layer_devices().into_iter().map(Into::into).collect(),
            table: plan.to_string(),
            reasons: plan.explain(),
        })
    })
}

/// Converts a plan to a plain object. Patterns of tensors and names of devices, which are keys in
/// it, are not converted to camel case.
fn fields(plan: &mullama::Plan) -> Plain<mullama::Plan> {
    let mut fields = camel_case_keys(to_json(plan));
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
    Plain::verbatim(fields)
}
