//! The settings of an embedding context: its size, and whether memory is available for it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::{Context, ContextSettings, Outputs, Placement, Weights};
use crate::{Result, placement};

/// Maximum number of texts in a batch.
const SEQUENCES: u32 = 128;

/// Everything that is needed to create an embedding context.
#[derive(Clone)]
pub(super) struct EmbeddingContextSpec {
    pub weights: Arc<Weights>,
    /// The model's file, and its stamp when it was loaded.
    file: (PathBuf, String),
    settings: ContextSettings,
    /// Length of the longest accepted input in tokens.
    pub limit: usize,
    /// Number of values per output of the engine: a vector, or the scores of a text.
    pub width: usize,
    /// Batch size in tokens.
    pub batch: usize,
    /// Maximum number of texts that are computed at once.
    pub n_sequences: usize,
    /// Whether an input must be computed in one batch.
    pub needs_single_batch: bool,
    /// Whether the engine pools the tokens of a text itself.
    pub pools_itself: bool,
}

/// The output of a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A vector for each token.
    Tokens,
    /// The classification head's scores for each text.
    Scores,
}

impl EmbeddingContextSpec {
    pub fn new(
        kind: Kind,
        weights: Arc<Weights>,
        file: (PathBuf, String),
        settings: &ContextSettings,
        generates: bool,
        limit: usize,
    ) -> Self {
        let mut settings = settings.clone();
        // Recurrent models need memory for each sequence.
        settings.n_parallel = if weights.has_state() { settings.n_parallel } else { SEQUENCES }
            .min(settings.n_ubatch);
        settings.outputs = match kind {
            Kind::Tokens => Outputs::Embeddings,
            Kind::Scores => Outputs::Scores,
        };
        let width = match kind {
            Kind::Tokens => weights.n_embd(),
            Kind::Scores => weights.n_scores(),
        };
        Self {
            weights,
            file,
            limit,
            width,
            batch: settings.n_ubatch as usize,
            n_sequences: settings.n_parallel as usize,
            needs_single_batch: kind == Kind::Scores || !generates,
            pools_itself: kind == Kind::Scores,
            settings,
        }
    }

    /// The capacity of a context for an input of `needed` tokens. It doubles from the batch size on, so that contexts
    /// are rarely recreated.
    pub fn capacity_for(&self, needed: usize) -> usize {
        let doubled = std::iter::successors(Some(self.batch), |size| Some(size * 2));
        let enough = doubled.take(32).find(|&size| size >= needed);
        enough.unwrap_or(needed).min(self.limit.max(needed))
    }

    fn settings(&self, capacity: usize) -> ContextSettings {
        let mut settings = self.settings.clone();
        let batch = if self.needs_single_batch { capacity.max(self.batch) } else { self.batch };
        // In addition to the longest input, a batch of short ones must fit.
        let cells = if self.needs_single_batch { batch } else { capacity + batch };
        settings.n_ctx = cells as u32;
        settings.n_batch = batch as u32;
        settings.n_ubatch = batch as u32;
        settings
    }

    /// Creates a context for inputs of up to `capacity` tokens, and returns it with its memory. Fails before the engine
    /// allocates anything if memory is insufficient.
    pub fn open(&self, capacity: usize) -> Result<(Context, Placement)> {
        let settings = self.settings(capacity);
        let outputs = self.output_bytes(&settings);
        let (path, stamp) = &self.file;
        // If the file was removed or replaced, there is no dry run; a lack of memory is then an error of the engine.
        if placement::stamp(path) == *stamp {
            placement::check_free_memory(
                path,
                &self.weights.settings,
                &settings,
                outputs,
                "the context for embeddings",
            )?;
        }
        let mut context = Context::new(Arc::clone(&self.weights), &settings)?;
        if settings.warmup.unwrap_or(self.weights.gpu_layers() > 0) {
            // No text is longer than the limit of the model.
            context.warm_up(self.limit, self.n_sequences, true)?;
        }
        let placement = context.placement()?.context_only(outputs);
        Ok((context, placement))
    }

    /// Size in bytes of the engine's output buffer. It also has space for logits, which not every model computes.
    fn output_bytes(&self, settings: &ContextSettings) -> u64 {
        let row = (self.weights.n_vocab() + self.width) as u64;
        row * u64::from(settings.n_batch) * size_of::<f32>() as u64
    }
}
