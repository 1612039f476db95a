//! Places a draft model. It is placed first; the model receives the remaining memory.

use super::budget::Budgets;
use super::decision::PlacementDecision;
use super::other_memory::explain;
use super::request::{PlacementRequest, is_device_order_automatic};
use super::search::PlacementSearch;
use crate::device::DeviceSet;
use crate::engine::{ContextSettings, Placement, WeightSettings};
use crate::options::{ContextParams, ModelParams};
use crate::source::DraftFile;
use crate::{Error, ErrorKind, Result};
use mullama_base::Text;

/// A draft model with its placement.
pub(crate) struct PlacedDraft<'a> {
    search: PlacementSearch<'a>,
    pub decision: PlacementDecision,
    /// The memory that it needs on each device.
    pub placement: Placement,
}

impl<'a> PlacedDraft<'a> {
    /// Places the draft model of a model that is loaded with `params` and `context`. `host` is the number of free bytes
    /// of system RAM.
    pub fn new(
        draft: &'a DraftFile,
        params: &ModelParams,
        devices: &DeviceSet,
        context: &ContextSettings,
        host: u64,
    ) -> Result<Self> {
        let params = params.of_draft();
        let weights = WeightSettings::resolve(&params, devices)
            .map_err(|error| error.with_context("draft_model", draft.path.display()))?;
        let mut budgets = Budgets::of(&weights, is_device_order_automatic(&params))?;
        budgets.host.free = host;
        let asked = ContextParams::default().with_n_ctx(context.n_ctx);
        let mut request = PlacementRequest::new(&draft.header, &params, weights, &asked)?;
        request.asked.context = context.of_draft();
        let search =
            PlacementSearch::new(&draft.path, &draft.name, &draft.header, request, budgets);
        let decision = search.decide().map_err(|error| match error.kind() {
            ErrorKind::DoesNotFit => {
                error.with_context("draft_model", draft.path.display()).with_hint(Text::with_names(
                    "set {draft_gpu_layers} or {context_size} lower, use a smaller draft model, or leave {draft_model} out",
                ))
            }
            _ => error,
        })?;
        let placement = search.dry_run(&decision)?;
        Ok(Self { search, decision, placement })
    }

    /// Adds the size of the draft model to the error of a model that does not fit.
    pub fn explain(&self, error: Error) -> Error {
        explain(error, "the draft model", "draft_bytes", &self.placement)
    }

    /// Sets the context size to that of the model.
    pub fn set_n_ctx(&mut self, n_ctx: u32) -> Result<()> {
        if self.decision.context.n_ctx != n_ctx {
            self.decision.context.n_ctx = n_ctx;
            self.placement = self.search.dry_run(&self.decision)?;
        }
        Ok(())
    }
}
