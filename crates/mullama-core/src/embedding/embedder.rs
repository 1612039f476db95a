//! The contexts for embeddings of one model, each made when it is first needed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::embedding::Pooling;
use crate::embedding::blueprint::{Blueprint, Kind};
use crate::embedding::worker::{Command, Job, Progress, SharedProgress, Worker};
use crate::engine::{ContextSettings, Order, OwnThread, closed};
use crate::params::ModelParams;
use crate::placement::Placement;
use crate::weights::Weights;
use crate::{Error, ErrorKind, Result, planner};
use mullama_gguf::{GgufHeader, TensorInfo};

/// What decides whether and how a model embeds.
pub(crate) struct Facts {
    pub path: PathBuf,
    pub params: ModelParams,
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

impl Facts {
    /// Of a model that is being loaded. `context_size` is that of a model that generates.
    pub fn new(
        (path, header, params, settings): (
            &Path,
            &GgufHeader,
            &ModelParams,
            Option<ContextSettings>,
        ),
        is_plain: bool,
        context_size: Option<u32>,
        weights: &Weights,
    ) -> Self {
        let number = |key| planner::number(header, params, key);
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
            params: params.clone(),
            architecture: header.text("general.architecture").unwrap_or_default().to_owned(),
            is_plain,
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

/// The contexts of a model.
pub(crate) struct Embedders {
    facts: Facts,
    weights: Arc<Weights>,
    tokens: Mutex<Option<Arc<Embedder>>>,
    scores: Mutex<Option<Arc<Embedder>>>,
}

impl Embedders {
    pub fn new(facts: Facts, weights: Arc<Weights>) -> Self {
        Self { facts, weights, tokens: Mutex::default(), scores: Mutex::default() }
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The pooling that was asked for, else the model's.
    pub fn pooling(&self, asked: Option<Pooling>) -> Result<Pooling> {
        match asked.or(self.facts.pooling) {
            Some(Pooling::Rank) if asked.is_none() => {
                let message = "this model scores documents: it has no vectors for texts of its own";
                Err(self
                    .unsupported(message.to_owned())
                    .with_hint("use `rerank`, or set `pooling`"))
            }
            chosen => Ok(chosen.unwrap_or(Pooling::Mean)),
        }
    }

    /// The context of a kind, as far as there is one already: its thread.
    pub(super) fn get(&self, kind: Kind) -> Result<Arc<Embedder>> {
        let Some(settings) = &self.facts.settings else {
            let message = "only the vocabulary of this model was loaded: it cannot embed";
            return Err(self.unsupported(message.to_owned()));
        };
        if !self.facts.is_plain {
            let message =
                format!("models of architecture {} do not embed", self.facts.architecture);
            return Err(self.unsupported(message).with_hint(
                "use a model of encoder or decoder alone, such as bge or Qwen3-Embedding",
            ));
        }
        if kind == Kind::Scores && !self.facts.has_head {
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
        let embedder = Arc::new(Embedder::start(Blueprint::new(
            kind,
            Arc::clone(&self.weights),
            self.facts.path.clone(),
            self.facts.params.clone(),
            settings,
            self.facts.can_generate,
            self.facts.limit,
        ))?);
        *slot = Some(Arc::clone(&embedder));
        Ok(embedder)
    }

    fn unsupported(&self, message: String) -> Error {
        Error::new(ErrorKind::Unsupported, message).with_context("path", self.facts.path.display())
    }

    fn started(&self) -> impl Iterator<Item = Arc<Embedder>> {
        [&self.tokens, &self.scores]
            .map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .into_iter()
            .flatten()
    }

    /// Inputs, tokens and batches that have been computed.
    pub fn counts(&self) -> (u64, u64, u64) {
        self.started().map(|embedder| embedder.progress.read()).fold(
            (0, 0, 0),
            |(inputs, tokens, steps), progress: Progress| {
                (inputs + progress.inputs, tokens + progress.tokens, steps + progress.steps)
            },
        )
    }

    /// What the contexts that there are take.
    pub fn placements(&self) -> impl Iterator<Item = Placement> {
        self.started().map(|embedder| embedder.progress.read().placement)
    }

    /// Waits until all calls are done, and frees the contexts.
    pub fn finish(&self) {
        self.started().for_each(|embedder| embedder.thread.end(Command::Finish));
    }

    /// Cancels what runs and frees the contexts.
    pub fn stop(&self) {
        self.started().for_each(|embedder| embedder.thread.end(Command::Stop));
    }
}

/// The way to the thread that computes embeddings.
pub(super) struct Embedder {
    thread: OwnThread<Command>,
    progress: SharedProgress,
    width: usize,
    limit: usize,
}

impl Embedder {
    fn start(blueprint: Blueprint) -> Result<Self> {
        let (width, limit) = (blueprint.width, blueprint.limit);
        let progress = SharedProgress::default();
        let counted = progress.clone();
        let work = move |inbox| Worker::new(blueprint, inbox, counted).run();
        Ok(Self { thread: OwnThread::start("mullama-embed", work)?, progress, width, limit })
    }

    /// Numbers in what is given for each text or token.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Tokens of the longest input.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Hands a call over; its owner hears of it through the call's channel.
    pub fn submit(&self, job: Job) -> Result<()> {
        self.thread.send(Command::Run(Box::new(job)))
    }
}

impl Order for Command {
    fn stop() -> Self {
        Self::Stop
    }

    fn refuse(self) {
        if let Self::Run(job) = self {
            let _ = job.reply.send(Err(closed()));
        }
    }
}
