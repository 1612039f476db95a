//! The draft model: a second, smaller model that guesses the next tokens.
//!
//! It has a context of its own, in which each request that it guesses for has a sequence. A [`PrefixCache`] of its own
//! manages which cells are shared and cached: it follows the tokens that the model chose, regardless of the model's
//! cells. Guesses are optional: a request without room in the context gets none.

use std::collections::BTreeMap;
use std::time::Instant;

use super::guess_budget::StepCosts;
use super::host_cache::TieredContext;
use super::prefix::{KvCells as _, PrefixCache};
use super::slot::Slot;
use crate::engine::{AdapterSet, Context, ContextSettings, Decoded, SeqId, Vocab};
use crate::{CancelToken, Result, Token};

/// A request to guess for.
pub(super) struct DraftRequest<'a> {
    pub slot: &'a mut Slot,
    /// Largest number of guesses.
    pub most: usize,
    /// Whether more guesses may follow.
    is_open: bool,
    /// Index in the current batch of the logits of its last token.
    output: usize,
}

impl<'a> DraftRequest<'a> {
    pub fn new(slot: &'a mut Slot, most: usize) -> Self {
        Self { slot, most, is_open: true, output: 0 }
    }
}

/// A request in the draft model's context.
struct DraftSequence {
    sequence: SeqId,
    /// Number of the request's tokens that are computed.
    n_past: usize,
    /// Tokens computed after them: the last token, and guesses.
    ahead: Vec<Token>,
}

/// The draft model.
pub(super) struct Drafter {
    context: TieredContext,
    prefixes: PrefixCache,
    /// By the request's sequence in the model's own context.
    guests: BTreeMap<SeqId, DraftSequence>,
    n_ctx: usize,
    /// Size of the draft model's vocabulary.
    n_vocab: usize,
    /// Logits for the whole vocabulary of the model, if that of the draft model is smaller.
    padded: Vec<f32>,
    pub costs: StepCosts,
}

impl Drafter {
    pub fn new(context: Context, settings: &ContextSettings) -> Self {
        let n_ctx = context.n_ctx() as usize;
        let limit = n_ctx.min(settings.prefix_cache as usize);
        let prefixes = PrefixCache::new(context.n_seq_max(), context.sharing(), limit);
        Self {
            n_vocab: context.n_vocab(),
            context: TieredContext::new(context, Some(0)),
            prefixes,
            guests: BTreeMap::new(),
            n_ctx,
            padded: Vec::new(),
            costs: StepCosts::default(),
        }
    }

    /// Guesses the next tokens of each request. `streaming` requests have a token in the model's next step. At most
    /// `budget` tokens that the draft model has not computed yet are computed now, the rest later.
    pub fn guess(
        &mut self,
        mut requests: Vec<DraftRequest<'_>>,
        streaming: usize,
        budget: usize,
        vocab: &Vocab,
    ) -> Result<()> {
        requests.retain(|request| self.can_follow(request.slot));
        if requests.is_empty() {
            return Ok(());
        }
        if !self.costs.are_guesses_profitable(
            requests.iter().filter_map(|request| request.slot.guess_budget()),
            0,
            streaming,
        ) {
            for request in &mut requests {
                request.slot.pause_guesses();
            }
            return Ok(());
        }
        requests.retain(|request| self.settle(request.slot));
        self.make_room(&mut requests);
        if !self.catch_up(&mut requests, budget)? {
            return Ok(());
        }
        let most = requests.iter().map(|request| request.most).max().unwrap_or(0);
        for made in 1..=most {
            self.take_guesses(&mut requests, streaming, vocab)?;
            let open = requests.iter().filter(|request| request.is_open);
            if !self.costs.are_guesses_profitable(
                open.filter_map(|request| request.slot.guess_budget()),
                made,
                streaming,
            ) || !self.extend_guesses(&mut requests)?
            {
                break;
            }
        }
        Ok(())
    }

    /// Whether the draft model knows all tokens of a request. Placeholders of pictures are not tokens.
    fn can_follow(&self, slot: &Slot) -> bool {
        slot.media.is_empty() && slot.pending().iter().all(|&token| (token as usize) < self.n_vocab)
    }

    /// Accepts those of a request's guesses that were right, and opens a sequence for a new request. Returns whether it
    /// has one.
    fn settle(&mut self, slot: &Slot) -> bool {
        if !self.guests.contains_key(&slot.seq) {
            let Some(sequence) = self.prefixes.open(&mut self.context, &AdapterSet::default())
            else {
                return false;
            };
            let n_past = self.prefixes.share_prefix(&mut self.context, sequence, slot.beginning());
            self.guests.insert(slot.seq, DraftSequence { sequence, n_past, ahead: Vec::new() });
            return true;
        }
        let Some(guest) = self.guests.get_mut(&slot.seq) else { return false };
        // The last token is always computed again, for its logits.
        let known = &slot.beginning()[guest.n_past..];
        let right = known.iter().zip(&guest.ahead).take_while(|(a, b)| a == b).count();
        let had_more = guest.ahead.len() > right;
        self.prefixes.extend(guest.sequence, &known[..right]);
        guest.n_past += right;
        guest.ahead.clear();
        if had_more {
            self.context.trim(guest.sequence, guest.n_past);
        }
        true
    }

    /// Frees cells for all tokens that may be computed. If there are too few, the last requests get no guesses.
    fn make_room(&mut self, requests: &mut Vec<DraftRequest<'_>>) {
        loop {
            let needed = requests.iter().map(|request| self.missing(request) + request.most);
            let needed: usize = needed.sum();
            let surplus = (self.prefixes.used() + needed).saturating_sub(self.n_ctx);
            self.prefixes.evict(&mut self.context, surplus);
            if self.prefixes.used() + needed <= self.n_ctx {
                return;
            }
            let Some(last) = requests.pop() else { return };
            self.leave(last.slot, false);
        }
    }

    /// Computes the tokens that the draft model is missing, up to each request's last. Requests that miss more than
    /// `budget` allows get no guesses. Returns whether any request gets some.
    fn catch_up(
        &mut self,
        requests: &mut Vec<DraftRequest<'_>>,
        mut budget: usize,
    ) -> Result<bool> {
        let n_batch = self.context.n_batch();
        loop {
            let missing: usize = requests.iter().map(|request| self.missing(request)).sum();
            if missing <= n_batch.min(budget.max(2 * requests.len())) {
                break;
            }
            if budget == 0 {
                requests.retain(|request| self.missing(request) <= 2);
                // Few tokens are left.
                budget = usize::MAX;
                continue;
            }
            let computed = self.compute_missing(requests, n_batch.min(budget), false)?;
            if computed == 0 || requests.iter().all(|request| request.slot.job().is_abandoned()) {
                return Ok(false);
            }
            budget -= computed;
        }
        let start = Instant::now();
        let computed = self.compute_missing(requests, n_batch, true)?;
        if computed > 0 && computed <= 2 * requests.len() {
            self.costs.draft.add_measurement(computed, start.elapsed());
        }
        Ok(computed > 0)
    }

    /// Number of a request's tokens that are not computed.
    fn missing(&self, request: &DraftRequest<'_>) -> usize {
        request.slot.known().len() - self.guests[&request.slot.seq].n_past
    }

    /// Computes at most `most` missing tokens; includes the last tokens of the requests if `all` is set. Returns the
    /// number of computed tokens.
    fn compute_missing(
        &mut self,
        requests: &mut [DraftRequest<'_>],
        mut most: usize,
        all: bool,
    ) -> Result<usize> {
        self.context.batch().clear();
        let mut counts = Vec::with_capacity(requests.len());
        for request in &mut *requests {
            let guest = &self.guests[&request.slot.seq];
            let known = if all { request.slot.known() } else { request.slot.beginning() };
            let missing = &known[guest.n_past..];
            let count = missing.len().min(most);
            for (offset, &token) in missing[..count].iter().enumerate() {
                let output = all && offset + 1 == missing.len();
                let position = guest.n_past + offset;
                request.output = self.context.batch().add(token, position, guest.sequence, output);
            }
            most -= count;
            counts.push(count);
        }
        if counts.iter().sum::<usize>() == 0 || !self.compute(requests)? {
            return Ok(0);
        }
        for (request, &count) in requests.iter().zip(&counts) {
            let guest = self.guests.get_mut(&request.slot.seq).expect("it has a sequence");
            // The last token is not final: the step may be repeated.
            let kept = count - usize::from(all);
            let known = request.slot.known();
            self.prefixes.extend(guest.sequence, &known[guest.n_past..guest.n_past + kept]);
            guest.n_past += kept;
            guest.ahead.extend(known.last().filter(|_| all));
        }
        Ok(counts.iter().sum())
    }

    /// Computes the last guess of each open request. Returns whether it did.
    fn extend_guesses(&mut self, requests: &mut [DraftRequest<'_>]) -> Result<bool> {
        let start = Instant::now();
        self.context.batch().clear();
        for request in requests.iter_mut().filter(|request| request.is_open) {
            let guest = self.guests.get_mut(&request.slot.seq).expect("it has a sequence");
            let Some(guess) = request.slot.guesses().last() else { continue };
            let position = guest.n_past + guest.ahead.len();
            guest.ahead.push(guess.token);
            request.output = self.context.batch().add(guess.token, position, guest.sequence, true);
        }
        let count = self.context.batch().len();
        let done = count > 0 && self.compute(requests)?;
        if done {
            self.costs.draft.add_measurement(count, start.elapsed());
        }
        Ok(done)
    }

    /// Computes the batch. If that is aborted, the requests return to their previous state.
    fn compute(&mut self, requests: &[DraftRequest<'_>]) -> Result<bool> {
        let owners: Vec<CancelToken> =
            requests.iter().map(|request| request.slot.job().cancel.clone()).collect();
        match self.context.decode(owners.into_iter())? {
            Decoded::Done => return Ok(true),
            Decoded::NoRoom => self.prefixes.forget(&mut self.context),
            Decoded::Aborted => {}
        }
        for request in requests {
            let guest = self.guests.get_mut(&request.slot.seq).expect("it has a sequence");
            guest.ahead.clear();
            self.context.trim(guest.sequence, guest.n_past);
        }
        Ok(false)
    }

    /// Makes a guess for each open request, and decides which remain open.
    fn take_guesses(
        &mut self,
        requests: &mut [DraftRequest<'_>],
        streaming: usize,
        vocab: &Vocab,
    ) -> Result<()> {
        for request in requests.iter_mut().filter(|request| request.is_open) {
            let mut logits = self.context.logits(request.output)?;
            if logits.len() < vocab.len() {
                self.padded.clear();
                self.padded.extend_from_slice(logits);
                self.padded.resize(vocab.len(), f32::NEG_INFINITY);
                logits = &self.padded;
            }
            let logits = &logits[..vocab.len()];
            let goes_on = request.slot.add_guess(logits, vocab, &self.costs, streaming);
            request.is_open = goes_on
                && request.slot.guesses().len() < request.most
                && request.slot.guesses().last().is_some_and(|guess| {
                    (guess.token as usize) < self.n_vocab
                        && !vocab.is_end_of_generation(guess.token)
                });
        }
        Ok(())
    }

    /// Removes a request that stops running or gets no guesses. If `keep` is set, its cells are cached for other
    /// requests.
    pub fn leave(&mut self, slot: &Slot, keep: bool) {
        if !self.guests.contains_key(&slot.seq) {
            return;
        }
        self.settle(slot);
        let Some(guest) = self.guests.remove(&slot.seq) else { return };
        if keep {
            self.prefixes.store(&mut self.context, guest.sequence);
        } else {
            self.prefixes.close(&mut self.context, guest.sequence);
        }
    }

    /// Drops everything that was computed, and all requests.
    pub fn forget(&mut self) {
        for guest in std::mem::take(&mut self.guests).into_values() {
            self.prefixes.close(&mut self.context, guest.sequence);
        }
        self.prefixes.forget(&mut self.context);
        self.context.clear_data();
    }
}
