//! A requested placement, which may leave settings open.

use super::decision::PlacementDecision;
use super::header::number;
use crate::Result;
use crate::engine::{ContextSettings, WeightSettings};
use crate::options::{ContextParams, GpuLayers, ModelParams, SplitMode};
use mullama_gguf::GgufHeader;

/// A requested placement, which may leave settings open.
pub(crate) struct PlacementRequest {
    /// The resolved options. Open settings have the value that asks for most.
    pub asked: PlacementDecision,
    /// Whether the number of layers on GPUs is chosen automatically.
    pub are_layers_open: bool,
    /// Whether the number of GPUs and their shares are open.
    pub is_split_automatic: bool,
    /// Whether the placement of a mixture's experts is open.
    pub are_experts_open: bool,
    /// Whether the context may be reduced.
    pub is_context_open: bool,
}

impl PlacementRequest {
    /// Creates a request from options that were resolved for the available devices.
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
            is_split_automatic: is_split_automatic(params),
            are_experts_open: params.cpu_moe.is_none() && params.n_cpu_moe.is_none(),
            is_context_open: context.n_ctx.is_none(),
        })
    }
}

fn is_split_automatic(params: &ModelParams) -> bool {
    params.tensor_split.is_none()
        && params.main_gpu.is_none()
        && matches!(params.split_mode, None | Some(SplitMode::Layer))
}

/// Whether the order in which the GPUs are filled is open.
pub(crate) fn is_device_order_automatic(params: &ModelParams) -> bool {
    params.devices.is_none() && is_split_automatic(params)
}
