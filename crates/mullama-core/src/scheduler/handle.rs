//! The handle of a model's scheduler thread.

use std::sync::Arc;

use super::registry::{Registry, RequestInfo};
use super::request::{Command, Job, SavedCells};
use super::scheduler::Scheduler;
use super::stats::Stats;
use crate::engine::{
    AdapterSet, CommandReceiver, Context, ContextSettings, Placement, ServiceThread, Shared, Vocab,
    Weights, closed,
};
use crate::{Error, ErrorKind, Result, Token};
use mullama_base::{Text, check_memory};

/// Properties of a context, known once it has been created.
#[derive(Default)]
pub(crate) struct Started {
    pub n_ctx: u32,
    /// Whether the model can generate; otherwise it only processes complete texts.
    pub can_generate: bool,
    pub placement: Placement,
}

/// A draft model, with the settings of its context.
pub(crate) struct DraftModel {
    pub weights: Arc<Weights>,
    pub settings: ContextSettings,
}

/// The handle of the engine's thread.
pub(crate) struct Engine {
    thread: ServiceThread<Command>,
    requests: Registry,
    stats: Shared<Stats>,
    has_draft: bool,
}

impl Engine {
    /// Starts the thread and creates its context. Returns the context's properties too.
    pub fn start(
        weights: Arc<Weights>,
        vocab: Vocab,
        settings: ContextSettings,
        draft: Option<DraftModel>,
    ) -> Result<(Self, Started)> {
        let has_draft = draft.is_some();
        let (ready, started) = flume::bounded(1);
        let stats = Shared::<Stats>::default();
        let counted = stats.clone();
        let shutdown_timeout = weights.settings.devices.shutdown_timeout();
        let work = move |inbox: CommandReceiver<_>| match prepare(weights, &settings, draft) {
            Ok((context, draft, started)) => {
                let _ = ready.send(Ok(started));
                inbox.run(Scheduler::new(context, &settings, vocab, draft, counted));
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        };
        let thread = ServiceThread::start("mullama-engine", shutdown_timeout, work)?;
        let started = started.recv().unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Internal, "the engine's thread ended while starting"))
        })?;
        Ok((Self { thread, requests: Registry::default(), stats, has_draft }, started))
    }

    /// Whether there is a draft model.
    pub fn has_draft(&self) -> bool {
        self.has_draft
    }

    /// The engine's counters and current load.
    pub fn stats(&self) -> Stats {
        self.stats.read()
    }

    /// Submits a request. Its owner receives the answer through the request's channel.
    ///
    /// `id` identifies the request until it ends. `InvalidArgument` if another active request has it.
    pub fn submit(&self, job: Job, id: Option<String>) -> Result<()> {
        check_memory(0)?;
        self.requests.add(id, &job)?;
        self.thread.send(Command::Run(Box::new(job)))
    }

    /// The requests that have not ended.
    pub fn requests(&self) -> Vec<RequestInfo> {
        self.requests.list()
    }

    /// Cancels the requests with an id. Returns whether there are any.
    pub fn cancel(&self, id: &str) -> bool {
        self.requests.cancel(id)
    }

    /// Saves the cells of the longest prefix of these tokens that is in the KV cache.
    pub fn save(&self, adapters: AdapterSet, tokens: Vec<Token>) -> Result<SavedCells> {
        self.ask(|answer| Command::Save(adapters, tokens, answer))
    }

    /// Restores cells into the KV cache, for requests that start with their tokens.
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
        self.thread.finish();
    }

    /// Cancels all requests, waits for the thread to end and frees the context.
    pub fn stop(&self) {
        self.thread.stop();
        // The thread may still wait for a worker.
        self.requests.end();
    }
}

type Prepared = (Context, Option<Context>, Started);

fn prepare(
    weights: Arc<Weights>,
    settings: &ContextSettings,
    draft: Option<DraftModel>,
) -> Result<Prepared> {
    let (context, mut placement) = ready_context(weights, settings)?;
    let can_generate = context.can_generate();
    let draft = draft.map(|draft| {
        check_drafts(context.can_roll_back() && can_generate, "the model")?;
        let (draft, share) = ready_context(draft.weights, &draft.settings)?;
        check_drafts(draft.can_roll_back() && draft.can_generate(), "the draft model")?;
        placement = std::mem::take(&mut placement).with_draft(&share);
        Ok::<_, Error>(draft)
    });
    let draft = draft.transpose()?;
    let started = Started { n_ctx: context.n_ctx(), can_generate, placement };
    Ok((context, draft, started))
}

/// Creates a context, and warms it up if required.
fn ready_context(
    weights: Arc<Weights>,
    settings: &ContextSettings,
) -> Result<(Context, Placement)> {
    let uses_gpu = weights.gpu_layers() > 0;
    let mut context = Context::new(weights, settings)?;
    if context.can_generate() && settings.warmup.unwrap_or(uses_gpu) {
        context.warm_up(context.n_ctx() as usize, 1, false)?;
    }
    let placement = context.placement()?;
    Ok((context, placement))
}

/// Rejects models that cannot take back wrong guesses.
fn check_drafts(can_roll_back: bool, which: &str) -> Result<()> {
    if can_roll_back {
        return Ok(());
    }
    let message = format!(
        "{which} cannot take back drafted tokens: it has a recurrent state, or does not generate"
    );
    Err(Error::new(ErrorKind::Unsupported, message)
        .with_hint(Text::with_names("load the model without {draft_model}")))
}
