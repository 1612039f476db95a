//! The encoder thread: computes embeddings of pictures while the scheduler continues with text.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use super::media_run::MediaRun;
use crate::engine::{ServiceCommand, ServiceLoop, ServiceThread, closed};
use crate::{Error, Result, Token};

/// Maximum size in bytes of the cache of embeddings. It has room for some thousand tokens of a large model.
const MAX_CACHED_BYTES: usize = 128 << 20;

/// Embeddings of a part of a picture, set once the encoder thread has computed them.
#[derive(Default)]
pub(super) struct PendingEmbeddings(OnceLock<Result<Vec<f32>>>);

impl PendingEmbeddings {
    /// The embeddings or the error; `None` while they are being computed.
    pub fn result(&self) -> Option<&Result<Vec<f32>>> {
        self.0.get()
    }
}

/// Owns the encoder thread, and caches recent embeddings.
pub(super) struct Encoder {
    thread: Option<ServiceThread<EncodeCommand>>,
    done: (flume::Sender<()>, flume::Receiver<()>),
    /// Requested embeddings that some request still refers to. The key is the numbers that represent the part in
    /// prompts.
    requested: Vec<(Vec<Token>, Weak<PendingEmbeddings>)>,
    /// The cache of used embeddings, by the same keys; least recently used first.
    cached: VecDeque<(Vec<Token>, Arc<PendingEmbeddings>)>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            thread: None,
            done: flume::bounded(1),
            requested: Vec::new(),
            cached: VecDeque::new(),
        }
    }
}

impl Encoder {
    /// Returns the embeddings of a part of a picture: cached, already requested, or newly queued. A queued part is
    /// dropped once all references to the returned value are dropped.
    pub fn request(&mut self, run: &MediaRun) -> Result<Arc<PendingEmbeddings>> {
        let key = run.placeholders();
        if let Some((_, encoding)) = self.cached.iter().find(|(known, _)| known == key) {
            return Ok(Arc::clone(encoding));
        }
        self.requested.retain(|(_, encoding)| encoding.strong_count() > 0);
        let requested = self.requested.iter().find(|(known, _)| known == key);
        if let Some(encoding) = requested.and_then(|(_, encoding)| encoding.upgrade()) {
            return Ok(encoding);
        }
        let encoding = Arc::<PendingEmbeddings>::default();
        let thread = match &self.thread {
            Some(thread) => thread,
            None => self.thread.insert(ServiceThread::start("mullama-media", None, |inbox| {
                inbox.run(EncoderLoop::default());
            })?),
        };
        let target = Arc::downgrade(&encoding);
        self.requested.push((key.to_vec(), Weak::clone(&target)));
        thread.send(EncodeCommand { run: run.clone(), target, done: self.done.0.clone() })?;
        Ok(encoding)
    }

    /// Caches used embeddings for later requests with the same picture. Evicts the least recently used ones above
    /// `MAX_CACHED_BYTES`.
    pub fn store(&mut self, run: &MediaRun, encoding: Arc<PendingEmbeddings>) {
        let key = run.placeholders();
        self.cached.retain(|(known, _)| known != key);
        self.cached.push_back((key.to_vec(), encoding));
        let size = |(_, encoding): &(Vec<Token>, Arc<PendingEmbeddings>)| {
            let numbers = encoding.result().and_then(|it| it.as_ref().ok()).map_or(0, Vec::len);
            numbers * size_of::<f32>()
        };
        while self.cached.len() > 1
            && self.cached.iter().map(size).sum::<usize>() > MAX_CACHED_BYTES
        {
            self.cached.pop_front();
        }
    }

    /// Waits until the encoder thread finishes a part, for at most `longest`.
    pub fn wait(&self, longest: Duration) {
        let _ = self.done.1.recv_timeout(longest);
        self.done.1.drain();
    }
}

/// A request to encode a part of a picture.
struct EncodeCommand {
    run: MediaRun,
    target: Weak<PendingEmbeddings>,
    done: flume::Sender<()>,
}

impl EncodeCommand {
    fn run(&self) {
        let is_wanted = || self.target.strong_count() > 0;
        if is_wanted() {
            self.answer(self.run.encode(&is_wanted));
        }
    }

    fn answer(&self, outcome: Result<Vec<f32>>) {
        if let Some(encoding) = self.target.upgrade() {
            let _ = encoding.0.set(outcome);
        }
        let _ = self.done.try_send(());
    }
}

impl ServiceCommand for EncodeCommand {
    fn refuse(self) {
        self.answer(Err(closed()));
    }
}

#[derive(Default)]
struct EncoderLoop {
    queue: VecDeque<EncodeCommand>,
}

impl ServiceLoop for EncoderLoop {
    type ServiceCommand = EncodeCommand;

    fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    fn accept(&mut self, order: EncodeCommand) -> Option<Instant> {
        self.queue.push_back(order);
        None
    }

    fn drop_cancelled(&mut self) {
        self.queue.retain(|order| order.target.strong_count() > 0);
    }

    fn step(&mut self) -> Result<()> {
        if let Some(order) = self.queue.pop_front() {
            order.run();
        }
        Ok(())
    }

    fn fail_all(&mut self, error: &Error) {
        for order in self.queue.drain(..) {
            order.answer(Err(error.clone()));
        }
    }

    fn close(&mut self) {
        self.fail_all(&closed());
    }
}
