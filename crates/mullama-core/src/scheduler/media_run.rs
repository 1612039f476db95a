//! The positions of a prompt that a part of a picture occupies.

use std::ops::Range;
use std::sync::Arc;

use crate::engine::{Part, Piece, PreparedPicture};
use crate::{Result, Token};

/// A run of consecutive positions in a prompt that represents one part of a picture.
#[derive(Clone)]
pub(crate) struct MediaRun {
    start: usize,
    picture: Arc<PreparedPicture>,
    /// Index in the picture's `pieces`.
    piece: usize,
}

impl MediaRun {
    /// Appends a picture's pieces to a prompt, and one run per part to `runs`.
    pub fn append(picture: &Arc<PreparedPicture>, prompt: &mut Vec<Token>, runs: &mut Vec<Self>) {
        for (piece, content) in picture.pieces.iter().enumerate() {
            match content {
                Piece::Text(tokens) => prompt.extend(tokens),
                Piece::Part(part) => {
                    let picture = Arc::clone(picture);
                    runs.push(Self { start: prompt.len(), picture, piece });
                    prompt.extend(&part.placeholders);
                }
            }
        }
    }

    fn part(&self) -> &Part {
        match &self.picture.pieces[self.piece] {
            Piece::Part(part) => part,
            Piece::Text(_) => unreachable!("a run is made of a part"),
        }
    }

    /// The negative numbers that represent the part in the prompt.
    pub fn placeholders(&self) -> &[Token] {
        &self.part().placeholders
    }

    /// Its positions in the prompt.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.placeholders().len()
    }

    /// Whether it must be computed in one step, since its positions attend to later ones.
    pub fn is_whole(&self) -> bool {
        self.part().sees_ahead
    }

    /// Computes its embeddings. Fails with `Cancelled` as soon as `should_continue` returns false.
    pub fn encode(&self, should_continue: &impl Fn() -> bool) -> Result<Vec<f32>> {
        self.picture.encode(self.part(), should_continue)
    }
}
