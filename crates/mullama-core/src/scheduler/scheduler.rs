//! The loop that advances every running request a step at a time.
//!
//! A step computes one token of each generating request, and fills the rest of the batch with parts
//! of prompts, oldest request first. Requests join and leave between steps. All share one pool of
//! KV cells, and common prefixes are computed once ([`PrefixCache`]). When cells run out, cached
//! tokens are evicted first; then the youngest request is preempted and recomputed later. No
//! request fails for lack of cells.
//!
//! The engine computes a step with one set of adapters. If requests have different ones, the sets take turns.

use std::time::{Duration, Instant};

use super::drafter::{DraftRequest, Drafter};
use super::encoder::Encoder;
use super::host_cache::{MIN_CACHED_TOKENS, TieredContext};
use super::media::NextStep;
use super::prefill_budget::PrefillBudget;
use super::prefix::{KvCells as _, PrefixCache};
use super::queue::{Queue, QueuedRequest};
use super::request::Command;
use super::slot::{SamplingOutcome, Slot};
use super::stats::Stats;
use crate::engine::{
    AdapterSet, Context, ContextSettings, Decoded, SeqId, ServiceLoop, Shared, Sharing, Vocab,
    closed,
};
use crate::sampling::{are_valid_logits, invalid_logits};
use crate::{CancelToken, Error, ErrorKind, Result};
use mullama_base::Text;

/// Number of steps with one set of adapters before the next has its turn: the engine plans its buffers again after each
/// change.
const STEPS_PER_ADAPTER: u32 = 4;

/// How often to check whether a reader has caught up when there is no other work.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// What happens to the cells of a request that stops running.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retention {
    /// They are cached for other requests.
    Keep,
    /// They are freed, because their contents may be invalid.
    Free,
}

pub(crate) struct Scheduler {
    pub(super) context: TieredContext,
    pub(super) vocab: Vocab,
    /// Oldest first.
    pub(super) running: Vec<Slot>,
    waiting: Queue,
    /// Requests that wait for their readers and have released their sequences.
    paused: Vec<Slot>,
    /// Largest number of waiting requests.
    max_queue: usize,
    pub(super) prefixes: PrefixCache,
    pub(super) prefill_budget: PrefillBudget,
    /// The current set of adapters, and the number of its remaining steps.
    pub(super) turn: (AdapterSet, u32),
    /// Whether the last step computed a picture.
    pub(super) picture_had_turn: bool,
    n_parallel: usize,
    pub(super) n_ctx: usize,
    /// Tokens between checkpoints, if memory cannot be truncated; 0 makes none.
    pub(super) checkpoint_every: usize,
    /// Whether the cells of wrong guesses can be removed.
    can_guess: bool,
    /// The draft model, if any.
    drafter: Option<Drafter>,
    pub(super) stats: Stats,
    shared_stats: Shared<Stats>,
    // Dropped after the requests, which use it.
    pub(super) encoder: Encoder,
}

impl Scheduler {
    pub fn new(
        context: Context,
        settings: &ContextSettings,
        vocab: Vocab,
        draft: Option<Context>,
        shared_stats: Shared<Stats>,
    ) -> Self {
        let n_ctx = context.n_ctx() as usize;
        let limit = n_ctx.min(settings.prefix_cache as usize);
        let sharing = context.sharing();
        let can_guess = context.can_roll_back();
        let prefixes = PrefixCache::new(context.n_seq_max(), sharing, limit);
        Self {
            context: TieredContext::new(context, settings.cache_ram),
            vocab,
            running: Vec::new(),
            waiting: Queue::default(),
            paused: Vec::new(),
            max_queue: settings.max_queue as usize,
            prefixes,
            prefill_budget: PrefillBudget::new(f64::from(settings.max_stall)),
            turn: (AdapterSet::default(), STEPS_PER_ADAPTER),
            picture_had_turn: false,
            n_parallel: settings.n_parallel as usize,
            n_ctx,
            checkpoint_every: settings.checkpoint_every as usize,
            can_guess,
            drafter: draft.map(|context| Drafter::new(context, settings)),
            stats: Stats::default(),
            shared_stats,
            encoder: Encoder::default(),
        }
    }

    /// Starts waiting requests while there are sequences, and cells for all that they need now.
    fn admit(&mut self) {
        self.pause_unread();
        while self.running.len() < self.n_parallel
            && !self.running.iter().any(|slot| slot.job().is_alone)
            && let Some(place) = self.waiting.next(self.running.iter().map(Slot::job))
        {
            let next = self.waiting.at(place);
            let pending: usize = self.running.iter().map(|slot| slot.pending().len()).sum();
            let taken = self.prefixes.used() - self.prefixes.evictable() + pending;
            if !self.running.is_empty() && taken + next.n_needed() >= self.n_ctx {
                return;
            }
            if next.job().is_alone {
                if !self.running.is_empty() {
                    return;
                }
                // The cells of a sequence determine the order in which attention adds, and so the last bits of its
                // results.
                self.prefixes.evict(&mut self.context, usize::MAX);
            }
            let adapters = &next.job().adapters;
            let Some(seq) = self.prefixes.open(&mut self.context, adapters) else { return };
            let slot = match self.waiting.take(place) {
                QueuedRequest::New(job) => Slot::start(*job, seq, &self.vocab, self.n_ctx as u32),
                QueuedRequest::Preempted(mut slot) => {
                    slot.seq = seq;
                    Some(*slot)
                }
            };
            let Some(mut slot) = slot else {
                self.stats.finished += 1;
                self.prefixes.close(&mut self.context, seq);
                continue;
            };
            if slot.job().is_alone {
                slot.start_at(0);
            } else {
                self.plan_checkpoints(&mut slot);
                slot.start_at(self.reuse(&slot));
                slot.awaits_prefix_of = self.prefix_owner(&slot);
            }
            if let Some((owner, length)) = slot.awaits_prefix_of
                && self.prefixes.sharing() == Sharing::Checkpoints
                && let Some(owner) = self.running.iter_mut().find(|other| other.seq == owner)
            {
                owner.stop_at(length);
            }
            self.running.push(slot);
        }
    }

    /// Pauses requests whose readers are far behind, and resumes those whose readers have caught up. Paused requests
    /// release their sequences if others are waiting.
    fn pause_unread(&mut self) {
        for slot in &mut self.running {
            let is_reader_behind = slot.job().answer.lock().is_reader_behind();
            slot.is_paused = is_reader_behind;
        }
        let (back, paused) = std::mem::take(&mut self.paused)
            .into_iter()
            .partition::<Vec<_>, _>(|slot| !slot.job().answer.lock().is_reader_behind());
        self.paused = paused;
        for slot in back {
            self.waiting.requeue(slot);
        }
        while !self.waiting.is_empty()
            && let Some(index) = self.running.iter().position(|slot| slot.is_paused)
        {
            let mut slot = self.stop_running(index, Retention::Keep);
            slot.reset();
            self.paused.push(slot);
        }
    }

    /// The error that rejects one more request, if the queue is full.
    fn refusal(&self) -> Option<Error> {
        let (running, waiting) = (self.running.len(), self.waiting.len());
        // Some of the waiting requests start in the next step.
        let free = self.n_parallel.saturating_sub(running);
        if waiting < self.max_queue.saturating_add(free) {
            return None;
        }
        let message = format!("the queue is full: {running} running, {waiting} waiting");
        Some(
            Error::new(ErrorKind::Busy, message)
                .with_context("running", running)
                .with_context("waiting", waiting)
                .with_context("max_queue", self.max_queue)
                .with_hint(Text::with_names(
                    "try again later, or load the model with a larger {max_queue} or {n_parallel}",
                )),
        )
    }

    /// The running request that will compute the longest common prefix with a new one, beyond what is available, and
    /// the prefix's length.
    fn prefix_owner(&self, slot: &Slot) -> Option<(SeqId, usize)> {
        let worthwhile = match self.prefixes.sharing() {
            Sharing::None => return None,
            Sharing::Checkpoints => MIN_CACHED_TOKENS,
            Sharing::Any => 1,
        };
        let shared = |other: &Slot| {
            let pairs = other.known().iter().zip(slot.beginning());
            (other.seq, pairs.take_while(|(a, b)| a == b).count())
        };
        let leads =
            |other: &&Slot| other.is_in_prompt() && other.job().adapters == slot.job().adapters;
        let leaders = self.running.iter().filter(leads).map(shared);
        let least = slot.n_past() + worthwhile;
        leaders.max_by_key(|(_, length)| *length).filter(|(_, length)| *length >= least)
    }

    /// Resumes requests whose common prefix has been computed by another request, or whose other request is gone.
    pub(super) fn start_followers(&mut self) {
        for index in 0..self.running.len() {
            let Some((owner, length)) = self.running[index].awaits_prefix_of else { continue };
            let leads = |slot: &Slot| slot.seq == owner && slot.n_past() < length;
            if self.running.iter().any(leads) {
                continue;
            }
            let mut slot = self.running.remove(index);
            slot.awaits_prefix_of = None;
            slot.start_at(self.reuse(&slot));
            self.running.insert(index, slot);
        }
    }

    /// Computes one step of the running requests.
    fn advance(&mut self) -> Result<()> {
        while !self.running.is_empty() {
            let next = self.next_step();
            let decoded = match next {
                _ if self.running.is_empty() => break,
                NextStep::Wait => {
                    self.wait_for_picture();
                    return Ok(());
                }
                NextStep::Picture(index) => self.compute_picture(index)?,
                NextStep::Tokens => self.compute_tokens()?,
            };
            match decoded {
                Decoded::Done => return self.take_outputs(),
                Decoded::Aborted => {
                    self.undo_batch();
                    // All requests in the batch were cancelled: they are dropped before the next step.
                    return Ok(());
                }
                Decoded::NoRoom => self.undo_batch(),
            }
            // The step does not fit into the KV cache.
            let kept = self.prefixes.evictable();
            if kept > 0 {
                self.prefixes.evict(&mut self.context, kept);
            } else if self.running.len() > 1 {
                self.preempt_youngest(Retention::Keep);
            } else {
                let message = format!(
                    "the engine has no room for {} tokens in a context of {}",
                    self.running[0].n_needed(),
                    self.n_ctx
                );
                self.running[0]
                    .fail(Error::new(ErrorKind::ContextOverflow, message).with_hint(
                        Text::with_names("load the model with a larger {context_size}"),
                    ));
                self.release(0, Retention::Free);
            }
        }
        Ok(())
    }

    /// Computes a step of tokens. Returns `NoRoom` if no token fits into the batch.
    fn compute_tokens(&mut self) -> Result<Decoded> {
        self.fill_batch();
        if self.context.batch().len() == 0 {
            return Ok(Decoded::NoRoom);
        }
        let prompt_tokens: usize = self
            .running
            .iter()
            .filter(|slot| !slot.is_generating())
            .map(|slot| slot.pending_in_batch)
            .sum();
        let generating = self.running.iter().any(Slot::is_generating);
        // A step with prompt tokens takes long, so text is delivered before it.
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
        let decoded = self.context.decode(owners.into_iter())?;
        if decoded == Decoded::Done {
            self.prefill_budget.add_measurement(generating, prompt_tokens, start.elapsed());
            if let (Some(drafter), 0) = (&mut self.drafter, prompt_tokens) {
                drafter.costs.step.add_measurement(self.context.batch().len(), start.elapsed());
            }
            self.stats.steps += 1;
        }
        Ok(decoded)
    }

    /// Ends a request with an error.
    pub(super) fn fail(&mut self, index: usize, error: Error) {
        self.running[index].fail(error);
        self.release(index, Retention::Keep);
    }

    /// Undoes a batch that was not computed, or only in part.
    fn undo_batch(&mut self) {
        for slot in &mut self.running {
            if slot.pending_in_batch > 0 {
                slot.leave_batch();
                self.context.trim(slot.seq, slot.n_past());
            }
        }
    }

    /// Fills the batch of the next step.
    fn fill_batch(&mut self) {
        self.start_followers();
        self.choose_adapters();
        let streaming = self.running.iter().filter(|slot| slot.is_generating()).count();
        loop {
            let missing = (self.prefixes.used() + streaming).saturating_sub(self.n_ctx);
            self.prefixes.evict(&mut self.context, missing);
            if self.prefixes.used() + streaming <= self.n_ctx || self.running.len() == 1 {
                break;
            }
            self.preempt_youngest(Retention::Keep);
        }
        // While others generate, a prompt is limited to smaller pieces, so as not to stall them.
        let budget =
            if streaming > 0 { self.prefill_budget.prompt_tokens(streaming) } else { usize::MAX };
        let budget = budget.min(self.context.n_batch());

        let has_turn = |slot: &&Slot| slot.has_tokens() && slot.job().adapters == self.turn.0;
        let wanted: usize =
            self.running.iter().filter(has_turn).map(|slot| slot.pending().len()).sum();
        let wanted = wanted.min(budget + streaming);
        let missing = (self.prefixes.used() + wanted).saturating_sub(self.n_ctx);
        self.prefixes.evict(&mut self.context, missing);
        let mut room = self.n_ctx.saturating_sub(self.prefixes.used());

        self.context.batch().clear();
        self.running.iter_mut().for_each(Slot::leave_batch);
        // Generating requests come first and always get their token.
        self.add_pending(true, usize::MAX, &mut room);
        self.add_drafts(&mut room);
        let left = self.context.n_batch().saturating_sub(self.context.batch().len());
        self.add_pending(false, budget.min(left), &mut room);
    }

    /// Adds the pending tokens of the requests that generate, or of those that do not.
    fn add_pending(&mut self, generating: bool, mut budget: usize, room: &mut usize) {
        for slot in &mut self.running {
            let has_turn = slot.has_tokens() && slot.job().adapters == self.turn.0;
            if !has_turn || slot.is_generating() != generating {
                continue;
            }
            let count = slot.pending().len().min(budget).min(*room).min(slot.tokens_before_stop());
            let count = count.min(slot.media.tokens_until_next(slot.n_past()));
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
            *room -= count;
        }
    }

    /// Adds guesses of the tokens after the pending ones, if there is room.
    fn add_drafts(&mut self, room: &mut usize) {
        if !self.can_guess {
            return;
        }
        // The engine limits the number of outputs. All guesses are in one computation, so that wrong ones can be
        // removed from a sliding window.
        let left = self.context.n_ubatch().saturating_sub(self.context.batch().len());
        let mut outputs = self.context.n_outputs_max().saturating_sub(self.running.len()).min(left);
        for slot in self.running.iter_mut().filter(|slot| slot.output.is_some()) {
            slot.copy_guesses(outputs.min(*room / 2), self.n_ctx);
            outputs -= slot.guesses().len();
            *room -= slot.guesses().len();
        }
        self.ask_draft_model(outputs.min(*room / 2));
        for slot in self.running.iter_mut().filter(|slot| slot.output.is_some()) {
            slot.place_guesses(self.context.batch().len());
            for (offset, guess) in slot.guesses().iter().enumerate() {
                let position = slot.n_past() + slot.pending_in_batch + offset;
                self.context.batch().add(guess.token, position, slot.seq, true);
            }
        }
        *room = self.n_ctx.saturating_sub(self.prefixes.used() + self.context.batch().len());
    }

    /// Drafts at most `most` tokens in all with the draft model, for requests without guesses.
    fn ask_draft_model(&mut self, most: usize) {
        let Some(drafter) = &mut self.drafter else { return };
        let generating = |slot: &&mut Slot| slot.output.is_some();
        let streaming = self.running.iter_mut().filter(generating).count();
        let mut requests: Vec<_> = self
            .running
            .iter_mut()
            .filter(generating)
            .filter_map(|slot| {
                let wanted = slot.draft_count(self.n_ctx);
                (wanted > 0).then(|| DraftRequest::new(slot, wanted))
            })
            .collect();
        requests.truncate(most);
        let share = most / requests.len().max(1);
        for request in &mut requests {
            request.most = request.most.min(share);
        }
        // The draft model computes missing tokens of one request in limited pieces, so that others do not wait.
        let budget =
            if streaming > 1 { self.prefill_budget.prompt_tokens(streaming) } else { usize::MAX };
        if let Err(error) = drafter.guess(requests, streaming, budget, &self.vocab) {
            log::warn!("the draft model is not used any more: {error}");
            self.running.iter_mut().for_each(Slot::drop_guesses);
            self.drafter = None;
        }
    }

    /// Decides which set of adapters the next step uses.
    fn choose_adapters(&mut self) {
        if self.running.iter().all(|slot| slot.job().adapters == self.turn.0) {
            return;
        }
        let mut sets: Vec<&AdapterSet> = Vec::new();
        for slot in self.running.iter().filter(|slot| slot.has_tokens()) {
            if !sets.contains(&&slot.job().adapters) {
                sets.push(&slot.job().adapters);
            }
        }
        let current = sets.iter().position(|set| **set == self.turn.0);
        let next = match current {
            Some(current) if sets.len() == 1 || self.turn.1 > 1 => current,
            Some(current) => (current + 1) % sets.len(),
            None => 0,
        };
        let Some(set) = sets.get(next) else { return };
        self.turn = if Some(next) == current && sets.len() > 1 {
            (self.turn.0.clone(), self.turn.1 - 1)
        } else {
            ((*set).clone(), STEPS_PER_ADAPTER)
        };
        self.context.use_adapters(&self.turn.0);
    }

    /// Passes each request its logits.
    fn take_outputs(&mut self) -> Result<()> {
        for slot in &mut self.running {
            let seq = slot.seq;
            self.prefixes.extend(seq, slot.advance());
            if self.prefixes.sharing() == Sharing::Checkpoints
                && slot.is_at_stop(self.checkpoint_every)
            {
                let tokens = &slot.known()[..slot.n_past()];
                self.context.save_checkpoint(seq, &slot.job().adapters, tokens);
            }
        }
        if self.has_invalid_output()? {
            self.restart_all();
            return Ok(());
        }
        let mut index = 0;
        while index < self.running.len() {
            match self.take_output(index)? {
                SamplingOutcome::More => index += 1,
                SamplingOutcome::Complete => self.release(index, Retention::Keep),
                SamplingOutcome::Banned => self.backtrack(index),
                SamplingOutcome::Full => self.shift(index),
            }
        }
        Ok(())
    }

    /// Whether logits of a request are NaN. Cells of other requests can cause this, even freed ones, because NaN times
    /// zero is NaN, so the request is retried once. If it fails again, it is itself the cause and fails.
    fn has_invalid_output(&mut self) -> Result<bool> {
        let mut unsound = Vec::new();
        for (index, slot) in self.running.iter().enumerate() {
            if let Some(output) = slot.output
                && !are_valid_logits(self.context.logits(output)?)
            {
                unsound.push(index);
            }
        }
        for &index in unsound.iter().rev() {
            let slot = &mut self.running[index];
            if std::mem::replace(&mut slot.was_unsound, true) {
                slot.fail(invalid_logits());
                self.release(index, Retention::Free);
            }
        }
        Ok(!unsound.is_empty())
    }

    /// Drops everything that was computed. Running requests are computed again.
    pub(super) fn restart_all(&mut self) {
        while !self.running.is_empty() {
            self.preempt_youngest(Retention::Free);
        }
        self.prefixes.forget(&mut self.context);
        self.context.host_cache.forget();
        self.context.clear_data();
        self.drafter.iter_mut().for_each(Drafter::forget);
    }

    /// Chooses a request's next tokens: one, and one more for each guess that was right.
    fn take_output(&mut self, index: usize) -> Result<SamplingOutcome> {
        let slot = &mut self.running[index];
        let Some(mut output) = slot.output.take() else { return Ok(SamplingOutcome::More) };
        let drafted = slot.count_guesses();
        let mut right = 0;
        let taken = loop {
            let logits = self.context.logits(output)?;
            match slot.take_logits(logits, right, &self.vocab, self.n_ctx) {
                Ok(SamplingOutcome::More) => {}
                Ok(taken) => break taken,
                Err(error) => {
                    slot.fail(error);
                    break SamplingOutcome::Complete;
                }
            }
            if !slot.accept_guess(right) {
                break SamplingOutcome::More;
            }
            output = slot.output_of_guess(right);
            right += 1;
        };
        slot.record_guesses(right, self.drafter.as_mut().map(|drafter| &mut drafter.costs));
        if drafted > 0 {
            let sequence = slot.seq;
            self.prefixes.extend(sequence, slot.computed(right));
            self.context.trim(sequence, slot.n_past());
            self.stats.drafted_tokens += drafted as u64;
            self.stats.accepted_tokens += right as u64;
        }
        Ok(taken)
    }

    /// Makes a request go back to the token that began a banned phrase.
    fn backtrack(&mut self, index: usize) {
        let mut slot = self.stop_running(index, Retention::Keep);
        match slot.backtrack(&self.vocab, self.n_ctx) {
            Ok(()) => self.waiting.requeue(slot),
            Err(error) => {
                slot.fail(error);
                self.stats.finished += 1;
                self.publish_stats();
                slot.send_outcome();
            }
        }
    }

    /// Drops the oldest tokens of a request whose context is full.
    fn shift(&mut self, index: usize) {
        let mut slot = self.stop_running(index, Retention::Keep);
        slot.shift(&self.vocab, self.n_ctx);
        self.waiting.requeue(slot);
    }

    fn preempt_youngest(&mut self, retention: Retention) {
        let last = self.running.len() - 1;
        log::debug!(
            "a request is preempted and releases its {} cells",
            self.running[last].n_past()
        );
        let mut slot = self.stop_running(last, retention);
        self.stats.preemptions += 1;
        slot.flush();
        slot.reset();
        self.waiting.requeue(slot);
    }

    /// Removes a finished request from the running ones, and notifies its owner.
    fn release(&mut self, index: usize, retention: Retention) {
        let mut slot = self.end(index, retention);
        // The owner may read the statistics as soon as it is notified.
        self.publish_stats();
        slot.send_outcome();
    }

    /// Removes a finished request from the running ones, and updates the counters.
    fn end(&mut self, index: usize, retention: Retention) -> Slot {
        let (prompt, cached, generated) = self.running[index].counts();
        self.stats.prompt_tokens += prompt as u64;
        self.stats.cached_tokens += cached as u64;
        self.stats.completion_tokens += generated as u64;
        self.stats.finished += 1;
        log::debug!(
            "a request ended: {prompt} tokens of prompt computed, {cached} cached, {generated} generated"
        );
        self.stop_running(index, retention)
    }

    fn stop_running(&mut self, index: usize, retention: Retention) -> Slot {
        let slot = self.running.remove(index);
        if let Some(drafter) = &mut self.drafter {
            drafter.leave(&slot, retention == Retention::Keep);
        }
        // An aborted computation may have left more cells than can be removed.
        let intact = self.prefixes.sharing() != Sharing::Checkpoints
            || self.context.is_intact(slot.seq, slot.n_past());
        match retention {
            Retention::Keep if !intact => self.prefixes.close(&mut self.context, slot.seq),
            Retention::Keep => self.prefixes.store(&mut self.context, slot.seq),
            Retention::Free => self.prefixes.close(&mut self.context, slot.seq),
        }
        slot
    }

    pub(super) fn publish_stats(&mut self) {
        self.stats.running = self.running.len() as u32;
        self.stats.waiting = (self.waiting.len() + self.paused.len()) as u32;
        self.stats.kv_used = self.prefixes.used() as u32;
        // While requests run, counting cached cells would cost time for each token.
        self.stats.kv_kept = if self.running.is_empty() { self.stats.kv_used } else { 0 };
        self.stats.evicted_tokens = self.prefixes.counters.evicted;
        self.shared_stats.update(|shared| *shared = self.stats);
    }
}

impl ServiceLoop for Scheduler {
    type ServiceCommand = Command;

    fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty() && self.paused.is_empty()
    }

    fn accept(&mut self, command: Command) -> Option<Instant> {
        match command {
            Command::Run(job) => {
                if self.refusal().is_some() {
                    // Some of the waiting requests may be cancelled.
                    self.drop_cancelled();
                }
                if let Some(error) = self.refusal() {
                    job.answer.refuse(error);
                    return None;
                }
                let delay = || self.prefill_budget.batching_delay(job.prompt.len());
                let until = self.is_idle().then(|| Instant::now() + delay());
                self.waiting.push(job);
                return until;
            }
            Command::Save(adapters, tokens, answer) => {
                let _ = answer.send(self.save(adapters, tokens));
            }
            Command::Restore(cells, answer) => {
                let _ = answer.send(self.restore(&cells));
            }
        }
        None
    }

    fn drop_cancelled(&mut self) {
        let mut index = 0;
        while index < self.running.len() {
            if self.running[index].job().is_abandoned() {
                self.running[index].cancel();
                self.release(index, Retention::Keep);
            } else {
                index += 1;
            }
        }
        let (gone, paused) = std::mem::take(&mut self.paused)
            .into_iter()
            .partition::<Vec<_>, _>(|slot| slot.job().is_abandoned());
        self.paused = paused;
        let paused = gone.into_iter().map(|slot| QueuedRequest::Preempted(Box::new(slot)));
        for waiting in paused.chain(self.waiting.take_abandoned()) {
            self.stats.finished += 1;
            waiting.job().answer.end_early();
        }
    }

    fn step(&mut self) -> Result<()> {
        self.admit();
        if self.running.iter().all(|slot| slot.is_paused) && !self.is_idle() {
            self.publish_stats();
            std::thread::sleep(POLL_INTERVAL);
            return Ok(());
        }
        let outcome = self.advance();
        self.publish_stats();
        outcome
    }

    /// A step failed: the requests in it end, and all computed cells are dropped.
    fn fail_all(&mut self, error: &Error) {
        let mut failed = Vec::new();
        while let Some(last) = self.running.len().checked_sub(1) {
            self.running[last].fail(error.clone());
            failed.push(self.end(last, Retention::Free));
        }
        let kept = self.prefixes.evictable();
        self.prefixes.evict(&mut self.context, kept);
        self.context.clear();
        self.drafter.iter_mut().for_each(Drafter::forget);
        self.publish_stats();
        failed.iter_mut().for_each(Slot::send_outcome);
    }

    fn close(&mut self) {
        for slot in self.running.iter_mut().chain(&mut self.paused) {
            slot.cancel();
            slot.send_outcome();
        }
        for waiting in self.waiting.drain() {
            waiting.job().answer.refuse(closed());
        }
    }
}
