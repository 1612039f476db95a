//! An answer as it is generated.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use flume::r#async::RecvStream;
use futures_core::Stream as AsyncStream;

use super::completion::{Chunk, Completion};
use super::delivery::Event;
use crate::engine::DeadlineWatch;
use crate::{CancelToken, Error, ErrorKind, Result};

/// A value that must live as long as the answer is awaited.
pub(crate) type KeepAlive = Arc<dyn Send + Sync>;

/// An answer while it is being generated: an iterator of chunks, blocking or asynchronous.
///
/// The last chunk has the whole [`Completion`]. Dropping the stream cancels the generation.
pub struct Stream {
    events: flume::Receiver<Event>,
    /// The same channel for `poll_next`, created on its first call.
    polled: Option<RecvStream<'static, Event>>,
    cancel: CancelToken,
    completion: Option<Completion>,
    ended: bool,
    /// Ends the wait if the engine's thread does not.
    _watch: DeadlineWatch,
    /// The model stays loaded while its answer is awaited.
    _model: KeepAlive,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("completion", &self.completion).finish_non_exhaustive()
    }
}

impl Stream {
    pub(crate) fn new(
        events: flume::Receiver<Event>,
        cancel: CancelToken,
        watch: DeadlineWatch,
        model: KeepAlive,
    ) -> Self {
        Self {
            events,
            polled: None,
            cancel,
            completion: None,
            ended: false,
            _watch: watch,
            _model: model,
        }
    }

    /// Waits for the next chunk; `None` after the last.
    pub fn next_chunk(&mut self) -> Option<Result<Chunk>> {
        if self.ended {
            return None;
        }
        let event = self.events.recv().ok();
        self.receive(event)
    }

    /// Like [`Self::next_chunk`], but waits at most `timeout`: `Err(())` means that there is no
    /// chunk yet.
    #[allow(clippy::result_unit_err, reason = "there is nothing to say about a wait")]
    pub fn next_chunk_within(&mut self, timeout: Duration) -> Result<Option<Result<Chunk>>, ()> {
        if self.ended {
            return Ok(None);
        }
        match self.events.recv_timeout(timeout) {
            Ok(event) => Ok(self.receive(Some(event))),
            Err(flume::RecvTimeoutError::Timeout) => Err(()),
            Err(flume::RecvTimeoutError::Disconnected) => Ok(self.receive(None)),
        }
    }

    /// The next chunk, if it is already available.
    pub fn ready_chunk(&mut self) -> Option<Result<Chunk>> {
        if self.ended {
            return None;
        }
        let event = self.events.try_recv().ok()?;
        self.receive(Some(event))
    }

    /// Cancels the generation; the partial answer is still delivered, with the finish reason
    /// `cancelled`.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// A token that cancels the generation from any thread.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// The complete answer, after the last chunk.
    pub fn completion(&self) -> Option<&Completion> {
        self.completion.as_ref()
    }

    /// Waits for the end and returns the complete answer.
    pub fn finish(mut self) -> Result<Completion> {
        while let Some(chunk) = self.next_chunk() {
            chunk?;
        }
        self.into_completion()
    }

    /// As [`Self::finish`], without blocking the thread.
    pub async fn finish_async(mut self) -> Result<Completion> {
        while let Some(chunk) = self.next_chunk_async().await {
            chunk?;
        }
        self.into_completion()
    }

    /// As [`Self::next_chunk`], without blocking the thread.
    pub async fn next_chunk_async(&mut self) -> Option<Result<Chunk>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    fn into_completion(mut self) -> Result<Completion> {
        self.completion.take().ok_or_else(engine_gone)
    }

    #[allow(clippy::unnecessary_wraps, reason = "what the callers hand on")]
    fn receive(&mut self, event: Option<Event>) -> Option<Result<Chunk>> {
        match event {
            Some(Event::Chunk(chunk)) => Some(Ok(*chunk)),
            Some(Event::Done(result)) => {
                self.ended = true;
                Some(result.map(|chunk| {
                    self.completion.clone_from(&chunk.completion);
                    *chunk
                }))
            }
            None => {
                self.ended = true;
                Some(Err(engine_gone()))
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.ended {
            self.cancel.cancel();
        }
    }
}

impl Iterator for Stream {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_chunk()
    }
}

impl AsyncStream for Stream {
    type Item = Result<Chunk>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let polled = this.polled.get_or_insert_with(|| this.events.clone().into_stream());
        match Pin::new(polled).poll_next(cx) {
            Poll::Ready(event) => Poll::Ready(self.receive(event)),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn engine_gone() -> Error {
    Error::new(ErrorKind::Internal, "the engine's thread ended without an answer")
}
