//! Downloading models into the store.

use std::ffi::OsString;

use mullama::CancelToken;
use mullama::hub::{self, PullOptions};
use pyo3::prelude::*;

use crate::class::{self, class};
use crate::ending::with_python;
use crate::errors::{Failure, Result};
use crate::hints::{Dict, Phase, Typed};
use crate::json::Json;
use crate::progress::{Callback, Step};
use crate::text::Text;
use crate::wait::on_thread;

class! {
    /// The progress of a pull.
    #[eq]
    PullProgress(hub::Progress) {
        /// The current phase: `resolving`, `waiting` (for another pull of the same file),
        /// `downloading`, `verifying` or `done`.
        phase: Json<Phase>,
        /// Bytes downloaded so far, including earlier runs.
        completed: u64,
        /// Total bytes of all files; 0 while unknown.
        total: u64,
        /// The completed fraction, from 0 to 1.
        fraction: f64 = hub::Progress::fraction,
        /// Current bytes per second; 0 while unknown.
        speed: u64,
        /// Remaining seconds at this speed.
        eta: Option<f64> = |progress| progress.eta.map(|eta| eta.as_secs_f64()),
    }
    methods {
        /// All fields as plain Python values that can be serialised as JSON.
        fn to_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Typed<'py, Dict>> {
            class::dict(slf, &["phase", "completed", "total", "fraction", "speed", "eta"])
        }
    }
}

impl Step for PullProgress {
    const BAR: &'static str = "pull_bar";
}

class! {
    /// A model of the local store. `str(model)` is its name, by which it is loaded.
    #[eq]
    StoredModel(hub::StoredModel) {
        /// The name, by which the model is loaded.
        name: String = |model| model.name.to_string(),
        /// The id shown in lists: 12 digits.
        id: String,
        /// Bytes of all its files.
        size: u64,
        /// The file of the weights; the first of a split model.
        path: OsString,
    }
    methods {
        /// All fields as plain Python values that can be serialised as JSON.
        fn to_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Typed<'py, Dict>> {
            class::dict(slf, &["name", "id", "size", "path"])
        }

        fn __str__(&self) -> String {
            self.name()
        }
    }
}

/// Pulls a model on a separate thread, which also calls `progress`. Dropping the future cancels the pull.
pub async fn pull(
    name: Text,
    progress: Option<Callback<PullProgress>>,
    insecure: bool,
    token: Option<Text>,
) -> Result<StoredModel> {
    let cancel = CancelToken::new();
    let _abandon = cancel.drop_guard();
    on_thread(move || {
        let mut raised = None;
        let mut options = PullOptions::default().with_cancel(&cancel);
        options.insecure = insecure;
        options.token = token.map(|token| token.0);
        if let Some(callback) = progress {
            let (raised, cancel) = (&mut raised, &cancel);
            options = options.with_progress(move |progress| {
                match with_python(|py| callback.call(py, PullProgress(progress.clone()))) {
                    Some(Ok(true)) => return,
                    // The function has returned False, or Python is shutting down.
                    Some(Ok(false)) | None => {}
                    Some(Err(error)) => {
                        raised.get_or_insert(error);
                    }
                }
                cancel.cancel();
            });
        }
        let pulled = mullama::Model::pull_with(name.0, options);
        match raised {
            Some(error) => Err(Failure::Raised(error)),
            None => Ok(StoredModel(pulled?)),
        }
    })
    .await
}
