//! Downloading models into the store.
#![allow(missing_docs, reason = "`index.d.ts` documents what a program sees")]

use std::sync::{Mutex, PoisonError};

use mullama::CancelToken;
use mullama::hub::{Progress, PullOptions, StoredModel};
use napi::Env;
use napi::bindgen_prelude::{Function, PromiseRaw};
use napi::threadsafe_function::ThreadsafeFunction;
use napi::tokio::task::spawn_blocking;
use napi_derive::napi;
use serde_json::{Value, json};

use crate::error::{of_core, of_task};
use crate::json::{Options, Text};
use crate::model::answer;

/// Hears how far it has come, on JavaScript's thread; returning false cancels.
type Hear = ThreadsafeFunction<Value, bool, Value, napi::Status, false>;

/// One pull.
#[napi]
pub struct Pull {
    cancel: CancelToken,
    /// Taken when it begins.
    request: Mutex<Option<Request>>,
}

struct Request {
    name: String,
    insecure: bool,
    token: Option<String>,
}

#[napi]
impl Pull {
    #[napi(constructor, catch_unwind)]
    pub fn new(name: Text, mut options: Options) -> napi::Result<Self> {
        let insecure = options.take_flag("insecure", false)?;
        let token = options.take_text("token")?;
        options.finish()?;
        let request = Mutex::new(Some(Request { name: name.0, insecure, token }));
        Ok(Self { cancel: CancelToken::new(), request })
    }

    /// Pulls on another thread, once.
    #[napi(catch_unwind)]
    pub fn run<'env>(
        &self,
        env: &'env Env,
        progress: Function<'_, Value, bool>,
    ) -> napi::Result<PromiseRaw<'env, Value>> {
        let hear: Hear = progress.build_threadsafe_function().callee_handled::<false>().build()?;
        let request = self.request.lock().unwrap_or_else(PoisonError::into_inner).take();
        let request = request.ok_or_else(|| napi::Error::from_reason("it has been begun"))?;
        let cancel = self.cancel.clone();
        env.spawn_future(async move {
            let pulled = spawn_blocking(move || pull(request, &cancel, &hear)).await;
            pulled.map_err(of_task)?.map(|model| described(&model)).map_err(of_core)
        })
    }

    /// Ends it; what has come stays for the next.
    #[napi]
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}

fn pull(request: Request, cancel: &CancelToken, hear: &Hear) -> mullama::Result<StoredModel> {
    let mut options = PullOptions::default().with_cancel(cancel).with_progress(|progress| {
        if !answer(hear, told(progress)) {
            cancel.cancel();
        }
    });
    (options.insecure, options.token) = (request.insecure, request.token);
    mullama::Model::pull_with(request.name, options)
}

fn told(progress: &Progress) -> Value {
    let mut told = json!({
        "phase": progress.phase.name(),
        "completed": progress.completed,
        "total": progress.total,
        "fraction": progress.fraction(),
        "speed": progress.speed,
    });
    if let Some(eta) = progress.eta {
        told["eta"] = eta.as_secs_f64().into();
    }
    told
}

fn described(model: &StoredModel) -> Value {
    json!({
        "name": model.name.to_string(),
        "id": model.id,
        "size": model.size,
        "path": model.path.to_string_lossy(),
    })
}
