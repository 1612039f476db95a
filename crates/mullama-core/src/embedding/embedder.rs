//! The embedding contexts of a model, created on first use.

use std::sync::{Arc, Mutex, PoisonError};

use super::batch_loop::{BatchLoop, Job, Progress};
use super::blueprint::{EmbeddingContextSpec, Kind};
use super::info::EmbeddingInfo;
use crate::engine::{CommandReceiver, Placement, ServiceThread, Shared, Weights};
use crate::options::Pooling;
use crate::{Error, ErrorKind, Result};
use mullama_base::{Text, check_memory};

/// The embedding contexts of a model.
pub(crate) struct Embedders {
    info: EmbeddingInfo,
    weights: Arc<Weights>,
    tokens: Mutex<Option<Arc<Embedder>>>,
    scores: Mutex<Option<Arc<Embedder>>>,
}

impl Embedders {
    pub fn new(info: EmbeddingInfo, weights: Arc<Weights>) -> Self {
        Self { info, weights, tokens: Mutex::default(), scores: Mutex::default() }
    }

    pub fn info(&self) -> &EmbeddingInfo {
        &self.info
    }

    /// The requested pooling, or that of the model.
    pub fn pooling(&self, asked: Option<Pooling>) -> Result<Pooling> {
        match asked.or(self.info.pooling) {
            Some(Pooling::Rank) if asked.is_none() => {
                let message = "this model scores documents and has no embeddings of single texts";
                Err(self
                    .unsupported(message.to_owned())
                    .with_hint(Text::with_names("use `rerank`, or set {pooling}")))
            }
            chosen => Ok(chosen.unwrap_or(Pooling::Mean)),
        }
    }

    /// Returns the context of a kind; starts its thread on first use.
    pub(super) fn get(&self, kind: Kind) -> Result<Arc<Embedder>> {
        let Some(settings) = &self.info.settings else {
            let message = "only the vocabulary of this model was loaded: it cannot embed";
            return Err(self.unsupported(message.to_owned()));
        };
        if !self.info.is_plain {
            let message = format!(
                "models of architecture {} do not compute embeddings",
                self.info.architecture
            );
            return Err(self.unsupported(message).with_hint(
                "use an encoder-only or decoder-only model, such as bge or Qwen3-Embedding",
            ));
        }
        if kind == Kind::Scores && !self.info.has_head {
            let message = "the model has no classification head: it cannot score documents";
            return Err(self.unsupported(message.to_owned()).with_hint(
                "use a reranker, such as bge-reranker-v2-m3, or compare embeddings of `embed`",
            ));
        }
        let slot = if kind == Kind::Scores { &self.scores } else { &self.tokens };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(embedder) = &*slot {
            return Ok(Arc::clone(embedder));
        }
        let embedder = Arc::new(Embedder::start(EmbeddingContextSpec::new(
            kind,
            Arc::clone(&self.weights),
            (self.info.path.clone(), self.info.stamp.clone()),
            settings,
            self.info.can_generate,
            self.info.limit,
        ))?);
        *slot = Some(Arc::clone(&embedder));
        Ok(embedder)
    }

    fn unsupported(&self, message: String) -> Error {
        Error::new(ErrorKind::Unsupported, message).with_context("path", self.info.path.display())
    }

    fn started(&self) -> impl Iterator<Item = Arc<Embedder>> {
        [&self.tokens, &self.scores]
            .map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .into_iter()
            .flatten()
    }

    /// The number of computed inputs, tokens and batches.
    pub fn counts(&self) -> (u64, u64, u64) {
        self.started().map(|embedder| embedder.progress.read()).fold(
            (0, 0, 0),
            |(inputs, tokens, steps), progress: Progress| {
                (inputs + progress.inputs, tokens + progress.tokens, steps + progress.steps)
            },
        )
    }

    /// The memory of the existing contexts.
    pub fn placements(&self) -> impl Iterator<Item = Placement> {
        self.started().map(|embedder| embedder.progress.read().placement)
    }

    /// Waits until all calls are done, then frees the contexts.
    pub fn finish(&self) {
        self.started().for_each(|embedder| embedder.thread.finish());
    }

    /// Cancels running calls and frees the contexts.
    pub fn stop(&self) {
        self.started().for_each(|embedder| embedder.thread.stop());
    }
}

/// A handle to a thread that computes embeddings.
pub(super) struct Embedder {
    thread: ServiceThread<Box<Job>>,
    progress: Shared<Progress>,
    width: usize,
    limit: usize,
}

impl Embedder {
    fn start(blueprint: EmbeddingContextSpec) -> Result<Self> {
        let (width, limit) = (blueprint.width, blueprint.limit);
        let progress = Shared::<Progress>::default();
        let counted = progress.clone();
        let shutdown_timeout = blueprint.weights.settings.devices.shutdown_timeout();
        let work = move |inbox: CommandReceiver<_>| inbox.run(BatchLoop::new(blueprint, counted));
        Ok(Self {
            thread: ServiceThread::start("mullama-embed", shutdown_timeout, work)?,
            progress,
            width,
            limit,
        })
    }

    /// Number of values per text or token.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Length of the longest accepted input in tokens.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Submits a call. The result is sent through the call's channel.
    pub fn submit(&self, job: Job) -> Result<()> {
        check_memory(0)?;
        self.thread.send(Box::new(job))
    }
}
