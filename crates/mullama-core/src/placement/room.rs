//! Whether there is room for one more context on a model that is loaded.

use std::path::Path;
use std::sync::Arc;

use super::budget::Budgets;
use super::dry_run::dry_run;
use crate::engine::{ContextSettings, WeightSettings, Weights};
use crate::runtime::log;
use crate::{Error, ErrorKind, Result};
use mullama_base::Text;

/// Refuses what there is no memory for now, on a model that is loaded: `what` is a context of these
/// settings, with so many bytes of outputs beside it.
pub(crate) fn check_room(
    path: &Path,
    loaded: &WeightSettings,
    context: &ContextSettings,
    outputs: u64,
    what: &str,
) -> Result<()> {
    let budgets = Budgets::of(loaded, false)?;
    let needed = log::as_trace(|| {
        let weights = Arc::new(Weights::load_metadata_only(path, loaded)?);
        Ok::<_, Error>(dry_run(weights, context, 0)?.context_alone(outputs))
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
