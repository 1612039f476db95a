//! The engine: one thread owns a context and runs every request, many at a time.
//!
//! [`context`] wraps the engine's context, [`slot`] is one request under way, [`scheduler`] the loop
//! that advances all of them a step at a time. Everyone else talks to the loop through [`Engine`].

mod bench;
mod context;
mod exit;
mod host_cache;
mod lookup;
mod pace;
mod prefix;
mod scheduler;
mod slot;
mod stats;
mod thread;

use std::sync::Arc;
use std::time::Instant;

pub(crate) use bench::Bench;
pub(crate) use context::{Context, ContextSettings, Decoded, Outputs};
pub use exit::shut_down;
pub use stats::Stats;
pub(crate) use thread::{Order, OwnThread};

use crate::adapter::AdapterSet;
use crate::completion::Chunk;
use crate::placement::Placement;
use crate::sampling::{Grammar, Sampling};
use crate::vocab::Vocab;
use crate::weights::Weights;
use crate::{CancelToken, Error, ErrorKind, Result, Token};
use scheduler::Scheduler;
use stats::SharedStats;

/// What the engine tells a request's owner.
pub(crate) enum Event {
    /// A piece of the answer.
    Chunk(Box<Chunk>),
    /// The last piece, or why there is none.
    Done(Result<Box<Chunk>>),
}

/// How much of an answer its owner hears of while it is being generated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Pieces as they come.
    Pieces,
    /// The whole, at the end.
    #[default]
    Whole,
}

/// A request, with everything settled that the engine needs to run it.
pub(crate) struct Job {
    pub prompt: Vec<Token>,
    pub sampling: Sampling,
    pub grammar: Option<Grammar>,
    pub max_tokens: Option<u32>,
    pub stops: Vec<String>,
    /// Special tokens whose text is part of the answer, for the chat parser to see.
    pub preserved: Vec<Token>,
    pub logprobs: Option<u32>,
    /// Most tokens to guess ahead.
    pub prompt_lookup: u32,
    pub adapters: AdapterSet,
    pub delivery: Delivery,
    pub events: flume::Sender<Event>,
    pub cancel: CancelToken,
    pub submitted: Instant,
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
    /// Ends the thread when all that it has been given is done.
    Finish,
    /// Ends the thread: running requests are cancelled.
    Stop,
}

impl Order for Command {
    fn stop() -> Self {
        Self::Stop
    }

    fn refuse(self) {
        // Who asked for something else hears of it as the order is dropped.
        if let Self::Run(job) = self {
            let _ = job.events.send(Event::Done(Err(closed())));
        }
    }
}

/// What is known of a context once it has been made.
#[derive(Default)]
pub(crate) struct Started {
    pub n_ctx: u32,
    /// Whether the model continues texts; else it only looks at whole ones.
    pub can_generate: bool,
    pub placement: Placement,
}

/// The way to the engine's thread.
pub(crate) struct Engine {
    thread: OwnThread<Command>,
    stats: SharedStats,
}

impl Engine {
    /// Starts the thread and its context; tells of the context too.
    pub fn start(
        weights: Arc<Weights>,
        vocab: Vocab,
        settings: ContextSettings,
    ) -> Result<(Self, Started)> {
        let (ready, started) = flume::bounded(1);
        let stats = SharedStats::default();
        let counted = stats.clone();
        let thread =
            OwnThread::start("mullama-engine", move |inbox| match prepare(weights, &settings) {
                Ok((context, started)) => {
                    let _ = ready.send(Ok(started));
                    Scheduler::new(context, &settings, vocab, inbox, counted).run();
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            })?;
        let started = started.recv().unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Internal, "the engine's thread ended while starting"))
        })?;
        Ok((Self { thread, stats }, started))
    }

    /// What the engine has done so far, and what it is at.
    pub fn stats(&self) -> Stats {
        self.stats.read()
    }

    /// Hands a request over; its owner hears of it through the request's channel.
    pub fn submit(&self, job: Job) -> Result<()> {
        self.thread.send(Command::Run(Box::new(job)))
    }

    /// The cells of the longest beginning of these tokens that is in the KV cache.
    pub fn save(&self, adapters: AdapterSet, tokens: Vec<Token>) -> Result<SavedCells> {
        self.ask(|answer| Command::Save(adapters, tokens, answer))
    }

    /// Puts cells into the KV cache, for requests that begin with their tokens.
    pub fn restore(&self, cells: SavedCells) -> Result<()> {
        self.ask(|answer| Command::Restore(cells, answer))
    }

    fn ask<T>(&self, question: impl FnOnce(flume::Sender<Result<T>>) -> Command) -> Result<T> {
        let (answer, answered) = flume::bounded(1);
        self.thread.send(question(answer))?;
        answered.recv().unwrap_or_else(|_| Err(closed()))
    }

    /// Waits until all requests are done and the thread has ended, and frees the context.
    pub fn finish(&self) {
        self.thread.end(Command::Finish);
    }

    /// Cancels what runs, waits for the thread to end and frees the context.
    pub fn stop(&self) {
        self.thread.end(Command::Stop);
    }
}

fn prepare(weights: Arc<Weights>, settings: &ContextSettings) -> Result<(Context, Started)> {
    let uses_gpu = weights.offloaded.0 > 0;
    let mut context = Context::new(weights, settings)?;
    let can_generate = context.can_generate();
    if can_generate && settings.warmup.unwrap_or(uses_gpu) {
        context.warm_up()?;
    }
    let (n_ctx, placement) = (context.n_ctx(), context.placement()?);
    let started = Started { n_ctx, can_generate, placement };
    Ok((context, started))
}

/// What a context of these settings would put where, on weights that are only pretended; `looked_up` bytes
/// of them are tables in which rows are looked up.
///
/// The engine reserves buffers for a full step, and for one in which each sequence has one token; what it keeps
/// is the larger of both for each device. Where it only pretends, it measures the first (`sched_reserve` in
/// llama-context.cpp), so the second is made the full step of another context. That matters where weights
/// that lie on the processor are computed with on a GPU, which is done for many tokens alone: not where
/// the processor has nothing but tables.
pub(crate) fn dry_run(
    weights: Arc<Weights>,
    settings: &ContextSettings,
    looked_up: u64,
) -> Result<Placement> {
    /// What alignment adds to two tables at most.
    const ALIGNED: u64 = 160;
    let full = Context::new(Arc::clone(&weights), settings)?;
    let placement = full.planned_placement()?;
    let each = full.n_seq_max() as u32;
    drop(full);
    let has_only_tables = placement.host_weights() <= looked_up + ALIGNED;
    if has_only_tables || weights.devices_in_order.is_empty() || each >= settings.n_ubatch {
        return Ok(placement);
    }
    let settings = ContextSettings { n_ubatch: each, ..settings.clone() };
    Ok(placement.with_compute_of(&Context::new(weights, &settings)?.planned_placement()?))
}

/// The error of a model that has been closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the model has been closed")
}
