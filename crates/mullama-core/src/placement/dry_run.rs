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
pub(crate) fn dry_run(
    weights: Arc<Weights>,
    settings: &ContextSettings,
    looked_up: u64,
) -> Result<Placement> {
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
