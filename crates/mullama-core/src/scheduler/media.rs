//! The pictures of a request.

use std::sync::Arc;

use super::encoder::{Encoder, Encoding};
use super::media_run::MediaRun;
use crate::Result;

/// Parts of pictures that are encoded before the prompt comes to them.
const ENCODE_AHEAD: usize = 2;

/// The pictures of a prompt, with the embeddings of those that come next.
#[derive(Default)]
pub(super) struct Media {
    runs: Vec<(MediaRun, Option<Arc<Encoding>>)>,
}

impl Media {
    pub fn new(runs: Vec<MediaRun>) -> Self {
        Self { runs: runs.into_iter().map(|run| (run, None)).collect() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many tokens come before the next picture, after so many.
    pub fn distance(&self, n_past: usize) -> usize {
        let next = self.runs.iter().find(|(run, _)| run.range().end > n_past);
        next.map_or(usize::MAX, |(run, _)| run.range().start.saturating_sub(n_past))
    }

    /// The last place up to this one that a computation can go on from.
    pub fn floor(&self, place: usize) -> usize {
        let cut = self.runs.iter().find(|(run, _)| run.range().contains(&place) && run.is_whole());
        cut.map_or(place, |(run, _)| run.range().start)
    }

    /// The picture that is computed after so many tokens.
    pub fn at(&self, n_past: usize) -> Option<&(MediaRun, Option<Arc<Encoding>>)> {
        self.runs.iter().find(|(run, _)| run.range().contains(&n_past))
    }

    /// Has the next pictures encoded, and leaves those that are computed to the encoder.
    pub fn request(&mut self, n_past: usize, encoder: &mut Encoder) -> Result<()> {
        let mut ahead = 0;
        for (run, encoding) in &mut self.runs {
            if run.range().end <= n_past {
                if let Some(encoding) = encoding.take() {
                    encoder.keep(run, encoding);
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

/// What the next step is.
pub(super) enum NextStep {
    /// One of tokens.
    Tokens,
    /// One of the picture of the request with this index.
    Picture(usize),
    /// None, until a picture is encoded.
    Wait,
}
