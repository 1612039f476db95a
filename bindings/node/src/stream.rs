//! A generation under way, of text or of a chat's answer.
#![allow(missing_docs, reason = "`index.d.ts` documents what a program sees")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use mullama::{
    CancelToken, ChatChunk, ChatOptions, ChatStream, Chunk, Error, ErrorKind, GenerateOptions,
    Message, Model, Prompt, Result, Stream,
};
use napi::Env;
use napi::bindgen_prelude::{FnArgs, Function, PromiseRaw, spawn_blocking};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::tokio::task::block_in_place;
use napi_derive::napi;
use serde_json::Value;

use crate::error::of_core;
use crate::exit::Call;
use crate::results::plain;

/// What is asked of a model.
pub(crate) enum Request {
    Text(Prompt, Box<GenerateOptions>),
    Chat(Vec<Message>, Box<ChatOptions>),
}

/// A generation, to be finished or streamed. One that is streamed is cancelled when it is collected
/// as garbage.
#[napi]
pub struct Generation {
    model: Model,
    state: Arc<Mutex<State>>,
    cancel: CancelToken,
    signal: OnceLock<Arc<Signal>>,
}

enum State {
    Asked(Request),
    /// It is being started on another thread.
    Starting,
    Running(Running),
    /// It could not be started; the error until it is told.
    Failed(Option<Error>),
    Ended,
}

enum Running {
    Text(Box<Stream>),
    Chat(Box<ChatStream>),
}

#[napi]
impl Generation {
    /// Waits for the whole answer.
    #[napi(catch_unwind)]
    pub fn finish<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, Value>> {
        let (request, model) = (self.begin()?, self.model.clone());
        let cancel = self.cancel.clone();
        let call = Call::begin();
        env.spawn_future(async move {
            let _call = call;
            // A long prompt takes a while to tokenise: not on a thread that serves others.
            let running = block_in_place(|| request.start(&model, &cancel)).map_err(of_core)?;
            running.finish().await.map_err(of_core)
        })
    }

    /// Starts a stream. `deliver` is called with new chunks, and with the error that ended it; what it
    /// refers to is held for as long as there is the generation.
    #[napi(catch_unwind)]
    pub fn start(&self, deliver: Function<'_, News, ()>) -> napi::Result<()> {
        let (request, model) = (self.begin()?, self.model.clone());
        let (state, cancel) = (Arc::clone(&self.state), self.cancel.clone());
        let signal = Signal::new(&deliver, Arc::clone(&state))?;
        let _ = self.signal.set(Arc::clone(&signal));
        let call = Call::begin();
        spawn_blocking(move || {
            let started = catch_unwind(AssertUnwindSafe(|| request.start(&model, &cancel)));
            let started = started.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Internal, "starting the generation panicked"))
            });
            let mut state = lock(&state);
            if matches!(*state, State::Starting) {
                *state = started.map_or_else(|error| State::Failed(Some(error)), State::Running);
            }
            drop(state);
            drop(call);
            signal.wake();
        });
        Ok(())
    }

    /// Stops it; what there is of the answer still comes.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Stops it, and nothing comes any more.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.cancel.cancel();
        *lock(&self.state) = State::Ended;
    }
}

impl Generation {
    pub(crate) fn new(model: Model, request: Request) -> Self {
        let state = Arc::new(Mutex::new(State::Asked(request)));
        Self { model, state, cancel: CancelToken::new(), signal: OnceLock::new() }
    }

    fn begin(&self) -> napi::Result<Request> {
        match std::mem::replace(&mut *lock(&self.state), State::Starting) {
            State::Asked(request) => Ok(request),
            _ => Err(of_core(Error::new(ErrorKind::Internal, "a generation is started once"))),
        }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // The signal holds the stream, and the stream the signal.
        if self.signal.get().is_some() {
            self.close();
        }
    }
}

impl State {
    /// What is new, and the error that ended it; asks to be woken when there is more.
    fn news(&mut self, cx: &mut Context<'_>) -> (Vec<Value>, Option<Error>) {
        let running = match self {
            State::Running(running) => running,
            State::Failed(error) => return (Vec::new(), error.take()),
            State::Asked(_) | State::Starting | State::Ended => return (Vec::new(), None),
        };
        let mut chunks = Vec::new();
        let error = loop {
            match running.poll(cx) {
                Poll::Pending => return (chunks, None),
                Poll::Ready(Some(Ok(chunk))) => chunks.push(chunk),
                Poll::Ready(Some(Err(error))) => break Some(error),
                Poll::Ready(None) => break None,
            }
        };
        *self = State::Ended;
        (chunks, error)
    }
}

impl Request {
    fn start(self, model: &Model, cancel: &CancelToken) -> Result<Running> {
        Ok(match self {
            Request::Text(prompt, options) => {
                let stream = model.stream(prompt, &options)?;
                cancel.link(&stream.cancel_token());
                Running::Text(Box::new(stream))
            }
            Request::Chat(messages, options) => {
                let stream = model.stream_chat(&messages, &options)?;
                cancel.link(&stream.cancel_token());
                Running::Chat(Box::new(stream))
            }
        })
    }
}

impl Running {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Value>>> {
        match self {
            Running::Text(stream) => pin!(stream.next_chunk_async())
                .poll(cx)
                .map(|chunk| chunk.map(|chunk| chunk.map(text_chunk))),
            Running::Chat(stream) => pin!(stream.next_chunk_async())
                .poll(cx)
                .map(|chunk| chunk.map(|chunk| chunk.map(chat_chunk))),
        }
    }

    async fn finish(self) -> Result<Value> {
        match self {
            Running::Text(stream) => stream.finish_async().await.map(|answer| plain(&answer)),
            Running::Chat(stream) => stream.finish_async().await.map(|answer| plain(&answer)),
        }
    }
}

/// A chunk; one that has nothing but text, as nearly all, is just that.
fn text_chunk(chunk: Chunk) -> Value {
    match chunk {
        Chunk { text, logprobs: None, completion: None } => text.into(),
        chunk => plain(&chunk),
    }
}

fn chat_chunk(chunk: ChatChunk) -> Value {
    match chunk {
        ChatChunk { text, reasoning, tool_calls, completion: None }
            if reasoning.is_empty() && tool_calls.is_empty() =>
        {
            text.into()
        }
        chunk => plain(&chunk),
    }
}

/// New chunks, and the error that ended the stream.
type News = FnArgs<(Vec<Value>, Option<napi::Error>)>;

/// Brings news to JavaScript's thread when it is woken, straight from the engine's: a task in between
/// would cost more than all the rest of a token's way. It does not keep the event loop running.
struct Signal(ThreadsafeFunction<(), (), News, napi::Status, false, true>);

impl Signal {
    fn new(deliver: &Function<'_, News, ()>, state: Arc<Mutex<State>>) -> napi::Result<Arc<Self>> {
        // The function is a part of what it wakes.
        let this = Arc::new(OnceLock::<Weak<Self>>::new());
        let own = Arc::clone(&this);
        let deliver = deliver.build_threadsafe_function().callee_handled::<false>().weak::<true>();
        let function = deliver.build_callback(move |_| {
            let signal = own.get().and_then(Weak::upgrade);
            let waker = signal.map_or_else(|| Waker::noop().clone(), Waker::from);
            let (chunks, error) = lock(&state).news(&mut Context::from_waker(&waker));
            Ok((chunks, error.map(of_core)).into())
        })?;
        let signal = Arc::new(Self(function));
        let _ = this.set(Arc::downgrade(&signal));
        Ok(signal)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        // Where the thread is ending, nobody waits.
        self.0.call((), ThreadsafeFunctionCallMode::NonBlocking);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
