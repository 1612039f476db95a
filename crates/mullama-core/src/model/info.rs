//! The constant properties of a loaded model.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::loaded::Loaded;
use crate::engine::Placement;
use crate::options::MediaLimits;
use crate::scheduler::Started;
use mullama_base::units;
use mullama_gguf::GgufHeader;

/// The tasks that a model supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// Text can be generated.
    pub generate: bool,
    /// There is a chat template.
    pub chat: bool,
    /// The chat template supports tools.
    pub tools: bool,
    /// The chat template can switch reasoning on and off.
    pub reasoning: bool,
    /// Texts can be embedded.
    pub embed: bool,
    /// Messages can have pictures: there is a projector.
    pub vision: bool,
    /// Documents can be ranked: there is a classification head.
    pub rerank: bool,
    /// Limits of pictures, if messages can have any.
    pub media_limits: Option<MediaLimits>,
}

/// The constant properties of a model.
pub(super) struct ModelInfo {
    pub path: PathBuf,
    pub context_size: u32,
    pub placement: Placement,
    pub gpu_layers: u32,
    pub n_layers: u32,
    pub n_vocab: u32,
    pub n_embd: u32,
    pub n_params: u64,
    pub size: u64,
    pub architecture: String,
    pub name: Option<String>,
    pub description: String,
    pub metadata: BTreeMap<String, String>,
    pub chat_template: Option<String>,
    pub capabilities: Capabilities,
}

impl ModelInfo {
    pub fn new(loaded: &Loaded, header: &GgufHeader, started: Started) -> Self {
        let weights = &loaded.weights;
        let metadata = weights.metadata();
        let chat_template = loaded.templates.source(weights);
        let embedding = loaded.embedders.info();
        let caps = chat_template.as_ref().and_then(|_| loaded.template_capabilities());
        let (tools, reasoning) = caps.unwrap_or_default();
        let vision = started.can_generate && chat_template.is_some() && loaded.vision.is_on();
        Self {
            path: loaded.path.clone(),
            context_size: embedding.limit as u32,
            placement: started.placement,
            gpu_layers: weights.gpu_layers(),
            n_layers: weights.n_layers(),
            n_vocab: loaded.vocab.len() as u32,
            n_embd: weights.n_embd() as u32,
            n_params: weights.n_params(),
            size: weights.size(),
            architecture: header.text("general.architecture").unwrap_or_default().to_owned(),
            name: header.text("general.name").map(str::to_owned),
            description: description(header, weights.n_params()),
            metadata,
            capabilities: Capabilities {
                generate: started.can_generate,
                chat: started.can_generate && chat_template.is_some(),
                tools,
                reasoning,
                embed: embedding.can_embed(),
                vision,
                rerank: embedding.can_rerank(),
                media_limits: vision.then_some(loaded.vision.limits.media),
            },
            chat_template,
        }
    }
}

/// Architecture, number of parameters and quantisation, as far as they are known.
fn description(header: &GgufHeader, n_params: u64) -> String {
    let architecture = header.text("general.architecture").unwrap_or_default().to_owned();
    let size = (n_params > 0).then(|| units::approximate(n_params));
    let quantisation = header.quantisation().map(str::to_owned);
    [Some(architecture), size, quantisation].into_iter().flatten().collect::<Vec<_>>().join(" ")
}
