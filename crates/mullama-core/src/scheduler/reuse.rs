//! What a request need not compute: it is in the KV cache, or it comes back from system RAM.

use std::ops::Range;

use mullama_base::Text;

use super::checkpoints;
use super::host_cache::TieredContext;
use super::prefix::KvCells as _;
use super::request::SavedCells;
use super::scheduler::Scheduler;
use super::slot::Slot;
use crate::engine::{AdapterSet, Saved, SeqId, Sharing, damaged_cells};
use crate::{Error, ErrorKind, Result, Token};

impl Scheduler {
    /// Has a new request stop where checkpoints are to be made.
    pub(super) fn plan_checkpoints(&self, slot: &mut Slot) {
        if self.prefixes.sharing() == Sharing::Checkpoints && self.context.host_cache.is_on() {
            let is_control = |token: Token| token >= 0 && self.vocab.is_control(token);
            let places = checkpoints::places(slot.known(), self.checkpoint_every, is_control);
            for place in places {
                slot.stop_at(place);
            }
        }
    }

    /// Gives a request what has been computed of what it begins with; tells how many tokens that is.
    pub(super) fn reuse(&mut self, slot: &Slot) -> usize {
        match self.prefixes.sharing() {
            Sharing::None => 0,
            Sharing::Any => {
                let mut beginning = slot.beginning();
                if !slot.media.is_empty() {
                    let common = self.prefixes.in_common(slot.seq, beginning);
                    beginning = &beginning[..slot.media.floor(common)];
                }
                let known = self.prefixes.adopt(&mut self.context, slot.seq, beginning);
                self.copy_back(slot, known)
            }
            Sharing::Checkpoints => self.go_on_from_checkpoint(slot),
        }
    }

    /// As [`Self::reuse`], where memory cannot be cut: a request goes on from where another has ended, or from
    /// a checkpoint.
    fn go_on_from_checkpoint(&mut self, slot: &Slot) -> usize {
        let (sequence, tokens) = (slot.seq, slot.beginning());
        let adapters = &slot.job().adapters;
        let reach = |scheduler: &Self| {
            let cells = if scheduler.context.is_recurrent() {
                tokens.len()
            } else {
                scheduler.prefixes.in_common(sequence, tokens)
            };
            let end = scheduler.prefixes.end_in_common(sequence, tokens);
            (end, scheduler.context.host_cache.checkpoint(adapters, &tokens[..cells]))
        };
        let (end, checkpoint) = reach(self);
        let known = end.max(checkpoint).max(slot.n_past());
        if let Some((cells, length)) = self.context.host_cache.take_uncut(adapters, tokens, known) {
            match self.bring_back(&cells) {
                Ok(()) => self.stats.restored_tokens += (length - known) as u64,
                Err(error) => {
                    log::debug!("tokens evicted from the KV cache are computed again: {error}")
                }
            }
            self.context.host_cache.keep(cells);
        }
        let (end, checkpoint) = reach(self);
        if end.max(checkpoint) <= slot.n_past() {
            return slot.n_past();
        }
        if end >= checkpoint {
            let count = self.prefixes.adopt(&mut self.context, sequence, tokens);
            return self.checked(sequence, count);
        }
        let tokens = &tokens[..checkpoint];
        self.prefixes.empty(&mut self.context, sequence);
        if !self.prefixes.adopt_cells(&mut self.context, sequence, tokens) {
            // A recurrent state is all there is.
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

    /// Makes sure that a sequence has what it is said to have; else it is emptied.
    fn checked(&mut self, sequence: SeqId, n_past: usize) -> usize {
        if n_past > 0 && self.context.is_intact(sequence, n_past) {
            return n_past;
        }
        self.prefixes.empty(&mut self.context, sequence);
        0
    }

    /// Puts a sequence that left the KV cache back, for requests to go on from.
    fn bring_back(&mut self, cells: &SavedCells) -> Result<()> {
        let sequence = self.spare_sequence(&cells.adapters)?;
        let filled = self.fill_whole(sequence, cells);
        match filled {
            Ok(()) => self.prefixes.keep(&mut self.context, sequence),
            Err(_) => self.prefixes.close(&mut self.context, sequence),
        }
        filled
    }

    /// Adds to the `known` first tokens of a new request what left the cache before; gives how many there
    /// are then.
    fn copy_back(&mut self, slot: &Slot, known: usize) -> usize {
        let adapters = &slot.job().adapters;
        let taken = self.context.host_cache.take(adapters, slot.beginning(), known);
        let Some((cells, common)) = taken else { return known };
        let common = slot.media.floor(common);
        if common <= known {
            self.context.host_cache.keep(cells);
            return known;
        }
        let filled = self.fill(slot.seq, known..common, &cells);
        self.context.host_cache.keep(cells);
        if let Err(error) = filled {
            log::debug!("tokens evicted from the KV cache are computed again: {error}");
            return known;
        }
        self.stats.restored_tokens += (common - known) as u64;
        common
    }

    /// Writes out the cells of as many of the tokens as are there.
    pub(super) fn save(
        &mut self,
        adapters: AdapterSet,
        mut tokens: Vec<Token>,
    ) -> Result<SavedCells> {
        let sequence = self.spare_sequence(&adapters)?;
        let count = self.prefixes.adopt(&mut self.context, sequence, &tokens);
        tokens.truncate(count);
        let data = if count > 0 {
            self.context.save(sequence, Saved::Whole)
        } else {
            Err(nothing_to_save())
        };
        self.prefixes.close(&mut self.context, sequence);
        Ok(SavedCells { adapters, tokens, data: data? })
    }

    /// Puts cells into the cache, of those tokens that it does not have.
    pub(super) fn restore(&mut self, cells: &SavedCells) -> Result<()> {
        self.try_out(cells)?;
        let count = cells.tokens.len();
        let sequence = self.spare_sequence(&cells.adapters)?;
        // What cannot be cut is copied as it is, not continued.
        let restored = if self.prefixes.sharing() == Sharing::Any {
            let known = self.prefixes.adopt(&mut self.context, sequence, &cells.tokens);
            if known < count { self.fill(sequence, known..count, cells) } else { Ok(()) }
        } else {
            self.fill_whole(sequence, cells)
        };
        match restored {
            Ok(()) => self.prefixes.keep(&mut self.context, sequence),
            Err(_) => self.prefixes.close(&mut self.context, sequence),
        }
        self.tell_stats();
        restored
    }

    /// Makes sure that cells that anybody may have written are those of their tokens, and can be freed again.
    ///
    /// Where they are not, everything is computed anew: a sequence may then have cells that the engine does not free
    /// (it frees by position, from 0 on), or takes for empty (those at position -1), and gives to others.
    fn try_out(&mut self, cells: &SavedCells) -> Result<()> {
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
        self.start_over();
        restored?;
        Err(damaged_cells("its cells are not those of its tokens"))
    }

    /// Gives a sequence that has the tokens before a range the cells of the range.
    fn fill(&mut self, sequence: SeqId, range: Range<usize>, cells: &SavedCells) -> Result<()> {
        // What is there already is shared, so the saved cells go through a sequence of their own.
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

    /// Gives an empty sequence all that was saved.
    fn fill_whole(&mut self, sequence: SeqId, cells: &SavedCells) -> Result<()> {
        self.make_room(cells.tokens.len())?;
        self.context.restore(sequence, Saved::Whole, &cells.data)?;
        self.prefixes.extend(sequence, &cells.tokens);
        Ok(())
    }

    /// Sees to so many free cells.
    fn make_room(&mut self, count: usize) -> Result<()> {
        let missing = (self.prefixes.used() + count).saturating_sub(self.n_ctx);
        self.prefixes.evict(&mut self.context, missing);
        if self.prefixes.used() + count <= self.n_ctx {
            return Ok(());
        }
        let message = format!(
            "there is no room for {count} tokens in addition to the requests that are running"
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
