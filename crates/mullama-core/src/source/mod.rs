//! Resolves what a user enters to a file that is safe for the engine to read.

mod demo;
mod draft_file;
pub(crate) mod overrides;
pub(crate) mod preflight;
mod projector;
mod resolved_model;

pub(crate) use draft_file::DraftFile;
pub(crate) use projector::{ProjectorFile, find as find_projector};
pub(crate) use resolved_model::pull;
pub use resolved_model::{ResolvedModel, copy_model, create_model, resembles_demo, resolve};
