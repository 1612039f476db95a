//! A generation under way, of text or of a chat's answer.
#![allow(missing_docs, reason = "`lib/index.d.ts` documents what a program sees")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use mullama::{
    CancelToken, ChatChunk, ChatOptions, ChatStream, Chunk, Error, ErrorKind, GenerateOptions,
    Message, Model, Prompt, Result, Stream,
};
use napi::Env;
use napi::bindgen_prelude::{Function, PromiseRaw, spawn_blocking};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::tokio::task::block_in_place;
use napi_derive::napi;
use serde_json::Value;

use crate::error::of_core;
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
    cancel: Arc<Cancel>,
    signal: OnceLock<Arc<Signal>>,
}

enum State {
    Asked(Request),
    /// It is being started on another thread.
    Starting,
    Running(Running),
    /// It failed after the chunks that were handed out last.
    Failed(Error),
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
        let cancel = Arc::clone(&self.cancel);
        env.spawn_future(async move {
            // A long prompt takes a while to tokenise: not on a thread that serves others.
            let running = block_in_place(|| request.start(&model, &cancel)).map_err(of_core)?;
            running.finish().await.map_err(of_core)
        })
    }

    /// Starts a stream. `wake` is called when there is something after `take` gave nothing; it holds
    /// what it refers to for as long as there is the generation.
    #[napi(catch_unwind)]
    pub fn start(&self, wake: Function<'_, (), ()>) -> napi::Result<()> {
        let (request, model) = (self.begin()?, self.model.clone());
        let (state, cancel) = (Arc::clone(&self.state), Arc::clone(&self.cancel));
        let wake = wake.build_threadsafe_function().callee_handled::<false>().weak::<true>();
        let signal = Arc::new(Signal(wake.build()?));
        let _ = self.signal.set(Arc::clone(&signal));
        spawn_blocking(move || {
            let started = catch_unwind(AssertUnwindSafe(|| request.start(&model, &cancel)));
            let started = started.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Internal, "starting the generation panicked"))
            });
            let started = started.map_or_else(State::Failed, State::Running);
            let mut state = lock(&state);
            if matches!(*state, State::Starting) {
                *state = started;
            }
            drop(state);
            signal.wake();
        });
        Ok(())
    }

    /// All chunks that are ready, or nothing yet; an empty list after the last.
    #[napi(catch_unwind)]
    pub fn take(&self) -> napi::Result<Option<Vec<Value>>> {
        let Some(signal) = self.signal.get() else { return Ok(None) };
        let waker = Waker::from(Arc::clone(signal));
        let chunks = lock(&self.state).take(&mut Context::from_waker(&waker));
        chunks.transpose().map_err(of_core)
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
        Self { model, state, cancel: Arc::default(), signal: OnceLock::new() }
    }

    fn begin(&self) -> napi::Result<Request> {
        match std::mem::replace(&mut *lock(&self.state), State::Starting) {
            State::Asked(request) => Ok(request),
            _ => Err(of_core(Error::new(ErrorKind::Internal, "a generation is started once"))),
        }
    }
}

impl State {
    fn take(&mut self, cx: &mut Context<'_>) -> Option<Result<Vec<Value>>> {
        let running = match self {
            State::Running(running) => running,
            State::Asked(_) | State::Starting => return None,
            State::Failed(_) | State::Ended => {
                return Some(match std::mem::replace(self, State::Ended) {
                    State::Failed(error) => Err(error),
                    _ => Ok(Vec::new()),
                });
            }
        };
        let mut chunks = Vec::new();
        let mut failed = None;
        // Polled only where nothing is ready, since that asks to be woken.
        while let Some(chunk) = running.ready() {
            match chunk {
                Ok(chunk) => chunks.push(chunk),
                Err(error) => failed = Some(error),
            }
        }
        if chunks.is_empty() && failed.is_none() {
            match running.poll(cx) {
                Poll::Ready(Some(chunk)) => return Some(chunk.map(|chunk| vec![chunk])),
                Poll::Ready(None) => *self = State::Ended,
                Poll::Pending => return None,
            }
        } else if let Some(error) = failed {
            *self = State::Failed(error);
            if chunks.is_empty() {
                return self.take(cx);
            }
        }
        Some(Ok(chunks))
    }
}

impl Request {
    fn start(self, model: &Model, cancel: &Cancel) -> Result<Running> {
        Ok(match self {
            Request::Text(prompt, options) => {
                let stream = model.stream(prompt, &options)?;
                cancel.started(stream.cancel_token());
                Running::Text(Box::new(stream))
            }
            Request::Chat(messages, options) => {
                let stream = model.stream_chat(&messages, &options)?;
                cancel.started(stream.cancel_token());
                Running::Chat(Box::new(stream))
            }
        })
    }
}

impl Running {
    fn ready(&mut self) -> Option<Result<Value>> {
        match self {
            Running::Text(stream) => Some(stream.ready_chunk()?.map(text_chunk)),
            Running::Chat(stream) => Some(stream.ready_chunk()?.map(chat_chunk)),
        }
    }

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

/// Wakes JavaScript's thread, straight from the engine's: a task in between would cost more than
/// all the rest of a token's way. It does not keep the event loop running.
struct Signal(ThreadsafeFunction<(), (), (), napi::Status, false, true>);

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        // Where the thread is ending, nobody waits.
        self.0.call((), ThreadsafeFunctionCallMode::NonBlocking);
    }
}

/// Cancels a generation, also one that has not started.
#[derive(Default)]
struct Cancel {
    asked: AtomicBool,
    token: OnceLock<CancelToken>,
}

impl Cancel {
    fn cancel(&self) {
        self.asked.store(true, Ordering::SeqCst);
        if let Some(token) = self.token.get() {
            token.cancel();
        }
    }

    fn started(&self, token: CancelToken) {
        let token = self.token.get_or_init(|| token);
        if self.asked.load(Ordering::SeqCst) {
            token.cancel();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
