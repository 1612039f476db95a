//! Messages from the scheduler to the owner of a request.

use super::completion::Chunk;
use crate::Result;

/// A message to the owner of a request.
pub(crate) enum Event {
    /// A piece of the answer.
    Chunk(Box<Chunk>),
    /// The last piece, or the error that ended the request.
    Done(Result<Box<Chunk>>),
}

/// How an answer is delivered to its owner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// In pieces, as they are generated.
    Pieces,
    /// Complete, at the end.
    #[default]
    Whole,
}
