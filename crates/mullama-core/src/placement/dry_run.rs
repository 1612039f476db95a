//! Determines how much memory a model and its context would need, without allocating it.

use std::sync::Arc;

use crate::Result;
use crate::engine::{Context, ContextSettings, Placement, Weights};

/// Returns the memory that a context with these settings would need on each device, on weights with metadata only.
/// `lookup_table_bytes` is the size in bytes of the lookup tables among the weights.
///
/// The engine reserves buffers for a full step and for a step with one token per sequence, and uses the larger of both
/// on each device. If it allocates nothing, it only measures the former (`sched_reserve` in llama-context.cpp). The
/// latter is therefore measured as the full step of another context. The sizes only differ if weights in system RAM are
/// computed with on a GPU, which happens in steps of many tokens; if there are only lookup tables in system RAM, the
/// second measurement is skipped.
///
/// Even in a dry run, the engine allocates about 50 bytes per token of context. The sizes for more than 2^20 tokens are
/// therefore extrapolated from two smaller contexts, since everything that grows with the context grows linearly.
pub(crate) fn dry_run(
    weights: Arc<Weights>,
    settings: &ContextSettings,
    lookup_table_bytes: u64,
) -> Result<Placement> {
    const MAX_MEASURED_CONTEXT: u32 = 1 << 20;
    if settings.n_ctx <= MAX_MEASURED_CONTEXT {
        return measure(weights, settings, lookup_table_bytes);
    }
    let with = |n_ctx| {
        let settings = ContextSettings { n_ctx, ..settings.clone() };
        measure(Arc::clone(&weights), &settings, lookup_table_bytes)
    };
    let (half, most) = (with(MAX_MEASURED_CONTEXT / 2)?, with(MAX_MEASURED_CONTEXT)?);
    Ok(most.extrapolated(
        &half,
        f64::from(settings.n_ctx - MAX_MEASURED_CONTEXT) / f64::from(MAX_MEASURED_CONTEXT / 2),
    ))
}

fn measure(
    weights: Arc<Weights>,
    settings: &ContextSettings,
    lookup_table_bytes: u64,
) -> Result<Placement> {
    /// The maximum padding for the alignment of two tables.
    const ALIGNMENT_OVERHEAD: u64 = 160;
    let full = Context::new(Arc::clone(&weights), settings)?;
    let placement = full.planned_placement()?;
    let each = full.n_seq_max() as u32;
    drop(full);
    let has_only_tables = placement.host_weights() <= lookup_table_bytes + ALIGNMENT_OVERHEAD;
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
    fn extrapolated_sizes_equal_measured_ones() {
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
            let extrapolated = dry_run(Arc::clone(&weights), &context, 0).unwrap();
            assert_eq!(extrapolated, measure(weights, &context, 0).unwrap(), "{model}");
        }
    }
}
