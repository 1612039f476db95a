//! Downloading models into the store.

use mullama::hub::{self, PullOptions};
use napi::Env;
use napi::bindgen_prelude::{Function, PromiseRaw};
use napi::threadsafe_function::ThreadsafeFunction;
use napi::tokio::task::spawn_blocking;
use napi_derive::napi;

use crate::arguments::{Options, Text};
use crate::calls::{Cancel, answer};
use crate::error::{core_error, task_error};

/// The progress of a pull.
#[napi(object, object_from_js = false)]
pub struct PullProgress {
    /// The current phase; `waiting` is for another pull of the same file.
    #[napi(ts_type = "'resolving' | 'waiting' | 'downloading' | 'verifying' | 'done'")]
    pub phase: &'static str,
    /// Bytes downloaded so far, including earlier runs.
    pub completed: i64,
    /// Total bytes of all files; 0 while unknown.
    pub total: i64,
    /// The completed fraction, from 0 to 1.
    pub fraction: f64,
    /// Current bytes per second; 0 while unknown.
    pub speed: i64,
    /// Remaining seconds at this speed.
    pub eta: Option<f64>,
}

impl From<&hub::Progress> for PullProgress {
    fn from(progress: &hub::Progress) -> Self {
        Self {
            phase: progress.phase.name(),
            completed: progress.completed as i64,
            total: progress.total as i64,
            fraction: progress.fraction(),
            speed: progress.speed as i64,
            eta: progress.eta.map(|eta| eta.as_secs_f64()),
        }
    }
}

/// A model of the local store.
#[napi(object, object_from_js = false)]
pub struct StoredModel {
    /// The name, by which the model is loaded.
    pub name: String,
    /// The id shown in lists: 12 digits.
    pub id: String,
    /// Bytes of all its files.
    pub size: i64,
    /// The file of the weights; the first of a split model.
    pub path: String,
}

/// Receives the progress on JavaScript's thread; returning false cancels.
type ProgressCallback = ThreadsafeFunction<PullProgress, bool, PullProgress, napi::Status, false>;

/// Pulls on another thread. If it is cancelled, the next pull resumes the download.
#[napi(catch_unwind)]
pub fn pull<'env>(
    env: &'env Env,
    name: Text,
    mut options: Options,
    progress: Function<'_, PullProgress, bool>,
    cancel: &Cancel,
) -> napi::Result<PromiseRaw<'env, StoredModel>> {
    let (insecure, token) = (options.take_flag("insecure", false)?, options.take_text("token")?);
    options.fill(&mut [])?;
    let callback: ProgressCallback =
        progress.build_threadsafe_function().callee_handled::<false>().build()?;
    let pulling = cancel.0.clone();
    let pull = move || {
        let mut options = PullOptions::default().with_cancel(&pulling).with_progress(|progress| {
            if !answer(&callback, progress.into()) {
                pulling.cancel();
            }
        });
        (options.insecure, options.token) = (insecure, token);
        mullama::Model::pull_with(name, options)
    };
    env.spawn_future(async move {
        let model = spawn_blocking(pull).await.map_err(task_error)?.map_err(core_error)?;
        Ok(StoredModel {
            name: model.name.to_string(),
            id: model.id,
            size: model.size as i64,
            path: model.path.to_string_lossy().into_owned(),
        })
    })
}
