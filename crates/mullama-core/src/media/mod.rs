//! Pictures: from what a message has to pixels, in safe code, with limits.

mod address;
mod picture;

pub(crate) use address::bytes_of;
pub(crate) use picture::{Picture, Problem, encode_pixels, stand_ins};
