//! What the scheduler is told.

use super::answer::SharedAnswer;
use super::banned::Banned;
use super::media_run::MediaRun;
use crate::engine::{AdapterSet, Order, closed};
use crate::options::LogitsProcessors;
use crate::sampling::{Grammar, Sampling};
use crate::{CancelToken, Result, Token};

/// The most tokens of a step that are guessed, each way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Guessed {
    /// Copied from earlier text.
    pub by_lookup: u32,
    /// By the draft model.
    pub by_model: u32,
}

/// A request, with everything settled that the engine needs to run it.
pub(crate) struct Job {
    pub prompt: Vec<Token>,
    /// The pictures in it, in order.
    pub media: Vec<MediaRun>,
    pub sampling: Sampling,
    pub grammar: Option<Grammar>,
    /// The caller's changes to logits.
    pub processors: LogitsProcessors,
    pub banned: Banned,
    pub max_tokens: Option<u32>,
    /// Special tokens whose text is part of the answer, for the chat parser to see.
    pub preserved: Vec<Token>,
    pub logprobs: Option<u32>,
    /// Whether the owner hears of how far the prompt is.
    pub prompt_progress: bool,
    pub guessed: Guessed,
    /// Whether it computes alone, from nothing: what was computed in other company differs in the last bits.
    pub is_alone: bool,
    pub adapters: AdapterSet,
    /// Higher ones have their turn before lower ones.
    pub priority: i32,
    /// Whom the request is for: clients take turns.
    pub client: Option<String>,
    pub answer: SharedAnswer,
    pub cancel: CancelToken,
}

impl Job {
    /// Whether nobody wants it any more.
    pub fn is_given_up(&self) -> bool {
        self.cancel.is_cancelled() || self.answer.lock().is_unheard()
    }
}

/// The cells of the KV cache that were computed from tokens, as the engine writes them out.
pub(crate) struct SavedCells {
    pub adapters: AdapterSet,
    pub tokens: Vec<Token>,
    pub data: Vec<u8>,
}

pub(crate) enum Command {
    Run(Box<Job>),
    /// Asks for the cells of as many of these tokens as are there.
    Save(AdapterSet, Vec<Token>, flume::Sender<Result<SavedCells>>),
    /// Puts cells in place for requests that begin with their tokens.
    Restore(SavedCells, flume::Sender<Result<()>>),
}

impl Order for Command {
    fn refuse(self) {
        // Who asked for something else hears of it as the order is dropped.
        if let Self::Run(job) = self {
            job.answer.refuse(closed());
        }
    }
}
