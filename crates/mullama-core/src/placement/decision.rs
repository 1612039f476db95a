//! Where a model goes, decided before a byte of its weights is read.

use std::path::Path;
use std::sync::Arc;

use super::budget::Budgets;
use super::dry_run::dry_run;
use super::search::search_for;
use crate::device::DeviceSet;
use crate::engine::{ContextSettings, Weights};
use crate::options::{ContextParams, ModelParams};
use crate::runtime::log;
use crate::{Error, ErrorKind, Result};
use mullama_base::Text;
use mullama_gguf::GgufHeader;

/// Everything that was left open, filled in.
pub(crate) struct PlacementDecision {
    pub params: ModelParams,
    pub settings: ContextSettings,
    pub devices: DeviceSet,
}

/// Fills in what was left open, and refuses what cannot fit.
pub(crate) fn decide(
    path: &Path,
    header: &GgufHeader,
    params: &ModelParams,
    context: &ContextParams,
) -> Result<PlacementDecision> {
    let devices = DeviceSet::of(params)?;
    let budgets = Budgets::of(params, &devices)?;
    let (search, settings) = search_for(path, header, params, context, &devices, budgets)?;
    let (params, settings) = search.decide(params, settings)?;
    Ok(PlacementDecision { params, settings, devices })
}

/// Refuses what there is no memory for now, on a model that is loaded: `what` is a context of these
/// settings, with so many bytes of outputs beside it.
pub(crate) fn check_room(
    path: &Path,
    params: &ModelParams,
    devices: &DeviceSet,
    settings: &ContextSettings,
    outputs: u64,
    what: &str,
) -> Result<()> {
    let budgets = Budgets::of(params, devices)?;
    let needed = log::as_trace(|| {
        let weights = Arc::new(Weights::load_metadata_only(path, params, devices)?);
        Ok::<_, Error>(dry_run(weights, settings, 0)?.context_alone(outputs))
    })?;
    if budgets.fit(&needed, false) {
        return Ok(());
    }
    let shortages = budgets.shortages(&needed).join("; ");
    Err(Error::new(ErrorKind::OutOfMemory, format!("there is no memory for {what}: {shortages}"))
        .with_context("devices", budgets.describe(&needed))
        .with_hint(Text::with_names(
            "shorter inputs, or a model loaded with a smaller {ubatch_size}, need less",
        )))
}
