//! The results of embedding and reranking.

use std::ops::{Index, Range};

use serde::{Deserialize, Serialize};

use crate::options::Pooling;

/// Token counts of an embedding or a reranking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddingUsage {
    /// Computed tokens of all inputs.
    pub prompt_tokens: u64,
    /// Tokens removed because an input was too long.
    pub truncated_tokens: u64,
}

/// The vectors of texts, in the order of the texts.
///
/// With `pooling` `none`, a text has one vector for each of its tokens, in order; otherwise it has one vector.
/// Serialization with serde omits the values: see [`Self::with_values`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embeddings {
    #[serde(skip)]
    values: Vec<f32>,
    dimensions: usize,
    /// Number of tokens of each text.
    token_counts: Vec<u32>,
    /// The index of the first row of each text, and the total number of rows.
    starts: Vec<usize>,
    pooling: Pooling,
    normalized: bool,
    /// Token counts of all texts.
    pub usage: EmbeddingUsage,
}

impl Embeddings {
    /// Creates the result from computed vectors of `width` values each.
    pub(super) fn new(
        values: Vec<f32>,
        width: usize,
        layout: Layout,
        dimensions: Option<usize>,
        normalized: bool,
    ) -> Self {
        let Layout { token_counts, starts, pooling, usage } = layout;
        let dimensions = dimensions.unwrap_or(width);
        let mut values = if dimensions == width {
            values
        } else {
            values.chunks_exact(width).flat_map(|row| &row[..dimensions]).copied().collect()
        };
        if normalized {
            values.chunks_exact_mut(dimensions.max(1)).for_each(normalize);
        }
        Self { values, dimensions, token_counts, starts, pooling, normalized, usage }
    }

    /// Sets the values of a deserialized result. Returns none if their number is wrong.
    pub fn with_values(self, values: Vec<f32>) -> Option<Self> {
        let is_whole = self.starts.len() == self.len() + 1
            && self.starts.is_sorted()
            && self.rows().checked_mul(self.dimensions) == Some(values.len());
        is_whole.then_some(Self { values, ..self })
    }

    /// The number of texts.
    pub fn len(&self) -> usize {
        self.token_counts.len()
    }

    /// Whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.token_counts.is_empty()
    }

    /// Number of values per vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The pooling that was used.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Whether the vectors are scaled to length 1.
    pub fn is_normalized(&self) -> bool {
        self.normalized
    }

    /// The total number of vectors: one per text, or one per token with `pooling` `none`.
    pub fn rows(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The range of vectors that belong to a text.
    ///
    /// # Panics
    /// If there is no such text.
    pub fn rows_of(&self, text: usize) -> Range<usize> {
        self.starts[text]..self.starts[text + 1]
    }

    /// Number of computed tokens of each text.
    pub fn token_counts(&self) -> &[u32] {
        &self.token_counts
    }

    /// All values, vector after vector.
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }

    /// Converts the result into its values, vector after vector, without copying them.
    pub fn into_vec(self) -> Vec<f32> {
        self.values
    }

    /// The vector of a text, or with `pooling` `none` the vectors of its tokens, one after another. None if there is no
    /// such text.
    pub fn get(&self, text: usize) -> Option<&[f32]> {
        (text < self.len()).then(|| &self[text])
    }

    /// Iterates over the results of [`Self::get`] for all texts.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        (0..self.len()).map(|text| &self[text])
    }
}

impl Index<usize> for Embeddings {
    type Output = [f32];

    fn index(&self, text: usize) -> &[f32] {
        let Range { start, end } = self.rows_of(text);
        &self.values[start * self.dimensions..end * self.dimensions]
    }
}

/// Everything about the vectors except their values.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub token_counts: Vec<u32>,
    pub starts: Vec<usize>,
    pub pooling: Pooling,
    pub usage: EmbeddingUsage,
}

impl Layout {
    /// The layout for texts with the given token counts, after `truncated` tokens in total were removed.
    pub fn new(token_counts: Vec<u32>, truncated: u64, pooling: Pooling) -> Self {
        let mut starts = vec![0];
        for &count in &token_counts {
            let rows = if pooling == Pooling::None { count as usize } else { 1 };
            starts.push(starts[starts.len() - 1] + rows);
        }
        let prompt_tokens = token_counts.iter().copied().map(u64::from).sum();
        let usage = EmbeddingUsage { prompt_tokens, truncated_tokens: truncated };
        Self { token_counts, starts, pooling, usage }
    }
}

/// Scales a vector to length 1. A zero vector is left unchanged.
fn normalize(vector: &mut [f32]) {
    let squares: f64 = vector.iter().map(|&number| f64::from(number) * f64::from(number)).sum();
    if squares > 0.0 {
        let scale = 1.0 / squares.sqrt();
        for number in vector {
            *number = (f64::from(*number) * scale) as f32;
        }
    }
}

/// A document with its score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RankedDocument {
    /// Index of the document, counted from 0.
    pub index: usize,
    /// How well the document answers the query: higher is better. The range of scores depends on
    /// the model.
    pub score: f32,
}

/// Documents sorted by how well they answer a query, best first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reranking {
    /// The documents; those with equal scores are in their original order.
    pub results: Vec<RankedDocument>,
    /// Tokens of the query and the documents; the query is counted once per document.
    pub usage: EmbeddingUsage,
}

impl Reranking {
    /// Creates the result from one score per document.
    pub(super) fn new(
        scores: impl IntoIterator<Item = f32>,
        top_n: Option<u32>,
        usage: EmbeddingUsage,
    ) -> Self {
        let scores = scores.into_iter().enumerate();
        let mut results: Vec<_> =
            scores.map(|(index, score)| RankedDocument { index, score }).collect();
        // NaN scores come last.
        let key = |score: f32| if score.is_nan() { f32::NEG_INFINITY } else { score };
        results.sort_by(|a, b| key(b.score).total_cmp(&key(a.score)));
        results.truncate(top_n.map_or(usize::MAX, |count| count as usize));
        Self { results, usage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(counts: &[u32], pooling: Pooling) -> Layout {
        Layout::new(counts.to_vec(), 0, pooling)
    }

    #[test]
    fn vectors_are_cut_before_they_are_scaled() {
        let values = vec![3.0, 4.0, 12.0, 0.0, 0.0, 7.0];
        let whole = Embeddings::new(values.clone(), 3, layout(&[5, 2], Pooling::Mean), None, false);
        assert_eq!((whole.len(), whole.rows(), whole.dimensions()), (2, 2, 3));
        assert_eq!(&whole[1], [0.0, 0.0, 7.0]);
        let cut = Embeddings::new(values, 3, layout(&[5, 2], Pooling::Mean), Some(2), true);
        assert_eq!(&cut[0], [0.6, 0.8]);
        assert_eq!(&cut[1], [0.0, 0.0], "there is no direction to keep");
        assert_eq!(cut.usage.prompt_tokens, 7);
    }

    #[test]
    fn unpooled_embeddings_have_one_row_per_token() {
        let matrix = Embeddings::new(
            (0..10_u8).map(f32::from).collect(),
            2,
            layout(&[3, 0, 2], Pooling::None),
            None,
            false,
        );
        assert_eq!((matrix.len(), matrix.rows()), (3, 5));
        assert_eq!(matrix.rows_of(2), 3..5);
        assert_eq!(matrix.iter().map(<[f32]>::len).collect::<Vec<_>>(), [6, 0, 4]);
        assert_eq!(matrix.get(3), None);
    }

    #[test]
    fn rankings_sort_by_score_with_nan_last() {
        let usage = EmbeddingUsage::default();
        let ranked = |top_n| {
            let ranked = Reranking::new([0.5, f32::NAN, 2.0, 0.5], top_n, usage);
            ranked.results.iter().map(|result| result.index).collect::<Vec<_>>()
        };
        assert_eq!(ranked(None), [2, 0, 3, 1]);
        assert_eq!(ranked(Some(2)), [2, 0]);
        assert_eq!(ranked(Some(9)).len(), 4);
    }
}
