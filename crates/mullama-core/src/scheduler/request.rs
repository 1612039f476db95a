//! Requests and commands for the scheduler.

use super::answer::SharedAnswer;
use super::banned::Banned;
use super::media_run::MediaRun;
use crate::engine::{AdapterSet, ServiceCommand, closed};
use crate::options::LogitsProcessors;
use crate::sampling::{Grammar, Sampling};
use crate::{CancelToken, Result, Token};

/// Largest number of guessed tokens per step, by method.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MaxGuesses {
    /// Copied from earlier text.
    pub by_lookup: u32,
    /// Made by the draft model.
    pub by_model: u32,
}

/// A request, with everything that the engine needs to run it.
pub(crate) struct Job {
    pub prompt: Vec<Token>,
    /// The pictures in the prompt, in order.
    pub media: Vec<MediaRun>,
    pub sampling: Sampling,
    pub grammar: Option<Grammar>,
    /// The caller's changes to logits.
    pub processors: LogitsProcessors,
    pub banned: Banned,
    pub max_tokens: Option<u32>,
    /// Whether the oldest tokens are dropped when the context is full, so that the answer can continue.
    pub shifts: bool,
    /// Special tokens whose text is part of the answer, for the chat parser.
    pub preserved: Vec<Token>,
    pub logprobs: Option<u32>,
    /// Whether the owner receives the progress of the prompt.
    pub prompt_progress: bool,
    pub max_guesses: MaxGuesses,
    /// Whether it runs alone, and starts with an empty cache: batching and cached cells change the last bits of
    /// results.
    pub is_alone: bool,
    pub adapters: AdapterSet,
    /// Requests with a higher priority run before those with a lower one.
    pub priority: i32,
    /// The client of the request; clients take turns.
    pub client: Option<String>,
    pub answer: SharedAnswer,
    pub cancel: CancelToken,
}

impl Job {
    /// Whether it was cancelled, or its receiver was dropped.
    pub fn is_abandoned(&self) -> bool {
        self.cancel.is_cancelled() || self.answer.lock().has_no_receiver()
    }
}

/// Cells of the KV cache, in the engine's format, with the tokens that they were computed from.
pub(crate) struct SavedCells {
    pub adapters: AdapterSet,
    pub tokens: Vec<Token>,
    pub data: Vec<u8>,
}

pub(crate) enum Command {
    Run(Box<Job>),
    /// Saves the cells of the longest prefix of these tokens that is in the KV cache.
    Save(AdapterSet, Vec<Token>, flume::Sender<Result<SavedCells>>),
    /// Restores cells for requests that start with their tokens.
    Restore(SavedCells, flume::Sender<Result<()>>),
}

impl ServiceCommand for Command {
    fn refuse(self) {
        // For other commands, dropping the sender notifies the caller.
        if let Self::Run(job) = self {
            job.answer.refuse(closed());
        }
    }
}
