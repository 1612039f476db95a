//! The prefix cache: a radix tree over the tokens of every sequence.
//!
//! The cells of a node's tokens in the KV cache are shared by all sequences that pass through it,
//! so the sum over all nodes is the number of cells in use. There are sequences of running
//! requests, and of finished ones, which are cached for requests with the same prefix. When cells
//! or sequences run out, the ends of the least recently used ones are evicted first.
//!
//! Cells computed with one set of adapters cannot be used with another: each set has a tree of its own.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::engine::{AdapterSet, SeqId, Sharing};
use crate::{Result, Token};

/// The operations of the engine's KV cache on sequences.
pub(super) trait KvCells {
    /// Adds cells of one sequence to another that has none at these positions. If this fails, the other sequence is
    /// empty.
    fn share(&mut self, from: SeqId, to: SeqId, positions: Range<usize>) -> Result<()>;

    /// Called before a cached sequence with the cells of these tokens loses some.
    fn on_evict(&mut self, sequence: SeqId, adapters: &AdapterSet, tokens: Vec<Token>);

    /// Removes all cells except the first `keep` from a sequence.
    fn trim(&mut self, sequence: SeqId, keep: usize);
}

type NodeId = usize;

#[derive(Default)]
struct Node {
    tokens: Vec<Token>,
    /// A root is its own parent.
    parent: NodeId,
    children: Vec<NodeId>,
}

struct Path {
    /// The root of its tree.
    root: NodeId,
    /// The node at which the sequence ends.
    end: NodeId,
    /// Number of tokens from the root to `end`.
    length: usize,
    /// When a cached sequence was last used; `None` if its request is running.
    cached_since: Option<u64>,
}

/// A sequence whose cells can be shared up to a place: after `within` tokens of a node, `length` tokens in all.
#[derive(Clone, Copy)]
struct Source {
    from: SeqId,
    node: NodeId,
    within: usize,
    length: usize,
}

/// Counters of the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// Number of evicted cells.
    pub evicted: u64,
}

/// The sequences of a context, and the cells that they share.
pub(super) struct PrefixCache {
    nodes: Vec<Node>,
    unused_nodes: Vec<NodeId>,
    roots: BTreeMap<AdapterSet, NodeId>,
    paths: BTreeMap<SeqId, Path>,
    free: Vec<SeqId>,
    /// Cells in use.
    used: usize,
    clock: u64,
    sharing: Sharing,
    /// Largest number of cells used only by cached sequences.
    limit: usize,
    pub counters: Counters,
}

impl PrefixCache {
    pub fn new(sequences: usize, sharing: Sharing, limit: usize) -> Self {
        Self {
            nodes: Vec::new(),
            unused_nodes: Vec::new(),
            roots: BTreeMap::new(),
            paths: BTreeMap::new(),
            free: (0..sequences as SeqId).rev().collect(),
            used: 0,
            clock: 0,
            // Without a cache, running requests share nothing either.
            sharing: if limit > 0 { sharing } else { Sharing::None },
            limit,
            counters: Counters::default(),
        }
    }

    /// What sequences can share.
    pub fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// Number of cells in use, by running requests and cached sequences.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Number of cells that only cached sequences use.
    pub fn evictable(&self) -> usize {
        let mut running = vec![false; self.nodes.len()];
        for path in self.paths.values().filter(|path| path.cached_since.is_none()) {
            let mut node = path.end;
            while !self.is_root(node) && !running[node] {
                running[node] = true;
                node = self.nodes[node].parent;
            }
        }
        let held: usize =
            (0..self.nodes.len()).filter(|&n| running[n]).map(|n| self.nodes[n].tokens.len()).sum();
        self.used - held
    }

    /// Opens an empty sequence for a request with these adapters; `None` if all sequences are running.
    pub fn open(&mut self, cells: &mut impl KvCells, adapters: &AdapterSet) -> Option<SeqId> {
        if self.free.is_empty() {
            let oldest = self.oldest(|_| true)?;
            if let Some((adapters, tokens)) = self.contents(oldest) {
                cells.on_evict(oldest, adapters, tokens);
            }
            self.close(cells, oldest);
        }
        let sequence = self.free.pop()?;
        let root = self.root(adapters);
        self.paths.insert(sequence, Path { root, end: root, length: 0, cached_since: None });
        Some(sequence)
    }

    /// Shares the cells of the longest computed prefix of `tokens` with a sequence, if it is longer than what the
    /// sequence has. Returns the sequence's length. If memory cannot be truncated, only whole sequences are candidates.
    pub fn share_prefix(
        &mut self,
        cells: &mut impl KvCells,
        sequence: SeqId,
        tokens: &[Token],
    ) -> usize {
        let Path { root, length: own, .. } = self.paths[&sequence];
        let found = match self.sharing {
            Sharing::None => None,
            Sharing::Checkpoints => self.longest_whole_prefix(sequence, tokens),
            Sharing::Any => self.source(sequence, self.find(root, tokens, 0)),
        };
        match found {
            Some(source) if source.length > own => self.share_from(cells, sequence, source),
            _ => own,
        }
    }

    /// Number of leading tokens whose cells the sequence could share.
    pub fn common_length(&self, sequence: SeqId, tokens: &[Token]) -> usize {
        self.find(self.paths[&sequence].root, tokens, 0).2
    }

    /// Length of the longest other sequence that is a prefix of these tokens.
    pub fn common_sequence_length(&self, sequence: SeqId, tokens: &[Token]) -> usize {
        self.longest_whole_prefix(sequence, tokens).map_or(0, |source| source.length)
    }

    /// Shares the cells of exactly these tokens with an empty sequence, but no state that cannot be truncated. Returns
    /// false if not all cells are available.
    pub fn adopt_cells(
        &mut self,
        cells: &mut impl KvCells,
        sequence: SeqId,
        tokens: &[Token],
    ) -> bool {
        let place = self.find(self.paths[&sequence].root, tokens, 0);
        match self.source(sequence, place) {
            Some(source) if source.length == tokens.len() => {
                self.share_from(cells, sequence, source) == tokens.len()
            }
            _ => false,
        }
    }

    /// Removes all cells from an open sequence.
    pub fn empty(&mut self, cells: &mut impl KvCells, sequence: SeqId) {
        cells.trim(sequence, 0);
        self.remove_sequence(sequence);
    }

    /// Shares the cells of another sequence up to a place. Returns the sequence's new length.
    fn share_from(&mut self, cells: &mut impl KvCells, sequence: SeqId, source: Source) -> usize {
        let Source { from, node, within, length } = source;
        let root = self.paths[&sequence].root;
        let end = self.split(node, within);
        self.empty(cells, sequence);
        if let Err(error) = cells.share(from, sequence, 0..length) {
            log::debug!("what has been computed cannot be shared: {error}");
            return 0;
        }
        let path = Path { root, end, length, cached_since: None };
        self.paths.insert(sequence, path);
        self.clock += 1;
        if let Some(cached_since) = self.paths.get_mut(&from).and_then(|p| p.cached_since.as_mut())
        {
            *cached_since = self.clock;
        }
        length
    }

    /// Records that the cells of these tokens, which follow those of the sequence, have been computed.
    pub fn extend(&mut self, sequence: SeqId, tokens: &[Token]) {
        if tokens.is_empty() {
            return;
        }
        let end = self.paths[&sequence].end;
        let is_own =
            !self.is_root(end) && self.nodes[end].children.is_empty() && self.count_ends(end) == 1;
        let end = if is_own {
            self.nodes[end].tokens.extend_from_slice(tokens);
            end
        } else {
            self.add_node(end, tokens.to_vec())
        };
        self.used += tokens.len();
        let path = self.paths.get_mut(&sequence).expect("the sequence is open");
        path.end = end;
        path.length += tokens.len();
    }

    /// Caches the sequence of a finished request.
    pub fn store(&mut self, cells: &mut impl KvCells, sequence: SeqId) {
        let end = self.paths[&sequence].end;
        let goes_on = !self.nodes[end].children.is_empty() && self.sharing == Sharing::Any;
        let is_known = self.is_root(end) || goes_on || self.count_ends(end) > 1;
        if self.sharing == Sharing::None || is_known {
            self.close(cells, sequence);
            return;
        }
        self.clock += 1;
        self.paths.get_mut(&sequence).expect("the sequence is open").cached_since =
            Some(self.clock);
        let surplus = self.evictable().saturating_sub(self.limit);
        self.evict(cells, surplus);
    }

    /// Closes a sequence and frees its cells.
    pub fn close(&mut self, cells: &mut impl KvCells, sequence: SeqId) {
        cells.trim(sequence, 0);
        self.remove_sequence(sequence);
        if let Some(Path { root, .. }) = self.paths.remove(&sequence) {
            self.drop_root(root);
        }
        self.free.push(sequence);
    }

    /// Closes all cached sequences.
    pub fn forget(&mut self, cells: &mut impl KvCells) {
        while let Some(sequence) = self.oldest(|_| true) {
            self.close(cells, sequence);
        }
    }

    /// Frees at least `count` cells of cached sequences, or all of them.
    pub fn evict(&mut self, cells: &mut impl KvCells, mut count: usize) {
        while count > 0 && self.sharing == Sharing::Checkpoints {
            let Some(sequence) = self.oldest(|_| true) else { return };
            if let Some((adapters, tokens)) = self.contents(sequence) {
                cells.on_evict(sequence, adapters, tokens);
            }
            let before = self.used;
            self.close(cells, sequence);
            self.counters.evicted += (before - self.used) as u64;
            count = count.saturating_sub(before - self.used);
        }
        while count > 0 {
            // A sequence that ends where others continue has no cells of its own.
            let alone =
                |end: NodeId| self.nodes[end].children.is_empty() && self.count_ends(end) == 1;
            let Some(sequence) = self.oldest(alone) else { return };
            if let Some((adapters, tokens)) = self.contents(sequence) {
                cells.on_evict(sequence, adapters, tokens);
            }
            let path = &self.paths[&sequence];
            let (end, length) = (path.end, path.length);
            let tokens = self.nodes[end].tokens.len();
            if count < tokens {
                self.nodes[end].tokens.truncate(tokens - count);
                self.used -= count;
                cells.trim(sequence, length - count);
                self.paths.get_mut(&sequence).expect("it was found").length -= count;
                self.counters.evicted += count as u64;
                return;
            }
            count -= tokens;
            self.counters.evicted += tokens as u64;
            let parent = self.nodes[end].parent;
            let is_held = self.is_root(parent)
                || self.nodes[parent].children.len() > 1
                || self.count_ends(parent) > 0;
            if is_held {
                self.close(cells, sequence);
            } else {
                cells.trim(sequence, length - tokens);
                self.remove_node(end);
                let path = self.paths.get_mut(&sequence).expect("it was found");
                path.end = parent;
                path.length -= tokens;
            }
        }
    }

    /// The tokens of a sequence, and the adapters that they were computed with.
    fn contents(&self, sequence: SeqId) -> Option<(&AdapterSet, Vec<Token>)> {
        let path = self.paths.get(&sequence)?;
        let (adapters, _) = self.roots.iter().find(|(_, root)| **root == path.root)?;
        let mut parts = Vec::new();
        let mut node = path.end;
        while !self.is_root(node) {
            parts.push(self.nodes[node].tokens.as_slice());
            node = self.nodes[node].parent;
        }
        parts.reverse();
        Some((adapters, parts.concat()))
    }

    /// The least recently used cached sequence whose end satisfies the condition.
    fn oldest(&self, condition: impl Fn(NodeId) -> bool) -> Option<SeqId> {
        let kept = self.paths.iter().filter_map(|(&sequence, path)| {
            Some((path.cached_since.filter(|_| condition(path.end))?, sequence))
        });
        kept.min().map(|(_, sequence)| sequence)
    }

    /// The longest prefix of `tokens` below a node that comes after the first `length` of them: the node where it ends,
    /// the number of that node's tokens in it, and its length.
    ///
    /// If memory cannot be truncated, the same tokens may have been computed twice, so several children can match.
    fn find(&self, node: NodeId, tokens: &[Token], length: usize) -> (NodeId, usize, usize) {
        let rest = &tokens[length..];
        let follow = |child: NodeId| {
            let edge = &self.nodes[child].tokens;
            let same = edge.iter().zip(rest).take_while(|(a, b)| a == b).count();
            match same {
                0 => None,
                same if same < edge.len() => Some((child, same, length + same)),
                same => Some(self.find(child, tokens, length + same)),
            }
        };
        let ways = self.nodes[node].children.iter().filter_map(|&child| follow(child));
        let here = (node, self.nodes[node].tokens.len(), length);
        ways.max_by_key(|(.., length)| *length).unwrap_or(here)
    }

    /// The longest other sequence that is a prefix of these tokens.
    fn longest_whole_prefix(&self, other: SeqId, tokens: &[Token]) -> Option<Source> {
        let root = self.paths[&other].root;
        let begins = |(&from, path): (&SeqId, &Path)| {
            let candidate = from != other && path.root == root && path.length > 0;
            let (_, contents) = candidate.then(|| self.contents(from)).flatten()?;
            let within = self.nodes[path.end].tokens.len();
            let source = Source { from, node: path.end, within, length: path.length };
            tokens.starts_with(&contents).then_some(source)
        };
        self.paths.iter().filter_map(begins).max_by_key(|source| source.length)
    }

    /// Finds another sequence that has the cells up to a place.
    fn source(
        &self,
        other: SeqId,
        (node, within, length): (NodeId, usize, usize),
    ) -> Option<Source> {
        let from = self.sequence_through(node, other)?;
        Some(Source { from, node, within, length })
    }

    /// A sequence other than this one that passes through a node.
    fn sequence_through(&self, node: NodeId, other: SeqId) -> Option<SeqId> {
        let passes = |path: &Path| {
            let mut at = path.end;
            while at != node && !self.is_root(at) {
                at = self.nodes[at].parent;
            }
            at == node
        };
        let mut paths = self.paths.iter().filter(|(sequence, _)| **sequence != other);
        paths.find(|(_, path)| passes(path)).map(|(&sequence, _)| sequence)
    }

    /// Number of sequences that end at a node.
    fn count_ends(&self, node: NodeId) -> usize {
        self.paths.values().filter(|path| path.end == node).count()
    }

    /// Splits a node after `within` of its tokens. Returns the upper node.
    fn split(&mut self, node: NodeId, within: usize) -> NodeId {
        if within == self.nodes[node].tokens.len() {
            return node;
        }
        let parent = self.nodes[node].parent;
        let rest = self.nodes[node].tokens.split_off(within);
        let beginning = std::mem::replace(&mut self.nodes[node].tokens, rest);
        let upper = self.add_node(parent, beginning);
        self.nodes[parent].children.retain(|&child| child != node);
        self.nodes[upper].children.push(node);
        self.nodes[node].parent = upper;
        upper
    }

    fn add_node(&mut self, parent: NodeId, tokens: Vec<Token>) -> NodeId {
        let id = self.new_node();
        self.nodes[id] = Node { tokens, parent, children: Vec::new() };
        self.nodes[parent].children.push(id);
        id
    }

    fn new_node(&mut self) -> NodeId {
        self.unused_nodes.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            self.nodes.len() - 1
        })
    }

    /// The root of the tree for these adapters.
    fn root(&mut self, adapters: &AdapterSet) -> NodeId {
        if let Some(root) = self.roots.get(adapters) {
            return *root;
        }
        let root = self.new_node();
        self.nodes[root] = Node { parent: root, ..Node::default() };
        self.roots.insert(adapters.clone(), root);
        root
    }

    fn is_root(&self, node: NodeId) -> bool {
        self.nodes[node].parent == node
    }

    /// Removes a root without sequences.
    fn drop_root(&mut self, root: NodeId) {
        if self.paths.values().all(|path| path.root != root) {
            self.roots.retain(|_, known| *known != root);
            self.unused_nodes.push(root);
        }
    }

    fn remove_node(&mut self, node: NodeId) {
        let Node { tokens, parent, .. } = std::mem::take(&mut self.nodes[node]);
        self.used -= tokens.len();
        self.nodes[parent].children.retain(|&child| child != node);
        self.unused_nodes.push(node);
    }

    /// Removes a sequence from the tree, with all nodes that only it passes through.
    fn remove_sequence(&mut self, sequence: SeqId) {
        let Some(path) = self.paths.get_mut(&sequence) else { return };
        let mut node = std::mem::replace(&mut path.end, path.root);
        path.length = 0;
        while !self.is_root(node)
            && self.nodes[node].children.is_empty()
            && self.count_ends(node) == 0
        {
            let parent = self.nodes[node].parent;
            self.remove_node(node);
            node = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cells that record the tokens they were computed from, and their sequences.
    #[derive(Default)]
    struct Model {
        /// The cells of each sequence, in order.
        sequences: BTreeMap<SeqId, Vec<u64>>,
        /// The tokens up to and including each cell.
        contents: BTreeMap<u64, Vec<Token>>,
        next: u64,
    }

    impl KvCells for Model {
        fn share(&mut self, from: SeqId, to: SeqId, positions: Range<usize>) -> Result<()> {
            let shared = self.sequences[&from][positions.clone()].to_vec();
            let target = self.sequences.entry(to).or_default();
            assert_eq!(target.len(), positions.start, "the target ends where the shared begin");
            target.extend(shared);
            Ok(())
        }

        fn on_evict(&mut self, sequence: SeqId, _: &AdapterSet, tokens: Vec<Token>) {
            assert_eq!(self.tokens(sequence), tokens);
        }

        fn trim(&mut self, sequence: SeqId, keep: usize) {
            if let Some(cells) = self.sequences.get_mut(&sequence) {
                assert!(keep <= cells.len());
                cells.truncate(keep);
            }
        }
    }

    impl Model {
        fn compute(&mut self, sequence: SeqId, tokens: &[Token]) {
            let cells = self.sequences.entry(sequence).or_default();
            for &token in tokens {
                let mut content =
                    cells.last().map(|cell| self.contents[cell].clone()).unwrap_or_default();
                content.push(token);
                self.contents.insert(self.next, content);
                cells.push(self.next);
                self.next += 1;
            }
        }

        fn used(&self) -> usize {
            let cells = self.sequences.values().flatten();
            cells.collect::<std::collections::BTreeSet<_>>().len()
        }

        fn tokens(&self, sequence: SeqId) -> Vec<Token> {
            let last = self.sequences.get(&sequence).and_then(|cells| cells.last());
            last.map(|cell| self.contents[cell].clone()).unwrap_or_default()
        }
    }

    fn run(cache: &mut PrefixCache, model: &mut Model, tokens: &[Token]) -> (SeqId, usize) {
        run_with(cache, model, &AdapterSet::default(), tokens)
    }

    fn run_with(
        cache: &mut PrefixCache,
        model: &mut Model,
        adapters: &AdapterSet,
        tokens: &[Token],
    ) -> (SeqId, usize) {
        let sequence = cache.open(model, adapters).unwrap();
        let adopted = cache.share_prefix(model, sequence, &tokens[..tokens.len() - 1]);
        model.compute(sequence, &tokens[adopted..]);
        cache.extend(sequence, &tokens[adopted..]);
        (sequence, adopted)
    }

    #[test]
    fn computed_prefixes_are_reused() {
        let (mut cache, mut model) = (PrefixCache::new(8, Sharing::Any, 1000), Model::default());
        let (a, adopted) = run(&mut cache, &mut model, &[1, 2, 3, 4, 5]);
        assert_eq!(adopted, 0);
        // While the first is still running.
        let (b, adopted) = run(&mut cache, &mut model, &[1, 2, 3, 9, 9]);
        assert_eq!((adopted, cache.used(), model.used()), (3, 7, 7));
        cache.store(&mut model, a);
        cache.store(&mut model, b);
        assert_eq!(cache.evictable(), 7);
        let (_, adopted) = run(&mut cache, &mut model, &[1, 2, 3, 9, 9]);
        assert_eq!(adopted, 4, "the last token is always computed");
        assert_eq!(cache.evictable(), 3, "the end of the first, and the last cell of the second");
    }

    #[test]
    fn least_recently_used_is_evicted_first() {
        let (mut cache, mut model) = (PrefixCache::new(8, Sharing::Any, 1000), Model::default());
        for prompt in [[1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]] {
            let (sequence, _) = run(&mut cache, &mut model, &prompt);
            cache.store(&mut model, sequence);
        }
        let (again, adopted) = run(&mut cache, &mut model, &[1, 1, 1, 1]);
        assert_eq!(adopted, 3);
        cache.close(&mut model, again);
        cache.evict(&mut model, 5);
        assert_eq!((cache.used(), cache.counters.evicted), (7, 5));
        let mut adopted = |prompt: [Token; 4]| {
            let (sequence, adopted) = run(&mut cache, &mut model, &prompt);
            cache.close(&mut model, sequence);
            adopted
        };
        assert_eq!((adopted([2; 4]), adopted([3; 4]), adopted([1; 4])), (0, 3, 3));
    }

    #[test]
    fn prefixes_of_other_adapters_are_not_reused() {
        let (mut cache, mut model) = (PrefixCache::new(8, Sharing::Any, 1000), Model::default());
        let (plain, adapted) = (AdapterSet::default(), AdapterSet::named(1));
        let mut adopted = |adapters| {
            let (sequence, adopted) = run_with(&mut cache, &mut model, adapters, &[1, 2, 3]);
            cache.store(&mut model, sequence);
            adopted
        };
        assert_eq!((adopted(&plain), adopted(&adapted)), (0, 0));
        assert_eq!((adopted(&plain), adopted(&adapted)), (2, 2));
        cache.evict(&mut model, usize::MAX);
        assert_eq!((cache.used(), model.used(), cache.roots.len()), (0, 0, 0));
    }

    #[test]
    fn duplicate_prefixes_are_both_found() {
        let (mut cache, mut model) =
            (PrefixCache::new(8, Sharing::Checkpoints, 1000), Model::default());
        let (a, _) = run(&mut cache, &mut model, &[1, 2, 3, 4, 5]);
        cache.store(&mut model, a);
        // From a checkpoint after two tokens.
        let b = cache.open(&mut model, &AdapterSet::default()).unwrap();
        assert!(!cache.adopt_cells(&mut model, b, &[1, 9]));
        assert!(cache.adopt_cells(&mut model, b, &[1, 2]));
        model.compute(b, &[3, 4, 9]);
        cache.extend(b, &[3, 4, 9]);
        assert_eq!((cache.used(), model.used()), (8, 8));
        cache.store(&mut model, b);
        let c = cache.open(&mut model, &AdapterSet::default()).unwrap();
        for tokens in [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 9, 6]] {
            assert_eq!(cache.common_length(c, &tokens), 5);
            assert_eq!(cache.share_prefix(&mut model, c, &tokens), 5);
            assert_eq!(model.tokens(c), tokens[..5]);
            cache.empty(&mut model, c);
        }
        assert_eq!(cache.share_prefix(&mut model, c, &[1, 2, 3, 4]), 0, "neither ends there");
        cache.close(&mut model, c);
        cache.evict(&mut model, 3);
        assert_eq!(
            (cache.used(), model.used()),
            (5, 5),
            "the older one is gone, but for what it shares"
        );
    }

    #[test]
    fn cache_limits_are_respected() {
        for (sharing, limit) in [(Sharing::None, 100), (Sharing::Any, 0), (Sharing::Checkpoints, 0)]
        {
            let (mut cache, mut model) = (PrefixCache::new(2, sharing, limit), Model::default());
            let (a, _) = run(&mut cache, &mut model, &[1, 2, 3]);
            cache.store(&mut model, a);
            assert_eq!((cache.used(), model.used()), (0, 0));
        }
        let (mut cache, mut model) = (PrefixCache::new(8, Sharing::Any, 5), Model::default());
        for prompt in [[1, 1, 1], [2, 2, 2], [3, 3, 3]] {
            let (sequence, _) = run(&mut cache, &mut model, &prompt);
            cache.store(&mut model, sequence);
        }
        assert_eq!(cache.evictable(), 5);
    }

    /// A small random number generator (a linear congruential one with the constants of Knuth's MMIX), so that the test
    /// is deterministic.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % end
        }
    }

    #[test]
    fn cache_tree_matches_the_cells() {
        let mut random = Random(7);
        for round in 0..60 {
            let limit = [1000, 12][round % 2];
            let (mut cache, mut model) =
                (PrefixCache::new(6, Sharing::Any, limit), Model::default());
            let mut running: Vec<(SeqId, Vec<Token>)> = Vec::new();
            let sets = [AdapterSet::default(), AdapterSet::named(1)];
            for _ in 0..200 {
                match random.below(6) {
                    0 | 1 if running.len() < 4 => {
                        let length = 1 + random.below(12);
                        let prompt: Vec<_> =
                            (0..length).map(|_| random.below(2) as Token).collect();
                        let set = &sets[random.below(2)];
                        let (sequence, _) = run_with(&mut cache, &mut model, set, &prompt);
                        running.push((sequence, prompt));
                    }
                    2 | 3 if !running.is_empty() => {
                        let index = random.below(running.len());
                        let token = random.below(2) as Token;
                        let (sequence, tokens) = &mut running[index];
                        model.compute(*sequence, &[token]);
                        cache.extend(*sequence, &[token]);
                        tokens.push(token);
                    }
                    4 if !running.is_empty() => {
                        let index = random.below(running.len());
                        let (sequence, _) = running.swap_remove(index);
                        if random.below(2) == 0 {
                            cache.store(&mut model, sequence);
                        } else {
                            cache.close(&mut model, sequence);
                        }
                    }
                    _ => cache.evict(&mut model, random.below(5)),
                }
                assert_eq!(cache.used(), model.used(), "round {round}");
                assert!(cache.evictable() <= cache.used());
                for (sequence, tokens) in &running {
                    assert_eq!(model.tokens(*sequence), *tokens);
                    assert_eq!(cache.paths[sequence].length, tokens.len());
                }
            }
            for (sequence, _) in running {
                cache.close(&mut model, sequence);
            }
            cache.evict(&mut model, usize::MAX);
            let left = (cache.used(), model.used(), cache.roots.len());
            assert_eq!(left, (0, 0, 0), "everything can be given up");
        }
    }
}
