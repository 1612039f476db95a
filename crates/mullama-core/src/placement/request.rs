//! A requested placement, which may leave settings open.

use super::decision::PlacementDecision;
use super::header::number;
use crate::Result;
use crate::engine::{ContextSettings, WeightSettings};
use crate::options::{ContextParams, GpuLayers, ModelParams, SplitMode};
use mullama_gguf::GgufHeader;

/// A requested placement, which may leave settings open.
pub(crate) struct PlacementRequest {
    /// What was given, resolved; what is open has its widest meaning there.
    pub asked: PlacementDecision,
    /// Whether so many layers go to GPUs as fit.
    pub are_layers_open: bool,
    /// Whether it is open how many of the GPUs are used, and with which shares.
    pub are_shares_open: bool,
    /// Whether it is open where the experts of a mixture go.
    pub are_experts_open: bool,
    /// Whether the context may be made smaller.
    pub is_context_open: bool,
}

impl PlacementRequest {
    /// Of options that were resolved for the devices that there are.
    pub fn new(
        header: &GgufHeader,
        params: &ModelParams,
        weights: WeightSettings,
        context: &ContextParams,
    ) -> Result<Self> {
        let trained = number(header, &weights.metadata, "context_length").unwrap_or(0);
        let settings =
            ContextSettings::resolve(context, u32::try_from(trained).unwrap_or(u32::MAX))?;
        Ok(Self {
            asked: PlacementDecision { weights, context: settings },
            are_layers_open: params.n_gpu_layers.unwrap_or_default() == GpuLayers::Auto,
            are_shares_open: are_shares_open(params),
            are_experts_open: params.cpu_moe.is_none() && params.n_cpu_moe.is_none(),
            is_context_open: context.n_ctx.is_none(),
        })
    }
}

fn are_shares_open(params: &ModelParams) -> bool {
    params.tensor_split.is_none()
        && params.main_gpu.is_none()
        && matches!(params.split_mode, None | Some(SplitMode::Layer))
}

/// Whether it is open in which order the GPUs are filled.
pub(crate) fn is_order_open(params: &ModelParams) -> bool {
    params.devices.is_none() && are_shares_open(params)
}
