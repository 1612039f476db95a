//! The pictures of a request.

use std::sync::Arc;

use super::encoder::{Encoder, PendingEmbeddings};
use super::media_run::MediaRun;
use crate::Result;

/// Number of parts of pictures that are encoded ahead of the prompt position.
const ENCODE_AHEAD: usize = 2;

/// The pictures of a prompt, with the embeddings of the next ones.
#[derive(Default)]
pub(super) struct Media {
    runs: Vec<(MediaRun, Option<Arc<PendingEmbeddings>>)>,
}

impl Media {
    pub fn new(runs: Vec<MediaRun>) -> Self {
        Self { runs: runs.into_iter().map(|run| (run, None)).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Number of tokens between position `n_past` and the next picture: 0 inside a picture, `usize::MAX` after the
    /// last one.
    pub fn tokens_until_next(&self, n_past: usize) -> usize {
        let next = self.runs.iter().find(|(run, _)| run.range().end > n_past);
        next.map_or(usize::MAX, |(run, _)| run.range().start.saturating_sub(n_past))
    }

    /// The last position at or before `place` where computation can resume. The inside of a part that must be computed
    /// in one step is excluded.
    pub fn resume_point(&self, place: usize) -> usize {
        let cut = self.runs.iter().find(|(run, _)| run.range().contains(&place) && run.is_whole());
        cut.map_or(place, |(run, _)| run.range().start)
    }

    /// The part of a picture at position `n_past`.
    pub fn at(&self, n_past: usize) -> Option<&(MediaRun, Option<Arc<PendingEmbeddings>>)> {
        self.runs.iter().find(|(run, _)| run.range().contains(&n_past))
    }

    /// Requests the embeddings of the next `ENCODE_AHEAD` parts, and returns those of computed parts to the encoder's
    /// cache.
    pub fn request(&mut self, n_past: usize, encoder: &mut Encoder) -> Result<()> {
        let mut ahead = 0;
        for (run, encoding) in &mut self.runs {
            if run.range().end <= n_past {
                if let Some(encoding) = encoding.take() {
                    encoder.store(run, encoding);
                }
            } else if ahead < ENCODE_AHEAD {
                ahead += 1;
                if encoding.is_none() {
                    *encoding = Some(encoder.request(run)?);
                }
            }
        }
        Ok(())
    }
}

/// What the scheduler computes in its next step.
pub(super) enum NextStep {
    /// A batch of tokens.
    Tokens,
    /// A part of a picture of the running request with this index.
    Picture(usize),
    /// Nothing: the step waits for the encoder.
    Wait,
}
