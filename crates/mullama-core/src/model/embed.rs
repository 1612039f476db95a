//! Embeddings and reranking with a model.

use std::sync::Arc;

use super::handle::Model;
use super::loaded::Loaded;
use crate::Result;
use crate::embedding::{self, EmbeddingModel, Embeddings, Pending, Reranking};
use crate::options::{EmbedOptions, Inputs, RerankOptions};

impl Model {
    /// Embeds texts: one or several, each as text or as tokens. The results are in the same order.
    ///
    /// The texts of concurrent calls are batched. A text's vector does not depend on the others,
    /// except for rounding: the contents of a batch may change the last digits.
    ///
    /// Returns [`ErrorKind::ContextOverflow`] for a text that is too long unless `truncate` is set,
    /// [`ErrorKind::OutOfMemory`] if there is not enough memory for the context, and
    /// [`ErrorKind::Unsupported`] if the model cannot embed.
    ///
    /// ```
    /// use mullama_core::{ContextParams, EmbedOptions, Model, ModelParams};
    ///
    /// let model = Model::load("demo", ModelParams::default(), ContextParams::default())?;
    /// let embeddings = model.embed(["Paris", "Tokyo"], &EmbedOptions::default())?;
    /// assert_eq!((embeddings.len(), embeddings.dimensions()), (2, 128));
    /// # Ok::<_, mullama_core::Error>(())
    /// ```
    ///
    /// [`ErrorKind::ContextOverflow`]: crate::ErrorKind::ContextOverflow
    /// [`ErrorKind::OutOfMemory`]: crate::ErrorKind::OutOfMemory
    /// [`ErrorKind::Unsupported`]: crate::ErrorKind::Unsupported
    pub fn embed(&self, inputs: impl Into<Inputs>, options: &EmbedOptions) -> Result<Embeddings> {
        self.start_embed(inputs, options)?.wait()
    }

    /// As [`Model::embed`], without blocking the thread. Dropping the future cancels.
    pub async fn embed_async(
        &self,
        inputs: impl Into<Inputs>,
        options: &EmbedOptions,
    ) -> Result<Embeddings> {
        self.start_embed(inputs, options)?.wait_async().await
    }

    /// Starts the computation that [`Model::embed`] waits for.
    pub fn start_embed(
        &self,
        inputs: impl Into<Inputs>,
        options: &EmbedOptions,
    ) -> Result<Pending<Embeddings>> {
        let loaded = self.loaded()?;
        embedding::start_embed(&embedding_model(&loaded)?, inputs.into(), options)
    }

    /// Sorts documents by how well they answer a query, best first.
    ///
    /// The model must be a reranker: one with a classification head. Query and document are combined by the model's
    /// template (`tokenizer.chat_template.rerank`) if it has one, or else as encoders are trained: the query, a
    /// separator, the document.
    ///
    /// Returns [`ErrorKind::Unsupported`] for other models, [`ErrorKind::ContextOverflow`] for a
    /// document that is too long together with the query unless `truncate` is set, and
    /// [`ErrorKind::OutOfMemory`] if there is not enough memory for the context.
    ///
    /// [`ErrorKind::ContextOverflow`]: crate::ErrorKind::ContextOverflow
    /// [`ErrorKind::OutOfMemory`]: crate::ErrorKind::OutOfMemory
    /// [`ErrorKind::Unsupported`]: crate::ErrorKind::Unsupported
    pub fn rerank(
        &self,
        query: &str,
        documents: &[impl AsRef<str>],
        options: &RerankOptions,
    ) -> Result<Reranking> {
        self.start_rerank(query, documents, options)?.wait()
    }

    /// As [`Model::rerank`], without blocking the thread. Dropping the future cancels.
    pub async fn rerank_async(
        &self,
        query: &str,
        documents: &[impl AsRef<str>],
        options: &RerankOptions,
    ) -> Result<Reranking> {
        self.start_rerank(query, documents, options)?.wait_async().await
    }

    /// Starts the computation that [`Model::rerank`] waits for.
    pub fn start_rerank(
        &self,
        query: &str,
        documents: &[impl AsRef<str>],
        options: &RerankOptions,
    ) -> Result<Pending<Reranking>> {
        let loaded = self.loaded()?;
        embedding::start_rerank(&embedding_model(&loaded)?, query, documents, options)
    }
}

fn embedding_model(loaded: &Arc<Loaded>) -> Result<EmbeddingModel<'_>> {
    Ok(EmbeddingModel {
        vocab: &loaded.vocab,
        embedders: &loaded.embedders,
        adapters: loaded.adapters_of(None)?,
        keep_alive: Arc::clone(loaded) as _,
    })
}
