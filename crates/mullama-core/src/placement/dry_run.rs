//! What a model and its context would take, without making them.

use std::sync::Arc;

use crate::Result;
use crate::engine::{Context, ContextSettings, Placement, Weights};

/// What a context of these settings would put where, on weights of which only the metadata are loaded; `looked_up` bytes
/// of them are tables in which rows are looked up.
///
/// The engine reserves buffers for a full step, and for one in which each sequence has one token; what it keeps
/// is the larger of both for each device. Where it allocates nothing, it measures the first (`sched_reserve` in
/// llama-context.cpp), so the second is made the full step of another context. That matters where weights
/// that lie on the processor are computed with on a GPU, which is done for many tokens alone: not where
/// the processor has nothing but tables.
///
/// The engine keeps some 50 bytes for each token of context even so: of a context of more than a million tokens
/// the bytes are those of two smaller ones, drawn out, since all that grows grows evenly.
pub(crate) fn dry_run(
    weights: Arc<Weights>,
    settings: &ContextSettings,
    looked_up: u64,
) -> Result<Placement> {
    const MOST: u32 = 1 << 20;
    if settings.n_ctx <= MOST {
        return measure(weights, settings, looked_up);
    }
    let with = |n_ctx| {
        let settings = ContextSettings { n_ctx, ..settings.clone() };
        measure(Arc::clone(&weights), &settings, looked_up)
    };
    let (half, most) = (with(MOST / 2)?, with(MOST)?);
    Ok(most.drawn_out(&half, f64::from(settings.n_ctx - MOST) / f64::from(MOST / 2)))
}

fn measure(weights: Arc<Weights>, settings: &ContextSettings, looked_up: u64) -> Result<Placement> {
    /// What alignment adds to two tables at most.
    const ALIGNED: u64 = 160;
    let full = Context::new(Arc::clone(&weights), settings)?;
    let placement = full.planned_placement()?;
    let each = full.n_seq_max() as u32;
    drop(full);
    let has_only_tables = placement.host_weights() <= looked_up + ALIGNED;
    if has_only_tables || weights.settings.gpus.is_empty() || each >= settings.n_ubatch {
        return Ok(placement);
    }
    let settings = ContextSettings { n_ubatch: each, ..settings.clone() };
    Ok(placement.with_compute_of(&Context::new(weights, &settings)?.planned_placement()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{SimulatedGpu, simulate};
    use crate::engine::WeightSettings;
    use crate::options::{ContextParams, ModelParams};

    #[test]
    fn what_is_drawn_out_is_what_would_be_measured() {
        let gpu = SimulatedGpu {
            backend: "cuda".to_owned(),
            description: "a GPU".to_owned(),
            memory: 1 << 40,
        };
        let devices = simulate(&[gpu]).unwrap();
        let settings = WeightSettings::resolve(&ModelParams::default(), &devices).unwrap();
        for model in ["small", "moe"] {
            let path = mullama_testkit::fixture(model);
            let weights = Arc::new(Weights::load_metadata_only(&path, &settings).unwrap());
            let context = ContextParams::default().with_n_ctx(3 << 20).with_n_ubatch(64);
            let context = ContextSettings::resolve(&context, 512).unwrap();
            let drawn_out = dry_run(Arc::clone(&weights), &context, 0).unwrap();
            assert_eq!(drawn_out, measure(weights, &context, 0).unwrap(), "{model}");
        }
    }
}
