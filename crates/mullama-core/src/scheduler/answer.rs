//! The partial answer of a request.
//!
//! It is shared by the slot, which extends it, and a watchdog that ends the request if the engine's thread cannot. The
//! first of them to end it creates the last chunk.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::completion::{
    Chunk, Completion, PromptProgress, StopKind, StopReason, Timings, TokenLogprob, Usage,
};
use super::delivery::{Delivery, Event};
use super::text::TextAssembler;
use crate::{CancelToken, Error, Result, Token};

/// Tokens generated faster than this are delivered together: waking the reader costs as much as computing a token of a
/// small model.
const DELIVERY_INTERVAL: Duration = Duration::from_millis(2);

/// Largest number of unread pieces before the request pauses. Pieces come at most every two milliseconds.
const MAX_UNREAD: usize = 512;

/// A partial answer shared between threads.
#[derive(Clone)]
pub(crate) struct SharedAnswer(Arc<Mutex<Answer>>);

impl SharedAnswer {
    pub fn new(answer: Answer) -> Self {
        Self(Arc::new(Mutex::new(answer)))
    }

    pub fn lock(&self) -> MutexGuard<'_, Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A weak reference, which can be upgraded until the request has ended.
    pub(super) fn downgrade(&self) -> WeakAnswer {
        WeakAnswer(Arc::downgrade(&self.0))
    }

    /// Ends the request with an error.
    pub fn refuse(&self, error: Error) {
        let mut answer = self.lock();
        answer.fail(error);
        answer.send_outcome();
    }

    /// Ends the request with the answer so far, if it has not ended yet.
    pub fn end_early(&self) {
        let mut answer = self.lock();
        answer.cancel();
        answer.send_outcome();
    }
}

/// A weak reference to an answer that has not ended.
#[derive(Clone)]
pub(super) struct WeakAnswer(Weak<Mutex<Answer>>);

impl WeakAnswer {
    /// The answer, if the request has not ended.
    pub fn upgrade(&self) -> Option<SharedAnswer> {
        let answer = SharedAnswer(self.0.upgrade()?);
        let has_ended = answer.lock().has_ended;
        (!has_ended).then_some(answer)
    }
}

/// The progress of a request.
#[derive(Clone, Copy)]
pub(super) struct Progress {
    pub submitted: Instant,
    pub has_started: bool,
    pub prompt: PromptProgress,
    pub completion_tokens: u32,
}

/// The partial answer of a request, and its counts and times.
pub(crate) struct Answer {
    events: flume::Sender<Event>,
    delivery: Delivery,
    n_prompt: usize,
    /// Number of prompt tokens that belong to pictures.
    n_image: usize,
    /// Prompt tokens that were reused from the cache.
    pub n_cached: usize,
    /// Number of drafted tokens, and of those accepted.
    pub n_drafted: u32,
    pub n_accepted: u32,
    /// Number of messages and of tokens that were dropped because the context is full.
    pub dropped_messages: u32,
    pub dropped_tokens: u32,
    /// Number of computed prompt tokens.
    n_computed: usize,
    /// The generated tokens.
    tokens: Vec<Token>,
    text: TextAssembler,
    logprobs: Option<Vec<TokenLogprob>>,
    delivered_logprobs: usize,
    delivered: Option<Instant>,
    submitted: Instant,
    cancel: CancelToken,
    /// When the request started running.
    pub started: Option<Instant>,
    first_token: Option<Instant>,
    /// How the request ended, until it is sent to the owner.
    outcome: Option<Result<Box<Chunk>>>,
    has_ended: bool,
}

impl Answer {
    pub fn new(
        events: flume::Sender<Event>,
        delivery: Delivery,
        (n_prompt, n_image): (usize, usize),
        stops: Vec<String>,
        with_logprobs: bool,
        submitted: Instant,
        cancel: CancelToken,
    ) -> Self {
        Self {
            events,
            delivery,
            n_prompt,
            n_image,
            n_cached: 0,
            n_drafted: 0,
            n_accepted: 0,
            dropped_messages: 0,
            dropped_tokens: 0,
            n_computed: 0,
            tokens: Vec::new(),
            text: TextAssembler::new(stops),
            logprobs: with_logprobs.then(Vec::new),
            delivered_logprobs: 0,
            delivered: None,
            submitted,
            cancel,
            started: None,
            first_token: None,
            outcome: None,
            has_ended: false,
        }
    }

    /// Whether the receiver has been dropped.
    pub fn has_no_receiver(&self) -> bool {
        self.events.is_disconnected()
    }

    /// Whether the reader is so far behind that the request should pause.
    pub fn is_reader_behind(&self) -> bool {
        self.events.len() >= MAX_UNREAD
    }

    /// The progress of the request.
    pub(super) fn progress(&self) -> Progress {
        Progress {
            submitted: self.submitted,
            has_started: self.started.is_some(),
            prompt: self.prompt_progress(),
            completion_tokens: self.tokens.len() as u32,
        }
    }

    fn prompt_progress(&self) -> PromptProgress {
        let (total, cached) = (self.n_prompt as u32, self.n_cached as u32);
        PromptProgress { computed: self.n_computed as u32, total, cached }
    }

    /// Records the number of computed prompt tokens, and sends it to the owner if `tell` is set.
    pub fn record_prompt_progress(&mut self, computed: usize, tell: bool) {
        let is_more = computed > std::mem::replace(&mut self.n_computed, computed);
        if tell && is_more && self.delivery == Delivery::Pieces && !self.has_ended {
            let progress = Some(self.prompt_progress());
            let _ =
                self.events.send(Event::Chunk(Box::new(Chunk { progress, ..Chunk::default() })));
        }
    }

    /// Whether a token has been generated.
    pub fn has_begun(&self) -> bool {
        self.first_token.is_some()
    }

    /// Adds a token with its text and log probability. Returns the reason if this completes a stop sequence.
    pub fn add(
        &mut self,
        token: Token,
        piece: &[u8],
        logprob: Option<TokenLogprob>,
    ) -> Option<StopReason> {
        self.first_token.get_or_insert_with(Instant::now);
        self.tokens.push(token);
        if let (Some(logprobs), Some(logprob)) = (&mut self.logprobs, logprob) {
            logprobs.push(logprob);
        }
        let stopped = !piece.is_empty() && self.text.push(piece);
        stopped.then(|| StopReason {
            text: self.text.stopped_by().map(str::to_owned),
            ..StopReason::new(StopKind::StopText)
        })
    }

    /// Delivers new text, unless the last delivery was too recent.
    pub fn deliver_if_due(&mut self) {
        if self.delivered.is_none_or(|last| last.elapsed() >= DELIVERY_INTERVAL) {
            self.deliver();
        }
    }

    /// Delivers new text and log probabilities.
    pub fn deliver(&mut self) {
        if self.delivery == Delivery::Whole || self.has_ended {
            return;
        }
        let text = self.text.take_ready();
        let logprobs = self.logprobs.as_ref().map(|all| &all[self.delivered_logprobs..]);
        if text.is_empty() && logprobs.is_none_or(<[_]>::is_empty) {
            return;
        }
        let chunk = Chunk {
            text: text.to_owned(),
            logprobs: logprobs.map(<[_]>::to_vec),
            ..Chunk::default()
        };
        self.delivered = Some(Instant::now());
        self.delivered_logprobs = self.logprobs.as_ref().map_or(0, Vec::len);
        let _ = self.events.send(Event::Chunk(Box::new(chunk)));
    }

    /// Creates the last chunk.
    pub fn finish(&mut self, stop_reason: StopReason) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        self.text.finish();
        let text = self.text.take_ready().to_owned();
        let logprobs = self.logprobs.as_ref().map(|all| all[self.delivered_logprobs..].to_vec());
        let tokens = std::mem::take(&mut self.tokens);
        let completion = Completion {
            text: std::mem::take(&mut self.text).into_text(),
            finish_reason: stop_reason.finish_reason(),
            stop_reason,
            usage: Usage {
                prompt_tokens: self.n_prompt as u32,
                cached_tokens: self.n_cached as u32,
                image_tokens: self.n_image as u32,
                completion_tokens: tokens.len() as u32,
                reasoning_tokens: 0,
                drafted_tokens: self.n_drafted,
                accepted_tokens: self.n_accepted,
                dropped_messages: self.dropped_messages,
                dropped_tokens: self.dropped_tokens,
            },
            timings: self.timings(tokens.len()),
            tokens,
            logprobs: self.logprobs.take(),
        };
        let completion = Some(completion);
        self.outcome = Some(Ok(Box::new(Chunk { text, logprobs, completion, progress: None })));
    }

    /// Creates the last chunk of a cancelled or expired request.
    pub fn cancel(&mut self) {
        let is_past_deadline = self.cancel.is_past_deadline();
        self.finish(StopReason::new(if is_past_deadline {
            StopKind::Timeout
        } else {
            StopKind::Cancelled
        }));
    }

    /// Ends the request with an error, if it has not ended yet.
    pub fn fail(&mut self, error: Error) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.outcome = Some(Err(error));
        }
    }

    /// Sends the outcome to the owner.
    pub fn send_outcome(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            let _ = self.events.send(Event::Done(outcome));
        }
    }

    fn timings(&self, n_generated: usize) -> Timings {
        let now = Instant::now();
        let ms = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
        let started = self.started.unwrap_or(now);
        let first = self.first_token.unwrap_or(now);
        let (prompt_ms, decode_ms) = (ms(started, first), ms(first, now));
        let rate = |tokens: usize, ms: f64| if ms > 0.0 { tokens as f64 / ms * 1e3 } else { 0.0 };
        Timings {
            queue_ms: ms(self.submitted, started),
            prompt_ms,
            first_token_ms: ms(self.submitted, first),
            total_ms: ms(self.submitted, now),
            prompt_tps: rate(self.n_prompt - self.n_cached, prompt_ms),
            decode_tps: rate(n_generated.saturating_sub(1), decode_ms),
        }
    }
}
