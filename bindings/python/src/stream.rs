//! Streamed answers: iterators and asynchronous iterators of chunks.

use std::sync::{Arc, OnceLock};

use mullama::{CancelToken, Error, ErrorKind, Result};
use pyo3::PyClass;
use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::class::{self, Wrap};
use crate::errors;
use crate::hints::Nothing;
use crate::owned::Owned;
use crate::results::{Answer, ChatChunk, Chunk, Completion};
use crate::wait::{Coroutine, Task, block, runtime};

/// A stream of the core.
trait Source: Send + Sized + 'static {
    type Chunk: Send;
    type Completion: Clone + Send + Sync;

    fn next(&mut self) -> impl Future<Output = Option<Result<Self::Chunk>>> + Send;
    fn ready(&mut self) -> Option<Result<Self::Chunk>>;
    fn completion(&self) -> Option<&Self::Completion>;
    fn cancel_token(&self) -> CancelToken;
}

enum State<S: Source> {
    /// The stream is being started on another thread.
    Starting(JoinHandle<Result<S>>),
    Running {
        stream: S,
        /// A chunk that has arrived but has not been taken.
        here: Option<Result<S::Chunk>>,
    },
    Over,
}

/// A stream that any thread or task can read.
struct Reader<S: Source> {
    state: Mutex<State<S>>,
    cancel: CancelToken,
    completion: OnceLock<S::Completion>,
}

impl<S: Source> Reader<S> {
    fn new(stream: S) -> Self {
        let cancel = stream.cancel_token();
        Self::with(State::Running { stream, here: None }, cancel)
    }

    /// Starts a stream in the background.
    fn starting(open: impl Future<Output = Result<S>> + Send + 'static) -> Result<Self> {
        let cancel = CancelToken::new();
        let early = cancel.clone();
        let started = runtime()?.spawn(async move {
            let stream = open.await?;
            early.link(&stream.cancel_token());
            Ok(stream)
        });
        Ok(Self::with(State::Starting(started), cancel))
    }

    fn with(state: State<S>, cancel: CancelToken) -> Self {
        Self { state: Mutex::new(state), cancel, completion: OnceLock::new() }
    }

    /// Waits for the next chunk.
    async fn next(&self) -> Result<Option<S::Chunk>> {
        let mut state = self.state.lock().await;
        state.wait_for_chunk().await?;
        self.take(&mut state)
    }

    /// Waits until [`Self::poll`] can return something. Takes no chunk, so that none is lost if the
    /// wait is cancelled.
    async fn wait(&self) -> Result<()> {
        self.state.lock().await.wait_for_chunk().await
    }

    /// The next chunk, or the end of the stream, if available without waiting.
    fn poll(&self) -> Option<Result<Option<S::Chunk>>> {
        let mut state = self.state.try_lock().ok()?;
        match &mut *state {
            State::Starting(_) => return None,
            State::Running { here: Some(_), .. } | State::Over => {}
            State::Running { stream, here } => *here = Some(stream.ready()?),
        }
        Some(self.take(&mut state))
    }

    /// Takes the chunk that has arrived.
    fn take(&self, state: &mut State<S>) -> Result<Option<S::Chunk>> {
        let State::Running { stream, here } = state else { return Ok(None) };
        let chunk = here.take();
        if let Some(completion) = stream.completion() {
            let _ = self.completion.set(completion.clone());
            *state = State::Over;
        }
        chunk.transpose()
    }

    /// Cancels the generation and frees the stream.
    async fn close(&self) {
        self.cancel.cancel();
        *self.state.lock().await = State::Over;
    }
}

impl<S: Source> State<S> {
    /// Waits until a chunk has arrived or the stream is over.
    async fn wait_for_chunk(&mut self) -> Result<()> {
        if let State::Starting(started) = self {
            let started = started.await;
            *self = State::Over;
            let stream =
                started.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))??;
            *self = State::Running { stream, here: None };
        }
        if let State::Running { stream, here: here @ None } = self {
            match stream.next().await {
                Some(chunk) => *here = Some(chunk),
                None => *self = State::Over,
            }
        }
        Ok(())
    }
}

/// A Python class of streams, on top of a stream of the core.
pub trait StartStream<S>: PyClass {
    fn open(
        py: Python<'_>,
        open: impl Future<Output = Result<S>> + Send + 'static,
    ) -> errors::Result<Py<Self>>;
}

/// Implements [`Source`] for a stream, and defines its two classes.
macro_rules! streams {
    (
        $source:ty, $chunk:ident, $completion:ident($inner:ty),
        $(#[doc = $doc:literal])+ $name:ident,
        $(#[doc = $async_doc:literal])+ $async_name:ident
    ) => {
        impl Source for $source {
            type Chunk = mullama::$chunk;
            type Completion = $inner;

            async fn next(&mut self) -> Option<Result<Self::Chunk>> {
                self.next_chunk_async().await
            }

            fn ready(&mut self) -> Option<Result<Self::Chunk>> {
                self.ready_chunk()
            }

            fn completion(&self) -> Option<&Self::Completion> {
                self.completion()
            }

            fn cancel_token(&self) -> CancelToken {
                self.cancel_token()
            }
        }

        $(#[doc = $doc])+
        #[pyclass(frozen, module = "mullama")]
        pub struct $name(Owned<Reader<$source>>);

        impl StartStream<$source> for $name {
            fn open(
                py: Python<'_>,
                open: impl Future<Output = Result<$source>> + Send + 'static,
            ) -> errors::Result<Py<Self>> {
                let reader = Reader::new(block(py, open)??);
                Ok(Py::new(py, Self(Owned::new(reader)))?)
            }
        }

        #[pymethods]
        impl $name {
            /// The complete answer, after the last chunk.
            #[getter]
            fn completion(&self) -> Option<$completion> {
                self.0.peek().completion.get().cloned().map(Wrap::wrap)
            }

            /// Cancels the generation; the partial answer is still delivered, with the finish
            /// reason `cancelled`.
            fn cancel(&self) {
                self.0.peek().cancel.cancel();
            }

            /// Cancels the generation and ends the stream; called at the end of a `with` block.
            fn close(&self, py: Python<'_>) -> errors::Result<()> {
                let reader = self.0.get()?;
                Ok(block(py, reader.close())?)
            }

            fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
                class::repr(slf, &["completion"])
            }

            fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
                slf
            }

            fn __next__(&self, py: Python<'_>) -> errors::Result<Option<$chunk>> {
                let reader = self.0.get()?;
                Ok(block(py, reader.next())??.map($chunk))
            }

            fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
                slf
            }

            #[pyo3(signature = (*_exception: "object"))]
            fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> errors::Result<()> {
                self.close(py)
            }
        }

        $(#[doc = $async_doc])+
        // `mullama._async` stores the task that reads it in an attribute, and refers to it weakly.
        #[pyclass(frozen, dict, weakref, module = "mullama")]
        pub struct $async_name(Owned<Arc<Reader<$source>>>);

        impl StartStream<$source> for $async_name {
            fn open(
                py: Python<'_>,
                open: impl Future<Output = Result<$source>> + Send + 'static,
            ) -> errors::Result<Py<Self>> {
                static NOTE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
                let reader = Arc::new(Reader::starting(open)?);
                let stream = Py::new(py, Self(Owned::new(reader)))?;
                NOTE.import(py, "mullama._async", "note_creator")?.call1((&stream,))?;
                Ok(stream)
            }
        }

        #[pymethods]
        impl $async_name {
            /// The complete answer, after the last chunk.
            #[getter]
            fn completion(&self) -> Option<$completion> {
                self.0.peek().completion.get().cloned().map(Wrap::wrap)
            }

            /// Cancels the generation; the partial answer is still delivered, with the finish
            /// reason `cancelled`.
            fn cancel(&self) {
                self.0.peek().cancel.cancel();
            }

            /// Cancels the generation and ends the stream. An `async with` block calls this at its
            /// end.
            fn close<'py>(&self, py: Python<'py>) -> errors::Result<Coroutine<'py, Nothing>> {
                let reader = Arc::clone(self.0.get()?);
                Coroutine::new(py, concat!(stringify!($async_name), ".close"), async move {
                    reader.close().await;
                    Ok(Nothing)
                })
            }

            /// The same as `close`, for `contextlib.aclosing`.
            fn aclose<'py>(&self, py: Python<'py>) -> errors::Result<Coroutine<'py, Nothing>> {
                self.close(py)
            }

            fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
                class::repr(slf, &["completion"])
            }

            fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
                slf
            }

            fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Coroutine<'py, $chunk>> {
                static NEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
                let next = NEXT.import(slf.py(), "mullama._async", "next_chunk")?;
                Ok(Coroutine::from(next.call1((slf,))?))
            }

            /// The next chunk if it is there already, else None.
            fn _poll(&self, py: Python<'_>) -> errors::Result<Option<$chunk>> {
                let reader = self.0.get()?;
                let Some(chunk) = py.detach(|| reader.poll()) else { return Ok(None) };
                let chunk = chunk?.map($chunk);
                Ok(Some(chunk.ok_or_else(|| PyStopAsyncIteration::new_err(()))?))
            }

            /// What is done when `_poll` has something to give.
            fn _wait(&self) -> errors::Result<Task> {
                let reader = Arc::clone(self.0.get()?);
                Ok(Task::new(async move { Ok(reader.wait().await?) }))
            }

            fn __aenter__(slf: Bound<'_, Self>) -> errors::Result<Coroutine<'_, Py<Self>>> {
                let (py, itself) = (slf.py(), slf.unbind());
                Coroutine::new(py, "__aenter__", async move { Ok(itself) })
            }

            #[pyo3(signature = (*_exception: "object"))]
            fn __aexit__<'py>(
                &self,
                py: Python<'py>,
                _exception: &Bound<'py, PyAny>,
            ) -> errors::Result<Coroutine<'py, Nothing>> {
                self.close(py)
            }
        }
    };
}

streams! {
    mullama::Stream, Chunk, Completion(mullama::Completion),
    /// An answer that is being generated: an iterator of chunks.
    ///
    /// The last chunk has the complete answer. Closing or dropping the stream cancels the
    /// generation.
    Stream,
    /// An answer that is being generated: an asynchronous iterator of chunks.
    ///
    /// The last chunk has the complete answer. Closing or dropping the stream cancels the
    /// generation.
    AsyncStream
}

streams! {
    mullama::ChatStream, ChatChunk, Answer(mullama::ChatCompletion),
    /// A chat answer that is being generated: an iterator of chunks.
    ///
    /// The last chunk has the complete answer. Closing or dropping the stream cancels the
    /// generation.
    ChatStream,
    /// A chat answer that is being generated: an asynchronous iterator of chunks.
    ///
    /// The last chunk has the complete answer. Closing or dropping the stream cancels the
    /// generation.
    AsyncChatStream
}
