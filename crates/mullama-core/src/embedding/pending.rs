//! A result that is being computed.

use std::fmt;

use crate::engine::DeadlineWatch;
use crate::scheduler::KeepAlive;
use crate::{CancelToken, Error, ErrorKind, Result};

/// Converts the computed values to the result.
type Finish<T> = Box<dyn FnOnce(Vec<f32>) -> T + Send>;

/// A result that is being computed. It can be awaited, with or without blocking the thread, or cancelled. Dropping it
/// cancels the computation.
pub struct Pending<T> {
    reply: flume::Receiver<Result<Vec<f32>>>,
    cancel: CancelToken,
    finish: Option<Finish<T>>,
    /// Ends the wait if the engine's thread cannot.
    _watch: DeadlineWatch,
    /// Prevents the model from being unloaded before the result has arrived.
    _model: KeepAlive,
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("cancel", &self.cancel).finish_non_exhaustive()
    }
}

impl<T> Pending<T> {
    pub(super) fn new(
        reply: flume::Receiver<Result<Vec<f32>>>,
        cancel: CancelToken,
        watch: DeadlineWatch,
        finish: impl FnOnce(Vec<f32>) -> T + Send + 'static,
        model: KeepAlive,
    ) -> Self {
        Self { reply, cancel, finish: Some(Box::new(finish)), _watch: watch, _model: model }
    }

    /// Waits for the result. Fails with [`ErrorKind::Cancelled`] if the computation was cancelled or exceeded its
    /// `timeout`.
    pub fn wait(mut self) -> Result<T> {
        let answer = self.reply.recv();
        self.receive(answer)
    }

    /// Like [`Self::wait`], without blocking the thread.
    pub async fn wait_async(mut self) -> Result<T> {
        let answer = self.reply.recv_async().await;
        self.receive(answer)
    }

    /// Cancels the computation.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// A token that cancels the computation from any thread.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    fn receive(&mut self, answer: Result<Result<Vec<f32>>, flume::RecvError>) -> Result<T> {
        let gone =
            || Error::new(ErrorKind::Internal, "the engine's thread ended without an answer");
        let values = answer.map_err(|_| gone())??;
        Ok(self.finish.take().ok_or_else(gone)?(values))
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        // This has no effect if there is a result already.
        self.cancel.cancel();
    }
}
