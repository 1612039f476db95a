//! The handle of a loaded model.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::info::ModelInfo;
use super::loaded::Loaded;
use crate::Result;
use crate::engine::closed;
use crate::scheduler::Engine;

/// A loaded model: cheap to clone, usable from any thread, for many requests at a time.
///
/// The model is freed when the last clone and the last stream are gone, or by [`Model::close`].
#[derive(Clone)]
pub struct Model {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub info: ModelInfo,
    /// Empty once the model has been closed.
    pub loaded: RwLock<Option<Arc<Loaded>>>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.name())
            .field("description", &self.description())
            .field("context_size", &self.context_size())
            .field("gpu_layers", &self.gpu_layers())
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl Model {
    /// As [`Model::close`], but running and waiting requests are finished first.
    pub fn finish(&self) {
        if let Some(loaded) = self.take_loaded() {
            loaded.engine.iter().for_each(Engine::finish);
            loaded.embedders.finish();
        }
    }

    /// Cancels all requests and frees the model now. Later calls on the model and its clones fail with
    /// [`ErrorKind::Closed`]; its properties (such as name and size) are still available.
    ///
    /// [`ErrorKind::Closed`]: crate::ErrorKind::Closed
    pub fn close(&self) {
        if let Some(loaded) = self.take_loaded() {
            loaded.engine.iter().for_each(Engine::stop);
            loaded.embedders.stop();
        }
    }

    fn take_loaded(&self) -> Option<Arc<Loaded>> {
        self.shared.loaded.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the model has been closed.
    pub fn is_closed(&self) -> bool {
        self.loaded().is_err()
    }

    pub(super) fn loaded(&self) -> Result<Arc<Loaded>> {
        let loaded = self.shared.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.clone().ok_or_else(closed)
    }
}
