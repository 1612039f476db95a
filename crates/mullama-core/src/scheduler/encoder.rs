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
pub(super) struct Encoding(OnceLock<Result<Vec<f32>>>);

impl Encoding {
    /// The embeddings or the error; `None` while they are being computed.
    pub fn outcome(&self) -> Option<&Result<Vec<f32>>> {
        self.0.get()
    }
}

/// Owns the encoder thread, and caches recent embeddings.
pub(super) struct Encoder {
    thread: Option<ServiceThread<EncodeCommand>>,
    done: (flume::Sender<()>, flume::Receiver<()>),
    /// Requested embeddings that some request still refers to. The key is the numbers that represent the part in
    /// prompts.
    wanted: Vec<(Vec<Token>, Weak<Encoding>)>,
    /// The cache of used embeddings, by the same keys; least recently used first.
    kept: VecDeque<(Vec<Token>, Arc<Encoding>)>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { thread: None, done: flume::bounded(1), wanted: Vec::new(), kept: VecDeque::new() }
    }
}

impl Encoder {
    /// Returns the embeddings of a part of a picture: cached, already requested, or newly queued. A queued part is
    /// dropped once all references to the returned value are dropped.
    pub fn request(&mut self, run: &MediaRun) -> Result<Arc<Encoding>> {
        let key = run.stand_ins();
        if let Some((_, encoding)) = self.kept.iter().find(|(known, _)| known == key) {
            return Ok(Arc::clone(encoding));
        }
        self.wanted.retain(|(_, encoding)| encoding.strong_count() > 0);
        let wanted = self.wanted.iter().find(|(known, _)| known == key);
        if let Some(encoding) = wanted.and_then(|(_, encoding)| encoding.upgrade()) {
            return Ok(encoding);
        }
        let encoding = Arc::<Encoding>::default();
        let thread = match &self.thread {
            Some(thread) => thread,
            None => self.thread.insert(ServiceThread::start("mullama-media", None, |inbox| {
                inbox.run(Worker::default());
            })?),
        };
        let for_whom = Arc::downgrade(&encoding);
        self.wanted.push((key.to_vec(), Weak::clone(&for_whom)));
        thread.send(EncodeCommand { run: run.clone(), for_whom, done: self.done.0.clone() })?;
        Ok(encoding)
    }

    /// Caches used embeddings for later requests with the same picture. Evicts the least recently used ones above
    /// `MAX_CACHED_BYTES`.
    pub fn keep(&mut self, run: &MediaRun, encoding: Arc<Encoding>) {
        let key = run.stand_ins();
        self.kept.retain(|(known, _)| known != key);
        self.kept.push_back((key.to_vec(), encoding));
        let size = |(_, encoding): &(Vec<Token>, Arc<Encoding>)| {
            let numbers = encoding.outcome().and_then(|it| it.as_ref().ok()).map_or(0, Vec::len);
            numbers * size_of::<f32>()
        };
        while self.kept.len() > 1 && self.kept.iter().map(size).sum::<usize>() > MAX_CACHED_BYTES {
            self.kept.pop_front();
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
    for_whom: Weak<Encoding>,
    done: flume::Sender<()>,
}

impl EncodeCommand {
    fn run(&self) {
        let is_wanted = || self.for_whom.strong_count() > 0;
        if is_wanted() {
            self.answer(self.run.encode(&is_wanted));
        }
    }

    fn answer(&self, outcome: Result<Vec<f32>>) {
        if let Some(encoding) = self.for_whom.upgrade() {
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
struct Worker {
    queue: VecDeque<EncodeCommand>,
}

impl ServiceLoop for Worker {
    type ServiceCommand = EncodeCommand;

    fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    fn accept(&mut self, order: EncodeCommand) -> Option<Instant> {
        self.queue.push_back(order);
        None
    }

    fn drop_cancelled(&mut self) {
        self.queue.retain(|order| order.for_whom.strong_count() > 0);
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
