//! Calls of the core on threads other than JavaScript's. The process waits for them before the engine's
//! libraries are unloaded.
#![allow(missing_docs, reason = "`lib` documents what a program sees")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use mullama::{CancelToken, Result};
use napi::Env;
use napi::bindgen_prelude::{JsValuesTupleIntoVec, PromiseRaw, ToNapiValue};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::tokio::task::{block_in_place, spawn_blocking};
use napi_derive::napi;

use crate::error::{core_error, task_error};

/// How long the process waits for running calls at its end. The creation of a context cannot be interrupted.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

static ACTIVE_CALLS: Mutex<usize> = Mutex::new(0);
static CALL_ENDED: Condvar = Condvar::new();
static IS_EXITING: AtomicBool = AtomicBool::new(false);

/// A running call, counted until it is dropped.
pub(crate) struct Call(());

impl Call {
    pub fn begin() -> Self {
        *ACTIVE_CALLS.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self(())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        *ACTIVE_CALLS.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        CALL_ENDED.notify_all();
    }
}

/// Whether the process is exiting: work that can be abandoned should be.
pub(crate) fn is_exiting() -> bool {
    IS_EXITING.load(Ordering::Relaxed)
}

/// Stops all engines, and waits for active calls.
#[napi(catch_unwind)]
pub fn shut_down() {
    IS_EXITING.store(true, Ordering::Relaxed);
    mullama::shut_down();
    let calls = ACTIVE_CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    drop(CALL_ENDED.wait_timeout_while(calls, EXIT_TIMEOUT, |calls| *calls > 0));
    // One of the calls may have started another.
    mullama::shut_down();
    IS_EXITING.store(false, Ordering::Relaxed);
}

/// Runs blocking work on another thread. The process does not exit meanwhile.
pub(crate) fn on_thread<T: ToNapiValue + Send + 'static>(
    env: &Env,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> napi::Result<PromiseRaw<'_, T>> {
    let call = Call::begin();
    let work = move || {
        let _call = call;
        work()
    };
    env.spawn_future(
        async move { spawn_blocking(work).await.map_err(task_error)?.map_err(core_error) },
    )
}

/// Calls a function on JavaScript's thread and returns its result; false if the thread has ended or
/// the process is exiting.
pub(crate) fn answer<T: JsValuesTupleIntoVec + 'static>(
    callback: &ThreadsafeFunction<T, bool, T, napi::Status, false>,
    arguments: T,
) -> bool {
    let (answer, answered) = mpsc::sync_channel(1);
    let mode = ThreadsafeFunctionCallMode::NonBlocking;
    callback.call_with_return_value(arguments, mode, move |should_continue, _env| {
        let _ = answer.send(should_continue.unwrap_or(false));
        Ok(())
    });
    loop {
        match answered.recv_timeout(Duration::from_millis(20)) {
            Err(RecvTimeoutError::Timeout) if !is_exiting() => {}
            should_continue => return should_continue.unwrap_or(false),
        }
    }
}

/// Cancels a request, also one that has not started.
#[napi]
#[derive(Clone, Default)]
pub struct Cancel(pub(crate) CancelToken);

#[napi]
impl Cancel {
    #[napi(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

impl Cancel {
    /// Starts a request that this token can cancel, and waits for its result. The process does not exit meanwhile.
    pub(crate) fn request<'env, R, T, F>(
        &self,
        env: &'env Env,
        start: impl FnOnce() -> Result<R> + Send + 'static,
        token: impl FnOnce(&R) -> CancelToken + Send + 'static,
        finish: impl FnOnce(R) -> F + Send + 'static,
    ) -> napi::Result<PromiseRaw<'env, T>>
    where
        R: Send + 'static,
        T: ToNapiValue + Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (cancel, call) = (self.clone(), Call::begin());
        env.spawn_future(async move {
            let _call = call;
            // Tokenising a long prompt takes time and must not block a thread that serves other calls.
            let request = block_in_place(start).map_err(core_error)?;
            cancel.0.link(&token(&request));
            finish(request).await.map_err(core_error)
        })
    }
}
