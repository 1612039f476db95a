//! Places the projector of a model. It is placed before the model, which receives the remaining memory.

use std::path::Path;

use mullama_gguf::GgufHeader;
use mullama_hub::StoredModel;

use super::other_memory::explain;
use crate::engine::{Placement, Projector};
use crate::source::{ProjectorFile, find_projector};
use crate::{Error, ErrorKind, Result};

/// A projector with its placement.
pub(crate) struct PlacedProjector {
    pub file: ProjectorFile,
    pub placement: Placement,
}

impl PlacedProjector {
    /// Finds the projector of a model with [`find_projector`], and measures its memory. A projector that cannot be
    /// loaded is an error if the caller named it; otherwise the model loads without it, with a warning.
    pub fn find(
        path: &Path,
        stored: Option<&StoredModel>,
        header: &GgufHeader,
        asked: Option<&str>,
    ) -> Result<Option<Result<Self>>> {
        let Some(found) = find_projector(path, stored, header, asked)? else { return Ok(None) };
        let file = match found {
            Ok(file) => file,
            Err(error) => return Ok(Some(Err(error))),
        };
        let is_named = asked.is_some_and(|asked| asked != "auto");
        match Projector::memory(&file) {
            Ok(bytes) => Ok(Some(Ok(Self { file, placement: Placement::of_projector(bytes) }))),
            Err(error) if is_named || error.kind() == ErrorKind::OutOfMemory => Err(error),
            Err(error) => {
                log::warn!("the model takes text only: {error}");
                Ok(Some(Err(error)))
            }
        }
    }

    /// Adds the size of the projector to the error of a model that does not fit.
    pub fn explain(&self, error: Error) -> Error {
        explain(error, "the projector", "projector_bytes", &self.placement)
    }
}
