//! The loop that advances every running request a step at a time.
//!
//! A step computes one token of each request that is generating, and fills the rest of the batch
//! with pieces of prompts, oldest request first. Requests join and leave between steps. All share
//! one pool of KV cells, and what several begin with is computed once ([`PrefixCache`]). When cells run
//! short, what is kept for the future goes first; then the youngest request gives its cells up and is
//! computed again later. Nobody fails for want of cells.

use std::collections::VecDeque;
use std::time::Instant;

use crate::completion::FinishReason;
use crate::engine::context::{Context, ContextSettings, Decoded};
use crate::engine::pace::Pace;
use crate::engine::prefix::{Cells as _, PrefixCache};
use crate::engine::slot::Slot;
use crate::engine::stats::SharedStats;
use crate::engine::{CancelToken, Command, Event, Job, Stats, closed};
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

/// What becomes of the cells of a request that stops running.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cells {
    /// They may serve others.
    Keep,
    /// What is in them is not to be relied on.
    Free,
}

pub(crate) struct Scheduler {
    context: Context,
    vocab: Vocab,
    inbox: flume::Receiver<Command>,
    /// Oldest first.
    running: Vec<Slot>,
    /// Oldest first; those that were pre-empted come before those that never ran.
    waiting: VecDeque<Waiting>,
    prefixes: PrefixCache,
    pace: Pace,
    n_parallel: usize,
    n_ctx: usize,
    stats: Stats,
    shared_stats: SharedStats,
}

impl Scheduler {
    pub fn new(
        context: Context,
        settings: &ContextSettings,
        vocab: Vocab,
        inbox: flume::Receiver<Command>,
        shared_stats: SharedStats,
    ) -> Self {
        let n_ctx = context.n_ctx() as usize;
        let limit = n_ctx.min(settings.prefix_cache as usize);
        let prefixes = PrefixCache::new(context.n_seq_max(), context.can_share(), limit);
        Self {
            context,
            vocab,
            inbox,
            running: Vec::new(),
            waiting: VecDeque::new(),
            prefixes,
            pace: Pace::new(f64::from(settings.max_stall)),
            n_parallel: settings.n_parallel as usize,
            n_ctx,
            stats: Stats::default(),
            shared_stats,
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
            self.tell_stats();
        }
        for slot in &mut self.running {
            slot.finish(FinishReason::Cancelled);
            slot.tell_outcome();
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
                self.release(index, Cells::Keep);
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
            self.stats.finished += 1;
            let slot = match waiting {
                Waiting::Preempted(slot) => Some(*slot),
                Waiting::New(job) => Slot::start(*job, -1, &self.vocab, self.n_ctx as u32),
            };
            if let Some(mut slot) = slot {
                slot.finish(FinishReason::Cancelled);
                slot.tell_outcome();
            }
        }
    }

    /// Lets waiting requests run while there are sequences, and cells for all that they need now.
    fn admit(&mut self) {
        while let Some(next) = self.waiting.front() {
            if self.running.len() >= self.n_parallel {
                return;
            }
            let pending: usize = self.running.iter().map(|slot| slot.pending().len()).sum();
            let taken = self.prefixes.used() - self.prefixes.kept() + pending;
            if !self.running.is_empty() && taken + next.n_needed() >= self.n_ctx {
                return;
            }
            let Some(seq) = self.prefixes.open(&mut self.context) else { return };
            let slot = match self.waiting.pop_front().expect("there is a front") {
                Waiting::New(job) => Slot::start(*job, seq, &self.vocab, self.n_ctx as u32),
                Waiting::Preempted(mut slot) => {
                    slot.seq = seq;
                    Some(*slot)
                }
            };
            let Some(mut slot) = slot else {
                self.stats.finished += 1;
                self.prefixes.close(&mut self.context, seq);
                continue;
            };
            if slot.computes_alone() {
                slot.start_at(0);
            } else {
                slot.start_at(self.prefixes.adopt(&mut self.context, seq, slot.beginning()));
                slot.follows = self.leader(&slot);
            }
            self.running.push(slot);
        }
    }

    /// The running request that is about to compute more of what a new one begins with than there is, and
    /// how many tokens the two share.
    fn leader(&self, slot: &Slot) -> Option<(crate::engine::context::SeqId, usize)> {
        if !self.context.can_share() {
            return None;
        }
        let shared = |other: &Slot| {
            let pairs = other.known().iter().zip(slot.beginning());
            (other.seq, pairs.take_while(|(a, b)| a == b).count())
        };
        let leaders = self.running.iter().filter(|other| other.is_in_prompt()).map(shared);
        leaders.max_by_key(|(_, length)| *length).filter(|(_, length)| *length > slot.n_past())
    }

    /// Where a request waits for another that has computed what they share, or is gone, it goes on.
    fn follow(&mut self) {
        for index in 0..self.running.len() {
            let Some((leader, length)) = self.running[index].follows else { continue };
            let leads = |slot: &Slot| slot.seq == leader && slot.n_past() < length;
            if self.running.iter().any(leads) {
                continue;
            }
            let slot = &mut self.running[index];
            slot.follows = None;
            slot.start_at(self.prefixes.adopt(&mut self.context, slot.seq, slot.beginning()));
        }
    }

    fn step(&mut self) -> Result<()> {
        while !self.running.is_empty() {
            self.fill_batch();
            if self.context.batch().len() > 0 {
                let prompt_tokens: usize = self
                    .running
                    .iter()
                    .filter(|slot| !slot.is_generating())
                    .map(|slot| slot.pending_in_batch)
                    .sum();
                let generating = self.running.iter().any(Slot::is_generating);
                // A step with a piece of a prompt takes long: nobody's text waits for it.
                if prompt_tokens > 0 {
                    self.running.iter_mut().for_each(Slot::flush);
                }
                let owners: Vec<CancelToken> = self
                    .running
                    .iter()
                    .filter(|slot| slot.pending_in_batch > 0)
                    .map(|slot| slot.job().cancel.clone())
                    .collect();
                let start = Instant::now();
                match self.context.decode(owners.into_iter())? {
                    Decoded::Done => {
                        self.pace.note(generating, prompt_tokens, start.elapsed());
                        self.stats.steps += 1;
                        return self.take_outputs();
                    }
                    Decoded::Aborted => {
                        self.undo_batch();
                        // All in the batch were cancelled: they are dropped before the next step.
                        return Ok(());
                    }
                    Decoded::NoRoom => self.undo_batch(),
                }
            }
            // No cells for anyone to go on.
            let kept = self.prefixes.kept();
            if kept > 0 {
                self.prefixes.evict(&mut self.context, kept);
            } else if self.running.len() > 1 {
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
                self.release(0, Cells::Free);
            }
        }
        Ok(())
    }

    /// What was in the batch has not been computed, or only in part.
    fn undo_batch(&mut self) {
        for slot in &mut self.running {
            if std::mem::take(&mut slot.pending_in_batch) > 0 {
                slot.output = None;
                self.context.trim(slot.seq, slot.n_past());
            }
        }
    }

    /// Puts into the batch what the next step computes.
    fn fill_batch(&mut self) {
        self.follow();
        let generating = self.running.iter().filter(|slot| slot.is_generating()).count();
        loop {
            let missing = (self.prefixes.used() + generating).saturating_sub(self.n_ctx);
            self.prefixes.evict(&mut self.context, missing);
            if self.prefixes.used() + generating <= self.n_ctx || self.running.len() == 1 {
                break;
            }
            self.preempt_youngest();
        }
        // While others stream, a prompt takes smaller bites, so as not to stall them.
        let budget = if generating > 0 { self.pace.prompt_tokens() } else { usize::MAX };
        let mut budget =
            budget.min(self.context.n_batch().saturating_sub(generating)).max(1) + generating;

        let wanted: usize = self
            .running
            .iter()
            .filter(|slot| slot.follows.is_none())
            .map(|slot| slot.pending().len())
            .sum();
        let wanted = wanted.min(budget);
        let missing = (self.prefixes.used() + wanted).saturating_sub(self.n_ctx);
        self.prefixes.evict(&mut self.context, missing);
        let mut free_cells = self.n_ctx.saturating_sub(self.prefixes.used());

        self.context.batch().clear();
        // Those that generate come first, and always get their token.
        for first in [true, false] {
            for slot in &mut self.running {
                if slot.is_generating() != first {
                    continue;
                }
                slot.output = None;
                slot.pending_in_batch = 0;
                if slot.follows.is_some() {
                    continue;
                }
                let count = slot.pending().len().min(budget).min(free_cells);
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
        for slot in &mut self.running {
            let seq = slot.seq;
            self.prefixes.extend(seq, slot.advance());
        }
        let mut index = 0;
        while index < self.running.len() {
            let slot = &mut self.running[index];
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
                self.release(index, Cells::Keep);
            } else {
                index += 1;
            }
        }
        Ok(())
    }

    fn preempt_youngest(&mut self) {
        let last = self.running.len() - 1;
        log::debug!("a request gives up its {} cells", self.running[last].n_past());
        let mut slot = Box::new(self.take_out(last, Cells::Keep));
        self.stats.preemptions += 1;
        slot.flush();
        slot.reset();
        self.waiting.push_front(Waiting::Preempted(slot));
    }

    /// Takes a request that is done out of the running ones.
    fn release(&mut self, index: usize, cells: Cells) {
        let (prompt, cached, generated) = self.running[index].counts();
        self.stats.prompt_tokens += prompt as u64;
        self.stats.cached_tokens += cached as u64;
        self.stats.completion_tokens += generated as u64;
        self.stats.finished += 1;
        let mut slot = self.take_out(index, cells);
        // Whoever hears of it may ask for the numbers at once.
        self.tell_stats();
        slot.tell_outcome();
    }

    fn take_out(&mut self, index: usize, cells: Cells) -> Slot {
        let slot = self.running.remove(index);
        match cells {
            Cells::Keep => self.prefixes.keep(&mut self.context, slot.seq),
            Cells::Free => self.prefixes.close(&mut self.context, slot.seq),
        }
        slot
    }

    /// A step failed: nobody who was in it can go on, and nothing that was computed is relied on.
    fn fail_all(&mut self, error: &Error) {
        while let Some(last) = self.running.len().checked_sub(1) {
            self.running[last].fail(error.clone());
            self.release(last, Cells::Free);
        }
        let kept = self.prefixes.kept();
        self.prefixes.evict(&mut self.context, kept);
        self.context.clear();
    }

    fn tell_stats(&mut self) {
        self.stats.running = self.running.len() as u32;
        self.stats.waiting = self.waiting.len() as u32;
        self.stats.kv_used = self.prefixes.used() as u32;
        // While anyone runs, counting what is kept would be paid for with every token.
        self.stats.kv_kept = if self.running.is_empty() { self.stats.kv_used } else { 0 };
        self.stats.evicted_tokens = self.prefixes.counters.evicted;
        self.shared_stats.write(self.stats);
    }
}
