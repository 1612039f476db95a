//! The context that embeddings are computed in: how large it is, and whether there is memory for it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::{Context, ContextSettings, Outputs, Placement, Weights};
use crate::{Result, placement};

/// Most texts in one batch.
const SEQUENCES: u32 = 128;

/// What a context for embeddings is made of.
#[derive(Clone)]
pub(super) struct Blueprint {
    pub weights: Arc<Weights>,
    /// The model's file, and its stamp when it was loaded.
    file: (PathBuf, String),
    settings: ContextSettings,
    /// Tokens of the longest input that the model takes.
    pub limit: usize,
    /// Numbers in what the engine gives: a vector, or the scores of a text.
    pub width: usize,
    /// Tokens that are packed into one batch.
    pub batch: usize,
    /// Texts that are computed at once.
    pub n_sequences: usize,
    /// Whether an input has to be computed in one batch.
    pub in_one_piece: bool,
    /// Whether the engine makes one vector of a text.
    pub pools_itself: bool,
}

/// What a context is to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A vector for each token.
    Tokens,
    /// The classification head's scores for each text.
    Scores,
}

impl Blueprint {
    pub fn new(
        kind: Kind,
        weights: Arc<Weights>,
        file: (PathBuf, String),
        settings: &ContextSettings,
        generates: bool,
        limit: usize,
    ) -> Self {
        let mut settings = settings.clone();
        // Models that keep a state for each sequence pay for each.
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
            in_one_piece: kind == Kind::Scores || !generates,
            pools_itself: kind == Kind::Scores,
            settings,
        }
    }

    /// The longest input of a context that takes one of this length: contexts grow in few large steps.
    pub fn capacity_for(&self, needed: usize) -> usize {
        let doubled = std::iter::successors(Some(self.batch), |size| Some(size * 2));
        let enough = doubled.take(32).find(|&size| size >= needed);
        enough.unwrap_or(needed).min(self.limit.max(needed))
    }

    fn settings(&self, capacity: usize) -> ContextSettings {
        let mut settings = self.settings.clone();
        let batch = if self.in_one_piece { capacity.max(self.batch) } else { self.batch };
        // Beside the longest, a batch of short ones has room.
        let cells = if self.in_one_piece { batch } else { capacity + batch };
        settings.n_ctx = cells as u32;
        settings.n_batch = batch as u32;
        settings.n_ubatch = batch as u32;
        settings
    }

    /// Makes a context for inputs of up to `capacity` tokens; tells what it takes, too. What there is no
    /// memory for is refused before the engine is asked.
    pub fn open(&self, capacity: usize) -> Result<(Context, Placement)> {
        let settings = self.settings(capacity);
        let outputs = self.output_bytes(&settings);
        let (path, stamp) = &self.file;
        // Where the file is gone, or is another one, the engine alone says what there is no memory for.
        if placement::stamp(path) == *stamp {
            placement::check_room(
                path,
                &self.weights.settings,
                &settings,
                outputs,
                "the context for embeddings",
            )?;
        }
        let mut context = Context::new(Arc::clone(&self.weights), &settings)?;
        if settings.warmup.unwrap_or(self.weights.gpu_layers() > 0) {
            // No text is longer than the model takes.
            context.warm_up(self.limit, self.n_sequences, true)?;
        }
        let placement = context.placement()?.context_alone(outputs);
        Ok((context, placement))
    }

    /// Bytes that the engine takes for outputs: it keeps room for logits too, which not every model has.
    fn output_bytes(&self, settings: &ContextSettings) -> u64 {
        let row = (self.weights.n_vocab() + self.width) as u64;
        row * u64::from(settings.n_batch) * size_of::<f32>() as u64
    }
}
