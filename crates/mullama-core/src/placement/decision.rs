//! The placement of a model, decided before any weights are read.

use crate::engine::{ContextSettings, HostExperts, WeightSettings};

/// A complete placement of a model and its context, with no open settings. A search tries many.
#[derive(Clone, Hash)]
pub(crate) struct PlacementDecision {
    pub weights: WeightSettings,
    pub context: ContextSettings,
}

impl PlacementDecision {
    /// Sets the number of layers on GPUs; none means all.
    pub fn with_layers(mut self, n_gpu_layers: Option<u32>) -> Self {
        self.weights.n_gpu_layers = n_gpu_layers;
        self
    }

    /// Sets the layers whose experts stay in system RAM.
    pub fn with_host_experts(mut self, experts: HostExperts) -> Self {
        self.weights.host_experts = experts;
        self
    }

    /// Sets the share of each GPU.
    pub fn with_split(mut self, shares: Vec<f32>) -> Self {
        self.weights.tensor_split = Some(shares);
        self
    }

    /// Sets the context size in tokens.
    pub fn with_n_ctx(mut self, n_ctx: u32) -> Self {
        self.context.n_ctx = n_ctx;
        self
    }
}
