//! Finds the part of a request that need not be computed: in the KV cache, or in system RAM.

use std::ops::Range;

use mullama_base::{Text, units};

use super::checkpoints;
use super::host_cache::{MIN_CACHED_TOKENS, TieredContext};
use super::prefix::KvCells as _;
use super::request::SavedCells;
use super::scheduler::Scheduler;
use super::slot::Slot;
use crate::engine::{AdapterSet, Saved, SeqId, Sharing, damaged_cells};
use crate::{Error, ErrorKind, Result, Token};

impl Scheduler {
    /// Sets the places at which a new request stops to make checkpoints.
    pub(super) fn plan_checkpoints(&self, slot: &mut Slot) {
        if self.prefixes.sharing() == Sharing::Checkpoints && self.context.host_cache.is_on() {
            let is_control = |token: Token| token >= 0 && self.vocab.is_control(token);
            let places =
                checkpoints::checkpoint_positions(slot.known(), self.checkpoint_every, is_control);
            for place in places {
                slot.stop_at(place);
            }
        }
    }

    /// Reuses the cells of a prefix of the request. Returns the number of tokens.
    pub(super) fn reuse(&mut self, slot: &Slot) -> usize {
        match self.prefixes.sharing() {
            Sharing::None => 0,
            Sharing::Any => {
                let mut beginning = slot.beginning();
                if !slot.media.is_empty() {
                    let common = self.prefixes.common_length(slot.seq, beginning);
                    beginning = &beginning[..slot.media.resume_point(common)];
                }
                let known = self.prefixes.share_prefix(&mut self.context, slot.seq, beginning);
                let known = self.prepare_for_seed(slot, known);
                self.restore_prefix(slot, known)
            }
            Sharing::Checkpoints => self.resume_from_checkpoint(slot),
        }
    }

    /// Prepares the KV cache for a request with a seed that starts while no other runs: only the cells that it shares
    /// stay, and others move to system RAM. Its own cells then have the same positions in the cache as when the same
    /// request was last computed. Attention adds in the order of the cells, which decides the last bits of its
    /// results.
    ///
    /// `known` is the number of shared tokens. Returns the new number: 0 if system RAM has more of them, which are
    /// then restored to the beginning of the empty cache.
    fn prepare_for_seed(&mut self, slot: &Slot, mut known: usize) -> usize {
        let has_seed = slot.job().sampling.seed.is_some();
        if !has_seed || !self.running.is_empty() || !self.context.host_cache.is_on() {
            return known;
        }
        let saved = self.context.host_cache.common_length(&slot.job().adapters, slot.beginning());
        if saved >= known + MIN_CACHED_TOKENS {
            self.prefixes.empty(&mut self.context, slot.seq);
            known = 0;
        }
        self.prefixes.evict(&mut self.context, usize::MAX);
        known
    }

    /// As [`Self::reuse`], for memory that cannot be truncated: a request continues where another ended, or from a
    /// checkpoint.
    fn resume_from_checkpoint(&mut self, slot: &Slot) -> usize {
        let (sequence, tokens) = (slot.seq, slot.beginning());
        let adapters = &slot.job().adapters;
        let reach = |scheduler: &Self| {
            let cells = if scheduler.context.is_recurrent() {
                tokens.len()
            } else {
                scheduler.prefixes.common_length(sequence, tokens)
            };
            let end = scheduler.prefixes.common_sequence_length(sequence, tokens);
            (end, scheduler.context.host_cache.checkpoint(adapters, &tokens[..cells]))
        };
        let (end, checkpoint) = reach(self);
        let known = end.max(checkpoint).max(slot.n_past());
        if let Some((cells, length)) = self.context.host_cache.take_whole(adapters, tokens, known) {
            match self.restore_sequence(&cells) {
                Ok(()) => self.stats.restored_tokens += (length - known) as u64,
                Err(error) => {
                    log::debug!("tokens evicted from the KV cache are computed again: {error}");
                }
            }
            self.context.host_cache.store(cells);
        }
        let (end, checkpoint) = reach(self);
        if end.max(checkpoint) <= slot.n_past() {
            return slot.n_past();
        }
        if end >= checkpoint {
            let count = self.prefixes.share_prefix(&mut self.context, sequence, tokens);
            return self.checked(sequence, count);
        }
        let tokens = &tokens[..checkpoint];
        self.prefixes.empty(&mut self.context, sequence);
        if !self.prefixes.adopt_cells(&mut self.context, sequence, tokens) {
            // The state is the only memory.
            self.prefixes.extend(sequence, tokens);
        }
        match self.context.restore_checkpoint(sequence, adapters, tokens) {
            Ok(()) => self.checked(sequence, checkpoint),
            Err(error) => {
                log::debug!("a checkpoint cannot be used: {error}");
                self.checked(sequence, 0)
            }
        }
    }

    /// Checks that a sequence has the computed tokens that it should have; otherwise empties it. Returns its length.
    fn checked(&mut self, sequence: SeqId, n_past: usize) -> usize {
        if n_past > 0 && self.context.is_intact(sequence, n_past) {
            return n_past;
        }
        self.prefixes.empty(&mut self.context, sequence);
        0
    }

    /// Restores an evicted sequence into the KV cache, so that requests can continue it.
    fn restore_sequence(&mut self, cells: &SavedCells) -> Result<()> {
        let sequence = self.spare_sequence(&cells.adapters)?;
        let filled = self.restore_whole(sequence, cells);
        match filled {
            Ok(()) => self.prefixes.store(&mut self.context, sequence),
            Err(_) => self.prefixes.close(&mut self.context, sequence),
        }
        filled
    }

    /// Restores evicted cells that follow the first `known` tokens of a new request. Returns the new number of
    /// available tokens.
    fn restore_prefix(&mut self, slot: &Slot, known: usize) -> usize {
        let adapters = &slot.job().adapters;
        let taken = self.context.host_cache.take(adapters, slot.beginning(), known);
        let Some((cells, common)) = taken else { return known };
        let common = slot.media.resume_point(common);
        if common <= known {
            self.context.host_cache.store(cells);
            return known;
        }
        let filled = self.fill(slot.seq, known..common, &cells);
        self.context.host_cache.store(cells);
        if let Err(error) = filled {
            log::debug!("tokens evicted from the KV cache are computed again: {error}");
            return known;
        }
        self.stats.restored_tokens += (common - known) as u64;
        common
    }

    /// Saves the cells of the longest prefix of the tokens that is in the KV cache.
    pub(super) fn save(
        &mut self,
        adapters: AdapterSet,
        mut tokens: Vec<Token>,
    ) -> Result<SavedCells> {
        let sequence = self.spare_sequence(&adapters)?;
        let count = self.prefixes.share_prefix(&mut self.context, sequence, &tokens);
        tokens.truncate(count);
        let data = if count > 0 {
            self.context.save(sequence, Saved::Whole)
        } else {
            Err(nothing_to_save())
        };
        self.prefixes.close(&mut self.context, sequence);
        Ok(SavedCells { adapters, tokens, data: data? })
    }

    /// Restores cells into the cache, for those tokens that it does not have.
    pub(super) fn restore(&mut self, cells: &SavedCells) -> Result<()> {
        self.verify_cells(cells)?;
        let count = cells.tokens.len();
        let sequence = self.spare_sequence(&cells.adapters)?;
        // Memory that cannot be truncated is restored as a whole.
        let restored = if self.prefixes.sharing() == Sharing::Any {
            let known = self.prefixes.share_prefix(&mut self.context, sequence, &cells.tokens);
            if known < count { self.fill(sequence, known..count, cells) } else { Ok(()) }
        } else {
            self.restore_whole(sequence, cells)
        };
        match restored {
            Ok(()) => self.prefixes.store(&mut self.context, sequence),
            Err(_) => self.prefixes.close(&mut self.context, sequence),
        }
        self.publish_stats();
        restored
    }

    /// Checks that cells from an untrusted source are those of their tokens, and can be freed again.
    ///
    /// If not, everything is recomputed: a sequence may then have cells that the engine does not free (it frees by
    /// position, from 0), or regards as empty (those at position -1) and gives to other sequences.
    fn verify_cells(&mut self, cells: &SavedCells) -> Result<()> {
        self.make_room(cells.tokens.len())?;
        let sequence = self.spare_sequence(&cells.adapters)?;
        let size = |context: &mut TieredContext| context.saved_size(sequence, Saved::Whole);
        let nothing = size(&mut self.context);
        let restored = self.context.restore(sequence, Saved::Whole, &cells.data);
        let intact = self.context.is_intact(sequence, cells.tokens.len())
            && size(&mut self.context) == cells.data.len();
        self.prefixes.close(&mut self.context, sequence);
        let freed = size(&mut self.context) == nothing;
        if restored.is_ok() && intact && freed {
            return Ok(());
        }
        self.restart_all();
        restored?;
        Err(damaged_cells("its cells are not those of its tokens"))
    }

    /// Adds the cells of a range to a sequence that has those before it.
    fn fill(&mut self, sequence: SeqId, range: Range<usize>, cells: &SavedCells) -> Result<()> {
        // Existing cells are shared, so the saved ones are restored into a sequence of their own first.
        let whole = self.spare_sequence(&cells.adapters)?;
        let filled = self.make_room(cells.tokens.len()).and_then(|()| {
            self.context.restore(whole, Saved::Whole, &cells.data)?;
            self.context.share(whole, sequence, range.clone())
        });
        if filled.is_ok() {
            self.prefixes.extend(sequence, &cells.tokens[range]);
        }
        self.prefixes.close(&mut self.context, whole);
        filled
    }

    /// Restores everything that was saved into an empty sequence.
    fn restore_whole(&mut self, sequence: SeqId, cells: &SavedCells) -> Result<()> {
        self.make_room(cells.tokens.len())?;
        self.context.restore(sequence, Saved::Whole, &cells.data)?;
        self.prefixes.extend(sequence, &cells.tokens);
        Ok(())
    }

    /// Evicts cached cells until `count` cells are free. Fails if running requests need the others.
    fn make_room(&mut self, count: usize) -> Result<()> {
        let missing = (self.prefixes.used() + count).saturating_sub(self.n_ctx);
        self.prefixes.evict(&mut self.context, missing);
        if self.prefixes.used() + count <= self.n_ctx {
            return Ok(());
        }
        let message = format!(
            "there is no room for {} in addition to the requests that are running",
            units::count(count, "token")
        );
        Err(Error::new(ErrorKind::OutOfMemory, message).with_hint(Text::with_names(
            "load the model with a larger {context_size}, or try again later",
        )))
    }

    fn spare_sequence(&mut self, adapters: &AdapterSet) -> Result<SeqId> {
        let sequence = self.prefixes.open(&mut self.context, adapters);
        sequence.ok_or_else(|| {
            Error::new(ErrorKind::OutOfMemory, "all sequences of the engine are in use")
        })
    }
}

fn nothing_to_save() -> Error {
    let message = "nothing of the prompt is in the KV cache";
    Error::new(ErrorKind::Unsupported, message).with_hint(Text::with_names(
        "load the model with a larger {context_size} or {prefix_cache}",
    ))
}
