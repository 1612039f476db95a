//! Checks whether memory is available for another context on a loaded model.

use std::path::Path;
use std::sync::Arc;

use super::budget::Budgets;
use super::dry_run::dry_run;
use crate::engine::{ContextSettings, WeightSettings, Weights};
use crate::runtime::log;
use crate::{Error, ErrorKind, Result};
use mullama_base::Text;

/// Fails if the free memory is insufficient for a context with these settings plus `outputs` bytes
/// of outputs. `what` names the context in the error.
pub(crate) fn check_free_memory(
    path: &Path,
    loaded: &WeightSettings,
    context: &ContextSettings,
    outputs: u64,
    what: &str,
) -> Result<()> {
    let budgets = Budgets::of(loaded, false)?;
    let needed = log::log_as_trace(|| {
        let weights = Arc::new(Weights::load_metadata_only(path, loaded)?);
        Ok::<_, Error>(dry_run(weights, context, 0)?.context_only(outputs))
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
