//! The placement of a model that is loaded, with its projector and its draft model.

use std::path::Path;

use super::budget::Budgets;
use super::decision::PlacementDecision;
use super::draft::PlacedDraft;
use super::projector::PlacedProjector;
use super::request::{PlacementRequest, is_device_order_automatic};
use super::search::PlacementSearch;
use crate::Result;
use crate::device::DeviceSet;
use crate::engine::WeightSettings;
use crate::options::{ContextParams, ModelParams};
use crate::source::DraftFile;
use mullama_base::warn_once;
use mullama_gguf::GgufHeader;

/// Decides the open settings of a model and its draft model, and refuses what does not fit. `name` is that of the model
/// in messages. The memory of the projector is subtracted first.
pub(crate) fn decide(
    path: &Path,
    name: &str,
    header: &GgufHeader,
    params: &ModelParams,
    context: &ContextParams,
    projector: Option<&PlacedProjector>,
    draft: Option<&DraftFile>,
) -> Result<(PlacementDecision, Option<PlacementDecision>)> {
    let devices = DeviceSet::of(params)?;
    let weights = WeightSettings::resolve(params, &devices)?;
    let mut budgets = Budgets::of(&weights, is_device_order_automatic(params))?;
    if let Some(projector) = projector {
        budgets = budgets.reserve(&projector.placement);
    }
    let request = PlacementRequest::new(header, params, weights, context)?;
    let place = |draft| {
        let (context, host) = (&request.asked.context, budgets.host.free);
        PlacedDraft::new(draft, params, &devices, context, host)
    };
    let mut draft = draft.map(place).transpose()?;
    if let Some(draft) = &draft {
        budgets = budgets.reserve(&draft.placement);
    }
    let search = PlacementSearch::new(path, name, header, request, budgets);
    let decision = search.decide().map_err(|error| {
        let error = draft.iter().fold(error, |error, draft| draft.explain(error));
        projector.iter().fold(error, |error, projector| projector.explain(error))
    })?;
    for note in search.notes() {
        warn_once(&note);
    }
    if let Some(draft) = &mut draft {
        draft.decision.context.n_ctx = decision.context.n_ctx;
    }
    Ok((decision, draft.map(|draft| draft.decision)))
}
