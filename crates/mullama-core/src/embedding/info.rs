//! What decides whether and how a model embeds.

use std::path::{Path, PathBuf};

use crate::engine::{ContextSettings, Weights};
use crate::options::Pooling;
use crate::{Error, ErrorKind, placement};
use mullama_gguf::{GgufHeader, TensorInfo};

/// What decides whether and how a model embeds.
pub(crate) struct EmbeddingInfo {
    pub path: PathBuf,
    /// What tells that file from one that took its place since.
    pub stamp: String,
    /// None where only the vocabulary was loaded.
    pub settings: Option<ContextSettings>,
    pub architecture: String,
    /// Whether it computes a text's vectors without reading another part of the model first.
    pub is_plain: bool,
    pub can_generate: bool,
    /// What the file says.
    pub pooling: Option<Pooling>,
    /// Whether there is a classification head.
    pub has_head: bool,
    /// Tokens of the longest input.
    pub limit: usize,
    /// Whether a larger `context_size` would raise it.
    pub limit_option: bool,
    pub rerank_template: Option<String>,
}

impl EmbeddingInfo {
    /// Of a model that is being loaded. `context_size` is that of a model that generates.
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
        // An encoder has seen no positions above this one, and may have no vectors for them.
        let trained = number("context_length").and_then(|count| u32::try_from(count).ok());
        let trained = trained.unwrap_or(wanted);
        let is_head = |tensor: &TensorInfo| tensor.name.starts_with("cls.output.");
        // Of a model in several files, this header lists the tensors of one.
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

    /// Whether the model gives vectors of texts where nothing else is asked for.
    pub fn can_embed(&self) -> bool {
        self.settings.is_some() && self.is_plain && self.pooling != Some(Pooling::Rank)
    }

    /// The error of a model that does not generate.
    pub fn cannot_generate(&self) -> Error {
        let message = if self.settings.is_none() {
            "only the vocabulary of this model was loaded: it cannot generate".to_owned()
        } else {
            format!("models of architecture {} do not generate text", self.architecture)
        };
        Error::new(ErrorKind::Unsupported, message).with_context("path", self.path.display())
    }

    /// Whether the model gives scores of documents.
    pub fn can_rerank(&self) -> bool {
        self.settings.is_some() && self.is_plain && self.has_head
    }
}
