//! What the scheduler tells the owner of a request.

use super::completion::Chunk;
use crate::Result;

/// What the engine tells a request's owner.
pub(crate) enum Event {
    /// A piece of the answer.
    Chunk(Box<Chunk>),
    /// The last piece, or why there is none.
    Done(Result<Box<Chunk>>),
}

/// How much of an answer its owner hears of while it is being generated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Pieces as they come.
    Pieces,
    /// The whole, at the end.
    #[default]
    Whole,
}
