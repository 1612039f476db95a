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
    /// Whether the main GPU is filled before the others are used, also with a requested number of layers.
    pub is_main_gpu_first: bool,
    /// The note for the user about the split mode, if it is not the requested one.
    pub split_note: Option<String>,
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
            are_layers_open: params.n_gpu_layers.unwrap_or_default() == GpuLayers::Auto,
            is_split_automatic: is_split_automatic(params),
            is_main_gpu_first: params.main_gpu.is_some()
                && is_split_automatic(params)
                && weights.gpus.len() > 1,
            split_note: split_note(params, &weights),
            are_experts_open: params.cpu_moe.is_none() && params.n_cpu_moe.is_none(),
            is_context_open: context.n_ctx.is_none(),
            asked: PlacementDecision { weights, context: settings },
        })
    }
}

fn is_split_automatic(params: &ModelParams) -> bool {
    params.tensor_split.is_none() && matches!(params.split_mode, None | Some(SplitMode::Layer))
}

/// Whether the order in which the GPUs are filled is open.
pub(crate) fn is_device_order_automatic(params: &ModelParams) -> bool {
    params.devices.is_none() && params.main_gpu.is_none() && is_split_automatic(params)
}

fn split_note(params: &ModelParams, weights: &WeightSettings) -> Option<String> {
    let is_replaced =
        params.split_mode == Some(SplitMode::Row) && weights.split_mode == SplitMode::Tensor;
    (is_replaced && weights.gpus.len() > 1).then(|| {
        let cannot = weights.gpus.iter().filter(|gpu| !gpu.can_split_rows()).map(|gpu| gpu.name());
        format!(
            "{} cannot split rows: using split mode tensor instead of row, \
             which splits each matrix and the KV cache",
            cannot.collect::<Vec<_>>().join(", ")
        )
    })
}
