//! From what a user writes to a file that the engine may read.

mod demo;
mod gguf;
pub(crate) mod preflight;
mod resolved_model;

pub use gguf::{GgufHeader, MetadataValue, TensorInfo};
pub(crate) use resolved_model::pull;
pub use resolved_model::{ResolvedModel, resolve};
