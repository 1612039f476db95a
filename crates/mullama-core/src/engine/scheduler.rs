//! The loop that advances every running request a step at a time.
//!
//! A step computes one token of each request that is generating, and fills the rest of the batch
//! with pieces of prompts, oldest request first. Requests join and leave between steps. All share
//! one pool of KV cells; when it runs short, the youngest request gives its cells up and is computed
//! again later. Nobody fails for want of cells.

use std::collections::VecDeque;

use crate::completion::FinishReason;
use crate::engine::context::{Context, Decoded, SeqId};
use crate::engine::slot::Slot;
use crate::engine::{CancelToken, Command, Event, Job, closed};
use crate::vocab::Vocab;
use crate::{Error, ErrorKind, Result};

/// A request that is not running.
enum Waiting {
    New(Box<Job>),
    /// It ran, and gave its cells up.
    Preempted(Box<Slot>),
}

impl Waiting {
    fn job(&self) -> &Job {
        match self {
            Waiting::New(job) => job,
            Waiting::Preempted(slot) => slot.job(),
        }
    }

    fn n_needed(&self) -> usize {
        match self {
            Waiting::New(job) => job.prompt.len(),
            Waiting::Preempted(slot) => slot.n_needed(),
        }
    }
}

pub(crate) struct Scheduler {
    context: Context,
    vocab: Vocab,
    inbox: flume::Receiver<Command>,
    /// Oldest first.
    running: Vec<Slot>,
    /// Oldest first; those that were pre-empted come before those that never ran.
    waiting: VecDeque<Waiting>,
    free_sequences: Vec<SeqId>,
    n_ctx: usize,
}

impl Scheduler {
    pub fn new(context: Context, vocab: Vocab, inbox: flume::Receiver<Command>) -> Self {
        let free_sequences = (0..context.n_seq_max() as SeqId).rev().collect();
        let n_ctx = context.n_ctx() as usize;
        Self {
            context,
            vocab,
            inbox,
            running: Vec::new(),
            waiting: VecDeque::new(),
            free_sequences,
            n_ctx,
        }
    }

    /// Runs until told to stop, or until nobody is left who could ask for anything.
    pub fn run(mut self) {
        while self.receive() {
            self.drop_cancelled();
            self.admit();
            if let Err(error) = self.step() {
                self.fail_all(&error);
            }
        }
        for slot in &mut self.running {
            slot.finish(FinishReason::Cancelled);
        }
        for waiting in self.waiting.drain(..) {
            let _ = waiting.job().events.send(Event::Done(Err(closed())));
        }
    }

    /// Takes what has arrived; waits where there is nothing else to do. False when it is time to go.
    fn receive(&mut self) -> bool {
        if self.running.is_empty() && self.waiting.is_empty() {
            match self.inbox.recv() {
                Ok(Command::Run(job)) => self.waiting.push_back(Waiting::New(job)),
                Ok(Command::Stop) | Err(_) => return false,
            }
        }
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Run(job)) => self.waiting.push_back(Waiting::New(job)),
                Ok(Command::Stop) | Err(flume::TryRecvError::Disconnected) => return false,
                Err(flume::TryRecvError::Empty) => return true,
            }
        }
    }

    fn drop_cancelled(&mut self) {
        let given_up = |job: &Job| job.cancel.is_cancelled() || job.events.is_disconnected();
        let mut index = 0;
        while index < self.running.len() {
            if given_up(self.running[index].job()) {
                self.running[index].finish(FinishReason::Cancelled);
                self.release(index);
            } else {
                index += 1;
            }
        }
        if !self.waiting.iter().any(|waiting| given_up(waiting.job())) {
            return;
        }
        for waiting in std::mem::take(&mut self.waiting) {
            if !given_up(waiting.job()) {
                self.waiting.push_back(waiting);
                continue;
            }
            let slot = match waiting {
                Waiting::Preempted(slot) => Some(*slot),
                Waiting::New(job) => Slot::start(*job, -1, &self.vocab, self.n_ctx as u32),
            };
            if let Some(mut slot) = slot {
                slot.finish(FinishReason::Cancelled);
            }
        }
    }

    /// Lets waiting requests run while there are sequences, and cells for all that they need now.
    fn admit(&mut self) {
        while let Some(next) = self.waiting.front() {
            let taken: usize = self.running.iter().map(Slot::n_needed).sum();
            let room = taken + next.n_needed() < self.n_ctx || self.running.is_empty();
            let Some(&seq) = self.free_sequences.last().filter(|_| room) else { return };
            let slot = match self.waiting.pop_front().expect("there is a front") {
                Waiting::New(job) => Slot::start(*job, seq, &self.vocab, self.n_ctx as u32),
                Waiting::Preempted(mut slot) => {
                    slot.seq = seq;
                    Some(*slot)
                }
            };
            if let Some(slot) = slot {
                self.free_sequences.pop();
                self.running.push(slot);
            }
        }
    }

    fn step(&mut self) -> Result<()> {
        while !self.running.is_empty() {
            self.fill_batch();
            if self.context.batch().len() > 0 {
                // A step with a piece of a prompt takes long: nobody's text waits for it.
                if self.running.iter().any(|slot| slot.pending_in_batch > 1) {
                    self.running.iter_mut().for_each(Slot::flush);
                }
                let owners: Vec<CancelToken> = self
                    .running
                    .iter()
                    .filter(|slot| slot.pending_in_batch > 0)
                    .map(|slot| slot.job().cancel.clone())
                    .collect();
                match self.context.decode(owners.into_iter())? {
                    Decoded::Done => return self.take_outputs(),
                    // All in the batch were cancelled: they are dropped before the next step.
                    Decoded::Aborted => return Ok(()),
                    Decoded::NoRoom => {}
                }
            }
            // No cells for anyone to go on.
            if self.running.len() > 1 {
                self.preempt_youngest();
            } else {
                let message = format!(
                    "the engine has no room for {} tokens in a context of {}",
                    self.running[0].n_needed(),
                    self.n_ctx
                );
                self.running[0].fail(
                    Error::new(ErrorKind::ContextOverflow, message)
                        .with_hint("load the model with a larger `context_size`"),
                );
                self.release(0);
            }
        }
        Ok(())
    }

    /// Puts into the batch what the next step computes.
    fn fill_batch(&mut self) {
        let generating = self.running.iter().filter(|slot| slot.is_generating()).count();
        while self.cells() + generating > self.n_ctx && self.running.len() > 1 {
            self.preempt_youngest();
        }
        let mut free_cells = self.n_ctx.saturating_sub(self.cells());
        // While others stream, a prompt takes smaller bites, so as not to stall them.
        let mut budget =
            if generating > 0 { self.context.n_ubatch() } else { self.context.n_batch() };
        budget = budget.max(generating);

        self.context.batch().clear();
        // Those that generate come first, and always get their token.
        for first in [true, false] {
            for slot in &mut self.running {
                if slot.is_generating() != first {
                    continue;
                }
                let count = slot.pending().len().min(budget).min(free_cells);
                slot.output = None;
                slot.pending_in_batch = count;
                for offset in 0..count {
                    let last = offset + 1 == slot.pending().len();
                    let (token, position) = (slot.pending()[offset], slot.n_past() + offset);
                    let index = self.context.batch().add(token, position, slot.seq, last);
                    if last {
                        slot.output = Some(index);
                    }
                }
                budget -= count;
                free_cells -= count;
            }
        }
    }

    /// Hands each request the logits that it waits for.
    fn take_outputs(&mut self) -> Result<()> {
        let mut index = 0;
        while index < self.running.len() {
            let slot = &mut self.running[index];
            slot.advance();
            let Some(output) = slot.output.take() else {
                index += 1;
                continue;
            };
            let logits = self.context.logits(output)?;
            let complete =
                slot.take_logits(logits, &self.vocab, self.n_ctx).unwrap_or_else(|error| {
                    slot.fail(error);
                    true
                });
            if complete {
                self.release(index);
            } else {
                index += 1;
            }
        }
        Ok(())
    }

    /// Cells in use.
    fn cells(&self) -> usize {
        self.running.iter().map(Slot::n_past).sum()
    }

    fn preempt_youngest(&mut self) {
        let slot = self.release(self.running.len() - 1);
        log::debug!("a request gave up its {} cells", slot.n_past());
        let mut slot = Box::new(slot);
        slot.flush();
        slot.reset();
        self.waiting.push_front(Waiting::Preempted(slot));
    }

    /// Takes a request out of the running ones, and frees its cells.
    fn release(&mut self, index: usize) -> Slot {
        let slot = self.running.remove(index);
        self.context.forget(slot.seq);
        self.free_sequences.push(slot.seq);
        slot
    }

    /// A step failed: nobody who was in it can go on.
    fn fail_all(&mut self, error: &Error) {
        while let Some(last) = self.running.len().checked_sub(1) {
            self.running[last].fail(error.clone());
            self.release(last);
        }
    }
}
