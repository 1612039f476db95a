//! The properties of a loaded model: its sizes, its metadata, its capabilities.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::handle::Model;
use super::info::Capabilities;
use crate::engine::Placement;
use crate::options::GenerateOptions;
use crate::sampling::Sampling;
use crate::scheduler::{Engine, RequestInfo, Stats};
use crate::{Error, ErrorKind, Result};

impl Model {
    /// Statistics since the model was loaded, and its current load; all zero if only the vocabulary
    /// was loaded.
    pub fn stats(&self) -> Result<Stats> {
        let loaded = self.loaded()?;
        let mut stats = loaded.engine.as_ref().map(Engine::stats).unwrap_or_default();
        (stats.embedded_inputs, stats.embedded_tokens, stats.embedding_steps) =
            loaded.embedders.counts();
        Ok(stats)
    }

    /// The active requests, oldest first.
    pub fn requests(&self) -> Result<Vec<RequestInfo>> {
        Ok(self.loaded()?.engine.as_ref().map(Engine::requests).unwrap_or_default())
    }

    /// Cancels the requests with this id, like [`Stream::cancel`](crate::Stream::cancel). Returns
    /// whether there are any.
    pub fn cancel_request(&self, id: &str) -> Result<bool> {
        Ok(self.loaded()?.engine.as_ref().is_some_and(|engine| engine.cancel(id)))
    }

    /// The sampling options of a call that sets none: the model's own recommendations, else the
    /// defaults.
    pub fn default_options(&self) -> Result<Value> {
        let loaded = self.loaded()?;
        let sampling = Sampling::resolve(&GenerateOptions::default(), &loaded.defaults.options)?;
        // Converted through text, which has 0.8 where the nearest 32-bit float is
        // 0.800000011920929.
        serde_json::to_string(&sampling.options)
            .and_then(|text| serde_json::from_str(&text))
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
    }

    /// The file that the model was loaded from.
    pub fn path(&self) -> &Path {
        &self.shared.info.path
    }

    /// Context size in tokens, shared by all concurrent requests; for a model that does not
    /// generate, the maximum length of a text; 0 if only the vocabulary was loaded.
    pub fn context_size(&self) -> u32 {
        self.shared.info.context_size
    }

    /// The allocated bytes of weights, KV cache and compute buffers per device; those for
    /// embeddings are included after the first embedding.
    pub fn placement(&self) -> Placement {
        let own = self.shared.info.placement.clone();
        let Ok(loaded) = self.loaded() else { return own };
        loaded.embedders.placements().fold(own, Placement::plus)
    }

    /// Number of layers on GPUs, as reported by the engine; the output layer counts as one.
    pub fn gpu_layers(&self) -> u32 {
        self.shared.info.gpu_layers
    }

    /// Number of layers (blocks), without the output layer.
    pub fn n_layers(&self) -> u32 {
        self.shared.info.n_layers
    }

    /// Size of the vocabulary.
    pub fn n_vocab(&self) -> u32 {
        self.shared.info.n_vocab
    }

    /// Number of dimensions of an embedding.
    pub fn n_embd(&self) -> u32 {
        self.shared.info.n_embd
    }

    /// Number of parameters.
    pub fn n_params(&self) -> u64 {
        self.shared.info.n_params
    }

    /// Size of all tensors in bytes.
    pub fn size(&self) -> u64 {
        self.shared.info.size
    }

    /// The architecture, as the file names it: `llama`, `qwen3`, ...
    pub fn architecture(&self) -> &str {
        &self.shared.info.architecture
    }

    /// The name in the file's metadata.
    pub fn name(&self) -> Option<&str> {
        self.shared.info.name.as_deref()
    }

    /// Architecture, number of parameters and quantisation: `llama 1.2B Q4_K_M`.
    pub fn description(&self) -> &str {
        &self.shared.info.description
    }

    /// The file's metadata as text, without arrays.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.shared.info.metadata
    }

    /// The chat template in use (Jinja).
    pub fn chat_template(&self) -> Option<&str> {
        self.shared.info.chat_template.as_deref()
    }

    /// The tasks that the model supports.
    pub fn capabilities(&self) -> Capabilities {
        self.shared.info.capabilities
    }
}
