//! The host cache in system RAM, from which copying back is faster than recomputing: sequences
//! evicted from the KV cache, and checkpoints of state that cannot be truncated.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut, Range};

use super::prefix::KvCells;
use super::request::SavedCells;
use crate::Result;
use crate::Token;
use crate::device::gpu::host_memory;
use crate::engine::{AdapterSet, Context, Saved, SeqId};

/// Computing fewer tokens than this is as fast as copying them.
pub(super) const MIN_CACHED_TOKENS: usize = 32;

/// Divisor of the free memory that is used by default, and the default maximum in bytes.
const DEFAULT_SHARE: u64 = 4;
const DEFAULT_MAX: u64 = 8 << 30;

/// Saved memory of sequences, least recently used first.
pub(super) struct HostCache {
    entries: VecDeque<Entry>,
    /// Largest number of bytes, and bytes in use.
    limit: usize,
    used: usize,
}

struct Entry {
    saved: Saved,
    cells: SavedCells,
}

impl Entry {
    /// Number of leading tokens in common with the saved cells; 0 if the adapters differ.
    fn common_length(&self, adapters: &AdapterSet, tokens: &[Token]) -> usize {
        if self.cells.adapters != *adapters {
            return 0;
        }
        self.cells.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count()
    }

    /// Whether the tokens start with all saved tokens.
    fn is_prefix_of(&self, adapters: &AdapterSet, tokens: &[Token]) -> bool {
        self.cells.adapters == *adapters && tokens.starts_with(&self.cells.tokens)
    }
}

impl HostCache {
    /// A cache of at most `limit` bytes; `None` uses a part of the currently free memory.
    pub fn new(limit: Option<usize>) -> Self {
        let default = || (host_memory().0 / DEFAULT_SHARE).min(DEFAULT_MAX) as usize;
        Self { entries: VecDeque::new(), limit: limit.unwrap_or_else(default), used: 0 }
    }

    /// Whether the cache may store anything.
    pub fn is_on(&self) -> bool {
        self.limit > 0
    }

    /// Whether a sequence of these tokens is worth storing.
    pub fn should_store(&self, adapters: &AdapterSet, tokens: &[Token]) -> bool {
        let has = |entry: &Entry| entry.common_length(adapters, tokens) == tokens.len();
        self.is_on()
            && tokens.len() >= MIN_CACHED_TOKENS
            && !self.whole().any(|(_, entry)| has(entry))
    }

    /// Whether there is no checkpoint after exactly these tokens yet.
    pub fn should_store_checkpoint(&self, adapters: &AdapterSet, tokens: &[Token]) -> bool {
        self.is_on() && self.checkpoint(adapters, tokens) < tokens.len()
    }

    /// Stores a sequence, and removes those that are prefixes of it.
    pub fn store(&mut self, cells: SavedCells) {
        let is_better = |entry: &Entry| {
            entry.saved == Saved::Whole && entry.is_prefix_of(&cells.adapters, &cells.tokens)
        };
        self.entries.retain(|entry| !is_better(entry));
        self.push(Entry { saved: Saved::Whole, cells });
    }

    /// Stores a checkpoint.
    pub fn store_checkpoint(&mut self, cells: SavedCells) {
        self.push(Entry { saved: Saved::Checkpoint, cells });
    }

    fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
        self.used = self.entries.iter().map(|entry| size(&entry.cells)).sum();
        while self.used > self.limit {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.used -= size(&oldest.cells);
        }
    }

    /// Removes all entries.
    pub fn forget(&mut self) {
        self.entries.clear();
        self.used = 0;
    }

    /// Length of the longest prefix of these tokens that a sequence has.
    pub fn common_length(&self, adapters: &AdapterSet, tokens: &[Token]) -> usize {
        self.whole().map(|(_, entry)| entry.common_length(adapters, tokens)).max().unwrap_or(0)
    }

    /// Removes and returns the sequence with the longest prefix in common with these tokens, and the prefix's length.
    /// `None` if copying it is not worthwhile, because `known` tokens are available already.
    pub fn take(
        &mut self,
        adapters: &AdapterSet,
        tokens: &[Token],
        known: usize,
    ) -> Option<(SavedCells, usize)> {
        let common =
            |(index, entry): (usize, &Entry)| (index, entry.common_length(adapters, tokens));
        self.take_best(known, |cache| cache.whole().map(common).max_by_key(|(_, length)| *length))
    }

    /// As [`Self::take`], for memory that cannot be truncated. The returned length is that of the whole sequence, if
    /// the tokens start with it, or that of a checkpoint within the common prefix.
    pub fn take_whole(
        &mut self,
        adapters: &AdapterSet,
        tokens: &[Token],
        known: usize,
    ) -> Option<(SavedCells, usize)> {
        let leads = |(index, entry): (usize, &Entry)| {
            let common = entry.common_length(adapters, tokens);
            let all = common == entry.cells.tokens.len();
            (index, if all { common } else { self.checkpoint(adapters, &tokens[..common]) })
        };
        let best = self.whole().map(leads).max_by_key(|(_, length)| *length);
        self.take_best(known, |_| best)
    }

    fn take_best(
        &mut self,
        known: usize,
        best: impl FnOnce(&Self) -> Option<(usize, usize)>,
    ) -> Option<(SavedCells, usize)> {
        let (index, length) =
            best(self).filter(|(_, length)| *length >= known + MIN_CACHED_TOKENS)?;
        let entry = self.entries.remove(index)?;
        self.used -= size(&entry.cells);
        Some((entry.cells, length))
    }

    /// Number of tokens before the last checkpoint in a prefix of these tokens; 0 if there is none.
    pub fn checkpoint(&self, adapters: &AdapterSet, tokens: &[Token]) -> usize {
        self.last_checkpoint(adapters, tokens).map_or(0, |(_, length)| length)
    }

    /// Returns the last checkpoint in a prefix of these tokens, and marks it as used.
    pub fn use_checkpoint(
        &mut self,
        adapters: &AdapterSet,
        tokens: &[Token],
    ) -> Option<&SavedCells> {
        let (index, _) = self.last_checkpoint(adapters, tokens)?;
        let entry = self.entries.remove(index)?;
        self.entries.push_back(entry);
        self.entries.back().map(|entry| &entry.cells)
    }

    fn last_checkpoint(&self, adapters: &AdapterSet, tokens: &[Token]) -> Option<(usize, usize)> {
        let entries = self.entries.iter().enumerate();
        entries
            .filter(|(_, entry)| {
                entry.saved == Saved::Checkpoint && entry.is_prefix_of(adapters, tokens)
            })
            .map(|(index, entry)| (index, entry.cells.tokens.len()))
            .max_by_key(|(_, length)| *length)
    }

    fn whole(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.entries.iter().enumerate().filter(|(_, entry)| entry.saved == Saved::Whole)
    }
}

/// A context whose sequences are copied to system RAM before they are evicted.
pub(super) struct TieredContext {
    context: Context,
    pub host_cache: HostCache,
}

impl TieredContext {
    /// `host_bytes` limits the size of the copies.
    pub fn new(context: Context, host_bytes: Option<usize>) -> Self {
        Self { context, host_cache: HostCache::new(host_bytes) }
    }

    /// Saves a checkpoint of a sequence that has computed these tokens.
    pub fn save_checkpoint(&mut self, sequence: SeqId, adapters: &AdapterSet, tokens: &[Token]) {
        if self.host_cache.should_store_checkpoint(adapters, tokens)
            && self.context.is_intact(sequence, tokens.len())
            && let Ok(data) = self.context.save(sequence, Saved::Checkpoint)
        {
            let cells = SavedCells { adapters: adapters.clone(), tokens: tokens.to_vec(), data };
            self.host_cache.store_checkpoint(cells);
        }
    }

    /// Restores the checkpoint after these tokens, whose cells the sequence already has.
    pub fn restore_checkpoint(
        &mut self,
        sequence: SeqId,
        adapters: &AdapterSet,
        tokens: &[Token],
    ) -> Result<()> {
        let Some(cells) = self.host_cache.use_checkpoint(adapters, tokens) else { return Ok(()) };
        self.context.restore(sequence, Saved::Checkpoint, &cells.data)
    }
}

impl Deref for TieredContext {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

impl DerefMut for TieredContext {
    fn deref_mut(&mut self) -> &mut Context {
        &mut self.context
    }
}

impl KvCells for TieredContext {
    fn share(&mut self, from: SeqId, to: SeqId, positions: Range<usize>) -> Result<()> {
        self.context.share(from, to, positions)
    }

    fn on_evict(&mut self, sequence: SeqId, adapters: &AdapterSet, tokens: Vec<Token>) {
        if self.host_cache.should_store(adapters, &tokens)
            && let Ok(data) = self.context.save(sequence, Saved::Whole)
        {
            let adapters = adapters.clone();
            self.host_cache.store(SavedCells { adapters, tokens, data });
        }
    }

    fn trim(&mut self, sequence: SeqId, keep: usize) {
        self.context.trim(sequence, keep);
    }
}

fn size(entry: &SavedCells) -> usize {
    entry.data.len() + size_of_val(entry.tokens.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(tokens: impl IntoIterator<Item = Token>, bytes: usize) -> SavedCells {
        let tokens = tokens.into_iter().collect();
        SavedCells { adapters: AdapterSet::default(), tokens, data: vec![0; bytes] }
    }

    #[test]
    fn longest_common_prefix_is_found() {
        let plain = AdapterSet::default();
        let mut cache = HostCache::new(Some(10_000));
        cache.store(cells((0..40).chain(800..810), 100));
        cache.store(cells((0..50).chain(900..910), 100));
        let wanted: Vec<_> = (0..80).collect();
        assert!(cache.take(&plain, &wanted, 30).is_none(), "20 more are not worth it");
        assert!(cache.take(&AdapterSet::named(1), &wanted, 0).is_none());
        assert!(cache.take(&plain, &[1, 2, 3], 0).is_none());
        assert_eq!(cache.take(&plain, &wanted, 0).unwrap().1, 50);
        assert_eq!(cache.take(&plain, &wanted, 0).unwrap().1, 40);
        assert_eq!((cache.entries.len(), cache.used), (0, 0));
    }

    #[test]
    fn prefixes_of_cached_prompts_are_not_stored_again() {
        let plain = AdapterSet::default();
        let mut cache = HostCache::new(Some(10_000));
        let (short, long): (Vec<_>, Vec<_>) = ((0..40).collect(), (0..90).collect());
        assert!(cache.should_store(&plain, &short));
        cache.store(cells(short.clone(), 100));
        assert!(!cache.should_store(&plain, &short));
        assert!(cache.should_store(&plain, &long));
        cache.store(cells(long.clone(), 200));
        assert!(!cache.should_store(&plain, &short) && !cache.should_store(&plain, &long));
        assert_eq!((cache.entries.len(), cache.used), (1, 200 + 90 * 4));
        assert!(!HostCache::new(Some(0)).should_store(&plain, &long));
    }

    #[test]
    fn least_recently_used_is_evicted_first() {
        let plain = AdapterSet::default();
        let mut cache = HostCache::new(Some(1000));
        let prompt = |first: Token| (first..first + 50).collect::<Vec<_>>();
        cache.store(cells(prompt(0), 200));
        cache.store(cells(prompt(100), 200));
        let (used, _) = cache.take(&plain, &prompt(0), 0).unwrap();
        cache.store(used);
        cache.store(cells(prompt(200), 200));
        assert!(cache.take(&plain, &prompt(100), 0).is_none());
        assert!(
            !cache.should_store(&plain, &prompt(0)) && !cache.should_store(&plain, &prompt(200))
        );
        cache.store(cells(prompt(300), 5000));
        assert_eq!((cache.entries.len(), cache.used), (0, 0), "one that is too large by itself");
    }
}
