//! Decodes pictures in messages to pixels, in safe Rust, with limits.

mod address;
mod picture;

pub(crate) use address::bytes_of;
pub(crate) use picture::{Picture, Problem, encode_pixels, placeholders};
