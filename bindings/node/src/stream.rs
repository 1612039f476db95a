//! Streamed generations of texts and chat answers.
#![allow(missing_docs, reason = "`lib` documents what a program sees")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use futures_core::Stream;
use mullama::{CancelToken, ChatChunk, Chunk, Error, ErrorKind, Result};
use napi::bindgen_prelude::{FnArgs, Function, spawn_blocking};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;

use crate::calls::{Call, Cancel};
use crate::error::core_error;
use crate::results::Plain;

/// The JavaScript function that receives new chunks, and the error that ended the stream.
pub(crate) type Deliver<'scope> = Function<'scope, StreamUpdate, ()>;
type StreamUpdate = FnArgs<(Vec<Piece>, Option<napi::Error>)>;

/// A chunk. Nearly all have only text, and are passed as a string.
type Piece = Plain<()>;

impl From<Chunk> for Piece {
    fn from(chunk: Chunk) -> Self {
        match chunk {
            Chunk { text, logprobs: None, progress: None, completion: None } => {
                Self::verbatim(text)
            }
            chunk => Self::new(&chunk),
        }
    }
}

impl From<ChatChunk> for Piece {
    fn from(chunk: ChatChunk) -> Self {
        match chunk {
            ChatChunk {
                text,
                reasoning,
                tool_calls,
                logprobs: None,
                progress: None,
                completion: None,
            } if reasoning.is_empty() && tool_calls.is_empty() => Self::verbatim(text),
            chunk => Self::new(&chunk),
        }
    }
}

/// A stream of the core, with either type of chunk.
type Pieces = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<Result<Piece>>> + Send>;

/// A generation. It is cancelled when it is garbage-collected.
#[napi]
pub struct Generation {
    /// Starts the stream; taken at the first [`Self::begin`].
    start: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    state: Arc<Mutex<State>>,
    cancel: Cancel,
    /// Owned here, because its callback refers to it only weakly.
    _signal: Arc<WakeCallback>,
}

enum State {
    /// Not started yet, or being started on another thread.
    Starting,
    Running(Pieces),
    /// Could not be started. Contains the error until it is delivered.
    Failed(Option<Error>),
    Ended,
}

#[napi]
impl Generation {
    /// Starts it at the first call. An unread stream is not computed, and uses no sequence.
    #[napi(catch_unwind)]
    pub fn begin(&self) {
        if let Some(start) = lock(&self.start).take() {
            let call = Call::begin();
            spawn_blocking(move || {
                start();
                drop(call);
            });
        }
    }

    /// Stops it. The text generated so far is still delivered.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Stops it. Nothing more is delivered.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.cancel.cancel();
        *lock(&self.start) = None;
        *lock(&self.state) = State::Ended;
    }
}

impl Generation {
    /// Creates a generation that [`Self::begin`] starts. Everything that `deliver` refers to stays alive as long as
    /// the generation.
    pub(crate) fn new<S, C>(
        deliver: &Deliver<'_>,
        start: impl FnOnce() -> Result<S> + Send + 'static,
        token: fn(&S) -> CancelToken,
    ) -> napi::Result<Self>
    where
        S: Stream<Item = Result<C>> + Unpin + Send + 'static,
        C: Into<Piece>,
    {
        let state = Arc::new(Mutex::new(State::Starting));
        let signal = WakeCallback::new(deliver, Arc::clone(&state))?;
        let cancel = Cancel::default();
        let (own_state, own_cancel) = (Arc::clone(&state), cancel.clone());
        let own_signal = Arc::clone(&signal);
        let start = move || {
            let mut stream = start()?;
            cancel.0.link(&token(&stream));
            let pieces = move |cx: &mut Context<'_>| {
                Pin::new(&mut stream)
                    .poll_next(cx)
                    .map(|chunk| chunk.map(|chunk| chunk.map(Into::into)))
            };
            Ok(State::Running(Box::new(pieces)))
        };
        let start = move || {
            let started = catch_unwind(AssertUnwindSafe(start)).unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Internal,
                    "the generation could not be started because of a defect in mullama",
                ))
            });
            let mut state = lock(&state);
            if matches!(*state, State::Starting) {
                *state = started.unwrap_or_else(|error| State::Failed(Some(error)));
            }
            drop(state);
            signal.wake();
        };
        Ok(Self {
            start: Mutex::new(Some(Box::new(start))),
            state: own_state,
            cancel: own_cancel,
            _signal: own_signal,
        })
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // The signal and the stream refer to each other: closing breaks the cycle.
        self.close();
    }
}

impl State {
    /// Returns new chunks, and the error that ended the stream. Registers `cx` to be woken when there is more.
    fn take_update(&mut self, cx: &mut Context<'_>) -> (Vec<Piece>, Option<Error>) {
        let next = match self {
            State::Running(next) => next,
            State::Failed(error) => return (Vec::new(), error.take()),
            State::Starting | State::Ended => return (Vec::new(), None),
        };
        let mut pieces = Vec::new();
        let error = loop {
            match next(cx) {
                Poll::Pending => return (pieces, None),
                Poll::Ready(Some(Ok(piece))) => pieces.push(piece),
                Poll::Ready(Some(Err(error))) => break Some(error),
                Poll::Ready(None) => break None,
            }
        };
        *self = State::Ended;
        (pieces, error)
    }
}

/// A waker that delivers chunks to the JavaScript thread, directly from the engine's thread: a task in between would
/// cost more than the rest of a token's path. It does not prevent the event loop from ending.
struct WakeCallback(ThreadsafeFunction<(), (), StreamUpdate, napi::Status, false, true>);

impl WakeCallback {
    fn new(deliver: &Deliver<'_>, state: Arc<Mutex<State>>) -> napi::Result<Arc<Self>> {
        // The function is a field of the signal that it needs, so it receives a reference afterwards.
        let this = Arc::new(OnceLock::<Weak<Self>>::new());
        let own = Arc::clone(&this);
        let deliver = deliver.build_threadsafe_function().callee_handled::<false>().weak::<true>();
        let function = deliver.build_callback(move |_| {
            let signal = own.get().and_then(Weak::upgrade);
            let waker = signal.map_or_else(|| Waker::noop().clone(), Waker::from);
            let (pieces, error) = lock(&state).take_update(&mut Context::from_waker(&waker));
            Ok((pieces, error.map(core_error)).into())
        })?;
        let signal = Arc::new(Self(function));
        let _ = this.set(Arc::downgrade(&signal));
        Ok(signal)
    }
}

impl Wake for WakeCallback {
    fn wake(self: Arc<Self>) {
        // This fails only if JavaScript's thread is ending, and then nothing waits for the chunks.
        self.0.call((), ThreadsafeFunctionCallMode::NonBlocking);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
