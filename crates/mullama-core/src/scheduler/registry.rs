//! The active requests of a model.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::answer::WeakAnswer;
use super::request::Job;
use crate::{CancelToken, Error, Result};

/// An active request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RequestInfo {
    /// Its id, which no other active request of the model has: `request_id`, or else a number.
    pub id: String,
    /// Its state.
    pub state: RequestState,
    /// Its client (`client`).
    pub client: Option<String>,
    /// Its priority.
    pub priority: i32,
    /// Number of prompt tokens.
    pub prompt_tokens: u32,
    /// Prompt tokens processed so far, including those from the cache.
    pub computed_tokens: u32,
    /// Tokens generated so far.
    pub completion_tokens: u32,
    /// Milliseconds since the call.
    pub elapsed_ms: f64,
}

/// The state of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RequestState {
    /// Waiting.
    Waiting,
    /// Its prompt is being processed.
    Prompt,
    /// Generating.
    Generating,
}

impl RequestState {
    /// The name that every language uses: `waiting`, `prompt`, `generating`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Prompt => "prompt",
            Self::Generating => "generating",
        }
    }
}

/// The requests of a model that have not ended.
#[derive(Default)]
pub(super) struct Registry {
    entries: Mutex<Vec<Entry>>,
    named: AtomicU64,
}

struct Entry {
    id: String,
    client: Option<String>,
    priority: i32,
    cancel: CancelToken,
    answer: WeakAnswer,
}

impl Registry {
    /// Adds a request, with its id or a new one. Refuses the id of another request that is still active.
    pub fn add(&self, id: Option<String>, job: &Job) -> Result<()> {
        let mut entries = self.current();
        let is_taken =
            |id: &str| entries.iter().any(|entry| entry.id == id && !entry.cancel.is_cancelled());
        let id = match id {
            Some(id) if is_taken(&id) => {
                let problem = format!("`{id}` is the id of another active request");
                return Err(Error::option("request_id", problem)
                    .with_hint("use another id, or cancel that request first"));
            }
            Some(id) => id,
            None => loop {
                let id = (self.named.fetch_add(1, Ordering::Relaxed) + 1).to_string();
                if !is_taken(&id) {
                    break id;
                }
            },
        };
        entries.push(Entry {
            id,
            client: job.client.clone(),
            priority: job.priority,
            cancel: job.cancel.clone(),
            answer: job.answer.downgrade(),
        });
        Ok(())
    }

    /// All requests, oldest first.
    pub fn list(&self) -> Vec<RequestInfo> {
        let now = Instant::now();
        self.current().iter().filter_map(|entry| entry.info(now)).collect()
    }

    /// Cancels the requests with an id. Returns whether there are any.
    pub fn cancel(&self, id: &str) -> bool {
        let named: Vec<_> = {
            let entries = self.current();
            let named = entries.iter().filter(|entry| entry.id == id);
            named.map(|entry| entry.cancel.clone()).collect()
        };
        named.iter().for_each(CancelToken::cancel);
        !named.is_empty()
    }

    /// Ends all requests with their answers so far.
    pub fn end(&self) {
        let answers: Vec<_> = self.current().iter().map(|it| it.answer.clone()).collect();
        answers.iter().filter_map(WeakAnswer::upgrade).for_each(|answer| answer.end_early());
    }

    fn current(&self) -> MutexGuard<'_, Vec<Entry>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.answer.upgrade().is_some());
        entries
    }
}

impl Entry {
    fn info(&self, now: Instant) -> Option<RequestInfo> {
        let answer = self.answer.upgrade()?;
        let progress = answer.lock().progress();
        let state = match progress {
            progress if progress.completion_tokens > 0 => RequestState::Generating,
            progress if progress.has_started => RequestState::Prompt,
            _ => RequestState::Waiting,
        };
        Some(RequestInfo {
            id: self.id.clone(),
            state,
            client: self.client.clone(),
            priority: self.priority,
            prompt_tokens: progress.prompt.total,
            computed_tokens: progress.prompt.computed,
            completion_tokens: progress.completion_tokens,
            elapsed_ms: now.saturating_duration_since(progress.submitted).as_secs_f64() * 1e3,
        })
    }
}
