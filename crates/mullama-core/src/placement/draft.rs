//! Where a draft model goes: before the model, which has what is left.

use super::beside::explain;
use super::budget::Budgets;
use super::decision::PlacementDecision;
use super::request::{PlacementRequest, is_order_open};
use super::search::PlacementSearch;
use crate::device::DeviceSet;
use crate::engine::{ContextSettings, Placement, WeightSettings};
use crate::options::{ContextParams, ModelParams};
use crate::source::DraftFile;
use crate::{Error, ErrorKind, Result};
use mullama_base::Text;

/// Where a draft model goes.
pub(crate) struct PlacedDraft<'a> {
    search: PlacementSearch<'a>,
    pub decision: PlacementDecision,
    /// What it takes there.
    pub placement: Placement,
}

impl<'a> PlacedDraft<'a> {
    /// Places a draft model for a model that is loaded with these options, in a context of that model's. `host` are
    /// the free bytes of the machine's own memory.
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
        let mut budgets = Budgets::of(&weights, is_order_open(&params))?;
        budgets.host.free = host;
        let asked = ContextParams::default().with_n_ctx(context.n_ctx);
        let mut request = PlacementRequest::new(&draft.header, &params, weights, &asked)?;
        request.asked.context = context.of_draft();
        let search = PlacementSearch::new(&draft.path, &draft.header, request, budgets);
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

    /// Adds to the refusal of the model how much of the memory the draft model takes.
    pub fn explain(&self, error: Error) -> Error {
        explain(error, "the draft model", "draft_bytes", &self.placement)
    }

    /// Takes the size of the context that the model got.
    pub fn set_n_ctx(&mut self, n_ctx: u32) -> Result<()> {
        if self.decision.context.n_ctx != n_ctx {
            self.decision.context.n_ctx = n_ctx;
            self.placement = self.search.dry_run(&self.decision)?;
        }
        Ok(())
    }
}
