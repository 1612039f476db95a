//! The tokens of a prompt that stand for a part of a picture.

use std::ops::Range;
use std::sync::Arc;

use crate::engine::{Part, Piece, PreparedPicture};
use crate::{Result, Token};

/// Tokens of a prompt that stand for a part of a picture.
#[derive(Clone)]
pub(crate) struct MediaRun {
    start: usize,
    picture: Arc<PreparedPicture>,
    /// Which of the picture's pieces.
    piece: usize,
}

impl MediaRun {
    /// Puts a picture at the end of a prompt.
    pub fn append(picture: &Arc<PreparedPicture>, prompt: &mut Vec<Token>, runs: &mut Vec<Self>) {
        for (piece, content) in picture.pieces.iter().enumerate() {
            match content {
                Piece::Text(tokens) => prompt.extend(tokens),
                Piece::Part(part) => {
                    let picture = Arc::clone(picture);
                    runs.push(Self { start: prompt.len(), picture, piece });
                    prompt.extend(&part.stand_ins);
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

    /// The tokens that stand for it.
    pub fn stand_ins(&self) -> &[Token] {
        &self.part().stand_ins
    }

    /// Its places in the prompt.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.stand_ins().len()
    }

    /// Whether it is computed in one step.
    pub fn is_whole(&self) -> bool {
        self.part().sees_ahead
    }

    /// Its embeddings; `Cancelled` as soon as `go_on` says no.
    pub fn encode(&self, go_on: &impl Fn() -> bool) -> Result<Vec<f32>> {
        self.picture.encode(self.part(), go_on)
    }
}
