//! A thread that owns a context and does what it is told through a channel.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::closed::closed;
use super::exit;
use crate::{Error, ErrorKind, Result};

/// What such a thread is told.
pub(crate) trait Order: Send + 'static {
    /// Tells it to end now.
    fn stop() -> Self;

    /// Tells whoever gave the order that it came too late.
    fn refuse(self);
}

/// The way to a thread; it ends when this is dropped.
pub(crate) struct OwnThread<O: Order> {
    orders: flume::Sender<O>,
    /// The thread's own inbox, to empty when the thread is gone.
    inbox: flume::Receiver<O>,
    /// Set by the thread before it refuses what is left in its inbox.
    ended: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<O: Order> OwnThread<O> {
    /// Starts a thread that does `work` with the orders that arrive.
    pub fn start(
        name: &str,
        work: impl FnOnce(flume::Receiver<O>) + Send + 'static,
    ) -> Result<Self> {
        let (orders, inbox) = flume::unbounded();
        let weak = orders.downgrade();
        let running = exit::register(move || {
            weak.upgrade().map(|orders| orders.send(O::stop()));
        });
        let ended = Arc::<AtomicBool>::default();
        let (arriving, end) = (inbox.clone(), Arc::clone(&ended));
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Dropped last.
                let _running = running;
                work(arriving.clone());
                end.store(true, Ordering::SeqCst);
                refuse_all(&arriving);
            })
            .map_err(|error| {
                Error::new(ErrorKind::Internal, format!("cannot start a thread: {error}"))
                    .with_source(error)
            })?;
        Ok(Self { orders, inbox, ended, thread: Mutex::new(Some(thread)) })
    }

    /// Gives an order.
    pub fn send(&self, order: O) -> Result<()> {
        self.orders.send(order).map_err(|_| closed())?;
        // Either the thread saw the order when it emptied its inbox, or this sees that it has ended:
        // nobody is left waiting for a thread that is gone.
        if self.ended.load(Ordering::SeqCst) {
            refuse_all(&self.inbox);
        }
        Ok(())
    }

    /// Gives an order to end, and waits until it is carried out.
    pub fn end(&self, how: O) {
        let _ = self.orders.send(how);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl<O: Order> Drop for OwnThread<O> {
    fn drop(&mut self) {
        self.end(O::stop());
    }
}

/// Answers what came too late.
fn refuse_all<O: Order>(inbox: &flume::Receiver<O>) {
    inbox.drain().for_each(O::refuse);
}
