//! Sliding windows: layers whose attention spans a fixed number of tokens.

/// The attention window of a model, in the layers that have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Its length in tokens.
    pub size: u32,
    /// Whether it is fixed and restarts every `size` tokens, as in Llama 4; otherwise it moves with each token.
    pub is_chunked: bool,
}

impl Window {
    /// The first position that the token at position `n_past` attends to.
    pub fn start(self, n_past: usize) -> usize {
        let size = self.size as usize;
        if self.is_chunked { n_past / size * size } else { (n_past + 1).saturating_sub(size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sliding_and_chunked_windows_start_correctly() {
        let moving = Window { size: 4, is_chunked: false };
        assert_eq!([0, 3, 4, 9].map(|n_past| moving.start(n_past)), [0, 0, 1, 6]);
        let chunked = Window { is_chunked: true, ..moving };
        assert_eq!([0, 3, 4, 9].map(|n_past| chunked.start(n_past)), [0, 0, 4, 8]);
    }
}
