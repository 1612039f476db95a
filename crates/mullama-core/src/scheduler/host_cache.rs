//! What had to leave the KV cache and is kept in the machine's own memory: copying it back is quicker than
//! computing it again.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut, Range};

use super::prefix::KvCells;
use super::request::SavedCells;
use crate::Token;
use crate::engine::{AdapterSet, Context, SeqId};

/// Fewer tokens than this are computed as quickly as copied.
const FEWEST: usize = 32;

/// Cells of sequences, those that were used least recently first.
pub(super) struct HostCache {
    entries: VecDeque<SavedCells>,
    /// Bytes that may be used, and that are.
    limit: usize,
    used: usize,
}

impl HostCache {
    /// One that takes at most so many bytes.
    pub fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), limit, used: 0 }
    }

    /// Whether cells of these tokens are worth keeping.
    pub fn wants(&self, adapters: &AdapterSet, tokens: &[Token]) -> bool {
        self.limit > 0
            && tokens.len() >= FEWEST
            && !self
                .entries
                .iter()
                .any(|entry| entry.adapters == *adapters && entry.tokens.starts_with(tokens))
    }

    /// Keeps cells, in place of any that they begin with.
    pub fn keep(&mut self, cells: SavedCells) {
        let is_better = |entry: &SavedCells| {
            entry.adapters == cells.adapters && cells.tokens.starts_with(&entry.tokens)
        };
        self.entries.retain(|entry| !is_better(entry));
        self.entries.push_back(cells);
        self.used = self.entries.iter().map(size).sum();
        while self.used > self.limit {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.used -= size(&oldest);
        }
    }

    /// Takes out the cells that begin like these tokens for longest, where that is worth copying beside the
    /// `known` first ones; and tells how many tokens they have in common.
    pub fn take(
        &mut self,
        adapters: &AdapterSet,
        tokens: &[Token],
        known: usize,
    ) -> Option<(SavedCells, usize)> {
        let common = |entry: &SavedCells| {
            entry.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count()
        };
        let entries = self.entries.iter().enumerate();
        let (index, length) = entries
            .filter(|(_, entry)| entry.adapters == *adapters)
            .map(|(index, entry)| (index, common(entry)))
            .max_by_key(|(_, length)| *length)
            .filter(|(_, length)| *length >= known + FEWEST)?;
        let entry = self.entries.remove(index)?;
        self.used -= size(&entry);
        Some((entry, length))
    }
}

/// A context whose cells are copied to the machine's own memory before they are evicted.
pub(super) struct TieredContext {
    context: Context,
    pub host_cache: HostCache,
}

impl TieredContext {
    /// `host_bytes` is the most that the copies may take.
    pub fn new(context: Context, host_bytes: usize) -> Self {
        Self { context, host_cache: HostCache::new(host_bytes) }
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
    fn share(&mut self, from: SeqId, to: SeqId, positions: Range<usize>) {
        self.context.share(from, to, positions);
    }

    fn on_evict(&mut self, sequence: SeqId, adapters: &AdapterSet, tokens: Vec<Token>) {
        if self.host_cache.wants(adapters, &tokens)
            && let Ok(data) = self.context.save(sequence)
        {
            let adapters = adapters.clone();
            self.host_cache.keep(SavedCells { adapters, tokens, data });
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
    fn the_longest_common_beginning_is_found() {
        let plain = AdapterSet::default();
        let mut cache = HostCache::new(10_000);
        cache.keep(cells((0..40).chain(800..810), 100));
        cache.keep(cells((0..50).chain(900..910), 100));
        let wanted: Vec<_> = (0..80).collect();
        assert!(cache.take(&plain, &wanted, 30).is_none(), "20 more are not worth it");
        assert!(cache.take(&AdapterSet::named(1), &wanted, 0).is_none());
        assert!(cache.take(&plain, &[1, 2, 3], 0).is_none());
        assert_eq!(cache.take(&plain, &wanted, 0).unwrap().1, 50);
        assert_eq!(cache.take(&plain, &wanted, 0).unwrap().1, 40);
        assert_eq!((cache.entries.len(), cache.used), (0, 0));
    }

    #[test]
    fn nothing_is_kept_twice() {
        let plain = AdapterSet::default();
        let mut cache = HostCache::new(10_000);
        let (short, long): (Vec<_>, Vec<_>) = ((0..40).collect(), (0..90).collect());
        assert!(cache.wants(&plain, &short));
        cache.keep(cells(short.clone(), 100));
        assert!(!cache.wants(&plain, &short));
        assert!(cache.wants(&plain, &long));
        cache.keep(cells(long.clone(), 200));
        assert!(!cache.wants(&plain, &short) && !cache.wants(&plain, &long));
        assert_eq!((cache.entries.len(), cache.used), (1, 200 + 90 * 4));
        assert!(!HostCache::new(0).wants(&plain, &long));
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let plain = AdapterSet::default();
        let mut cache = HostCache::new(1000);
        let prompt = |first: Token| (first..first + 50).collect::<Vec<_>>();
        cache.keep(cells(prompt(0), 200));
        cache.keep(cells(prompt(100), 200));
        let (used, _) = cache.take(&plain, &prompt(0), 0).unwrap();
        cache.keep(used);
        cache.keep(cells(prompt(200), 200));
        assert!(cache.take(&plain, &prompt(100), 0).is_none());
        assert!(!cache.wants(&plain, &prompt(0)) && !cache.wants(&plain, &prompt(200)));
        cache.keep(cells(prompt(300), 5000));
        assert_eq!((cache.entries.len(), cache.used), (0, 0), "one that is too large by itself");
    }
}
