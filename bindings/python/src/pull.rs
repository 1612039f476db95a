//! Downloading models into the store.

use mullama::hub::{self, PullOptions};
use mullama::{CancelToken, Error, ErrorKind};
use pyo3::prelude::*;

use crate::errors::{Failure, Result};
use crate::model::{check_callable, says_stop};
use crate::results::repr;
use crate::text::Text;
use crate::wait::{runtime, with_python};

/// How far a pull has come.
#[pyclass(frozen, eq, module = "mullama")]
#[derive(PartialEq)]
pub struct PullProgress(hub::Progress);

#[pymethods]
impl PullProgress {
    /// What is being done: `resolving`, `waiting` (for another pull of the same file), `downloading`,
    /// `verifying` or `done`.
    #[getter]
    fn phase(&self) -> &'static str {
        self.0.phase.name()
    }

    /// Bytes that are in the store or on their way there, earlier runs included.
    #[getter]
    fn completed(&self) -> u64 {
        self.0.completed
    }

    /// Bytes of all the files; 0 while it is not known.
    #[getter]
    fn total(&self) -> u64 {
        self.0.total
    }

    /// How much of it is there, from 0 to 1.
    #[getter]
    fn fraction(&self) -> f64 {
        self.0.fraction()
    }

    /// Bytes per second of late; 0 while it is not known.
    #[getter]
    fn speed(&self) -> u64 {
        self.0.speed
    }

    /// Seconds that are left at this speed.
    #[getter]
    fn eta(&self) -> Option<f64> {
        self.0.eta.map(|eta| eta.as_secs_f64())
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["phase", "completed", "total", "fraction", "speed", "eta"])
    }
}

/// A model of the local store. `str(model)` is its name, by which it is loaded.
#[pyclass(frozen, module = "mullama")]
pub struct StoredModel(hub::StoredModel);

#[pymethods]
impl StoredModel {
    /// The name, by which the model is loaded.
    #[getter]
    fn name(&self) -> String {
        self.0.name.to_string()
    }

    /// The id that a list shows: 12 digits.
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    /// Bytes of all its files.
    #[getter]
    fn size(&self) -> u64 {
        self.0.size
    }

    /// The file of the weights; the first of a split model.
    #[getter]
    fn path(&self) -> &std::ffi::OsStr {
        self.0.path.as_os_str()
    }

    fn __str__(&self) -> String {
        self.name()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["name", "id", "size", "path"])
    }
}

/// One pull. Dropping its future cancels it.
pub struct Pull {
    name: String,
    callback: Option<Py<PyAny>>,
    insecure: bool,
    token: Option<String>,
}

impl Pull {
    pub fn new(
        py: Python<'_>,
        name: Text,
        callback: Option<Py<PyAny>>,
        insecure: bool,
        token: Option<Text>,
    ) -> PyResult<Self> {
        check_callable(py, callback.as_ref())?;
        Ok(Self { name: name.0, callback, insecure, token: token.map(|token| token.0) })
    }

    /// Pulls on a thread of its own, which is also the one that `progress` is called on.
    pub async fn run(self) -> Result<StoredModel> {
        let cancel = CancelToken::new();
        let _abandon = cancel.drop_guard();
        let done = runtime().spawn_blocking(move || self.run_here(&cancel)).await;
        done.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?
    }

    fn run_here(self, cancel: &CancelToken) -> Result<StoredModel> {
        let mut raised = None;
        let mut options = PullOptions::default().with_cancel(cancel);
        options.insecure = self.insecure;
        options.token = self.token;
        if let Some(callback) = self.callback {
            let raised = &mut raised;
            options = options.with_progress(move |progress| {
                let told = with_python(|py| {
                    let progress = PullProgress(progress.clone());
                    callback.call1(py, (progress,)).map(|answer| says_stop(py, &answer))
                });
                match told {
                    Some(Ok(false)) => {}
                    // Where Python is shutting down there is nobody to tell.
                    Some(Ok(true)) | None => cancel.cancel(),
                    Some(Err(error)) => {
                        raised.get_or_insert(error);
                        cancel.cancel();
                    }
                }
            });
        }
        let pulled = mullama::Model::pull_with(self.name, options);
        match raised {
            Some(error) => Err(Failure::Raised(error)),
            None => Ok(StoredModel(pulled?)),
        }
    }
}
