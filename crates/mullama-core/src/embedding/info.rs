//! Properties of a model that determine whether and how it computes embeddings.

use std::path::{Path, PathBuf};

use crate::engine::{ContextSettings, Weights};
use crate::options::Pooling;
use crate::{Error, ErrorKind, placement};
use mullama_gguf::{GgufHeader, TensorInfo};

/// Properties of a model that determine whether and how it computes embeddings.
pub(crate) struct EmbeddingInfo {
    pub path: PathBuf,
    /// Detects that the file was replaced since the model was loaded.
    pub stamp: String,
    /// None if only the vocabulary was loaded.
    pub settings: Option<ContextSettings>,
    pub architecture: String,
    /// Whether the model computes vectors in a single pass, without a separate encoder.
    pub is_plain: bool,
    pub can_generate: bool,
    /// The pooling in the file's metadata.
    pub pooling: Option<Pooling>,
    /// Whether it has a classification head.
    pub has_head: bool,
    /// Length of the longest accepted input in tokens.
    pub limit: usize,
    /// Whether a larger `context_size` would raise the limit.
    pub limit_option: bool,
    pub rerank_template: Option<String>,
}

impl EmbeddingInfo {
    /// Collects the properties while a model is loaded. `context_size` is none for models that do
    /// not generate.
    pub fn new(
        path: &Path,
        header: &GgufHeader,
        settings: Option<ContextSettings>,
        context_size: Option<u32>,
        weights: &Weights,
    ) -> Self {
        let number = |key| placement::number(header, &weights.settings.metadata, key);
        let pooling = Pooling::of_file(number("pooling_type"));
        let wanted = settings.as_ref().map_or(0, |settings| settings.n_ctx);
        // An encoder is not trained on positions beyond this, and may have no embeddings for them.
        let trained = number("context_length").and_then(|count| u32::try_from(count).ok());
        let trained = trained.unwrap_or(wanted);
        let is_head = |tensor: &TensorInfo| tensor.name.starts_with("cls.output.");
        // The header of a split model lists the tensors of one file only.
        let is_split = header.get("split.count").is_some();
        Self {
            path: path.to_owned(),
            stamp: placement::stamp(path),
            architecture: header.text("general.architecture").unwrap_or_default().to_owned(),
            is_plain: weights.is_decoder(),
            can_generate: context_size.is_some(),
            pooling,
            has_head: header.tensors.iter().any(is_head)
                || (is_split && pooling == Some(Pooling::Rank)),
            limit: context_size.unwrap_or(wanted.min(trained)) as usize,
            limit_option: context_size.is_some() || wanted < trained,
            rerank_template: weights.metadata_value("tokenizer.chat_template.rerank"),
            settings,
        }
    }

    /// Whether the model computes embeddings by default.
    pub fn can_embed(&self) -> bool {
        self.settings.is_some() && self.is_plain && self.pooling != Some(Pooling::Rank)
    }

    /// The error for generating with a model that cannot generate.
    pub fn cannot_generate(&self) -> Error {
        let message = if self.settings.is_none() {
            "only the vocabulary of this model was loaded: it cannot generate".to_owned()
        } else {
            format!("models of architecture {} do not generate text", self.architecture)
        };
        Error::new(ErrorKind::Unsupported, message).with_context("path", self.path.display())
    }

    /// Whether the model can score documents.
    pub fn can_rerank(&self) -> bool {
        self.settings.is_some() && self.is_plain && self.has_head
    }
}
