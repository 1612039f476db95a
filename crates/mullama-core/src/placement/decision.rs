//! Where a model goes, decided before a byte of its weights is read.

use crate::engine::{ContextSettings, HostExperts, WeightSettings};

/// Where a model goes, and with which context: nothing is open in it. A search tries many.
#[derive(Clone, Hash)]
pub(crate) struct PlacementDecision {
    pub weights: WeightSettings,
    pub context: ContextSettings,
}

impl PlacementDecision {
    /// With so many layers on GPUs; none means all.
    pub fn with_layers(mut self, n_gpu_layers: Option<u32>) -> Self {
        self.weights.n_gpu_layers = n_gpu_layers;
        self
    }

    /// With the experts of these layers in the machine's own memory.
    pub fn with_host_experts(mut self, experts: HostExperts) -> Self {
        self.weights.host_experts = experts;
        self
    }

    /// With a share for each GPU.
    pub fn with_split(mut self, shares: Vec<f32>) -> Self {
        self.weights.tensor_split = Some(shares);
        self
    }

    /// With a context of so many tokens.
    pub fn with_n_ctx(mut self, n_ctx: u32) -> Self {
        self.context.n_ctx = n_ctx;
        self
    }
}
