//! A thread that owns a context and does what it is told through a channel.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mullama_base::{check_memory, no_thread};

use super::closed::closed;
use super::exit;
use crate::{Error, ErrorKind, Result};

/// What such a thread is asked for.
pub(crate) trait Order: Send + 'static {
    /// Tells whoever gave the order that it came too late.
    fn refuse(self);
}

enum Message<O> {
    Order(O),
    /// The thread is to end when all that it has been given is done.
    Finish,
    /// The thread is to end now.
    Stop,
}

/// The way to a thread; it ends when this is dropped.
pub(crate) struct OwnThread<O: Order> {
    messages: flume::Sender<Message<O>>,
    /// The thread's own inbox, to empty when the thread is gone.
    inbox: flume::Receiver<Message<O>>,
    /// Set by the thread before it refuses what is left in its inbox.
    ended: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Disconnected when the thread has ended.
    gone: flume::Receiver<Infallible>,
    /// How long to wait for it when it is told to stop; `None` for as long as it takes.
    patience: Option<Duration>,
}

impl<O: Order> OwnThread<O> {
    /// Starts a thread that does `work` with the orders that arrive.
    ///
    /// Where it is told to stop and does not in `patience`, it ends by itself some time later, with all that it
    /// has.
    pub fn start(
        name: &str,
        patience: Option<Duration>,
        work: impl FnOnce(Inbox<O>) + Send + 'static,
    ) -> Result<Self> {
        check_memory(0)?;
        let (messages, inbox) = flume::unbounded();
        let weak = messages.downgrade();
        let (running, gone) = exit::register(move || {
            weak.upgrade().map(|messages| messages.send(Message::Stop));
        });
        let ended = Arc::<AtomicBool>::default();
        let (arriving, end) = (inbox.clone(), Arc::clone(&ended));
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Dropped last.
                let _running = running;
                work(Inbox { messages: arriving.clone(), is_finishing: false });
                end.store(true, Ordering::SeqCst);
                refuse_all(&arriving);
            })
            .map_err(|error| no_thread("a thread", &error).with_source(error))?;
        Ok(Self { messages, inbox, ended, thread: Mutex::new(Some(thread)), gone, patience })
    }

    /// Gives an order. The thread itself cannot: it would wait for itself.
    pub fn send(&self, order: O) -> Result<()> {
        let own = |thread: &JoinHandle<()>| thread.thread().id() == thread::current().id();
        if self.thread.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(own) {
            let message = "a logits processor cannot make requests of the model that calls it";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        self.messages.send(Message::Order(order)).map_err(|_| closed())?;
        // Either the thread saw the order when it emptied its inbox, or this sees that it has ended:
        // nobody is left waiting for a thread that is gone.
        if self.ended.load(Ordering::SeqCst) {
            refuse_all(&self.inbox);
        }
        Ok(())
    }

    /// Waits until all orders are carried out and the thread has ended.
    pub fn finish(&self) {
        self.end(Message::Finish, None);
    }

    /// Has the thread give up what it does, and waits until it has ended, if that does not take too long.
    pub fn stop(&self) {
        self.end(Message::Stop, self.patience);
    }

    fn end(&self, how: Message<O>, patience: Option<Duration>) {
        let _ = self.messages.send(how);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
            && patience.is_none_or(|patience| has_ended_within(&self.gone, patience))
        {
            let _ = thread.join();
        }
    }
}

/// Waits for a thread that holds on to the other end.
fn has_ended_within(gone: &flume::Receiver<Infallible>, patience: Duration) -> bool {
    gone.recv_timeout(patience) == Err(flume::RecvTimeoutError::Disconnected)
}

impl<O: Order> Drop for OwnThread<O> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Answers what came too late.
fn refuse_all<O: Order>(inbox: &flume::Receiver<Message<O>>) {
    for message in inbox.drain() {
        if let Message::Order(order) = message {
            order.refuse();
        }
    }
}

/// What such a thread does: steps, between which it takes orders.
pub(crate) trait Serve {
    type Order: Order;

    /// Whether there is nothing to do.
    fn is_idle(&self) -> bool;

    /// Takes an order. Gives until when the next step is to wait for more of them.
    fn accept(&mut self, order: Self::Order) -> Option<Instant>;

    /// Ends what was cancelled, and what nobody waits for any more.
    fn drop_cancelled(&mut self);

    /// Advances everything that is under way. It may be called when nothing is.
    fn step(&mut self) -> Result<()>;

    /// A step failed: everything that was in it ends with the error.
    fn fail_all(&mut self, error: &Error);

    /// The thread ends: so does everything that is left.
    fn close(&mut self);
}

/// Where a thread hears of its orders.
pub(crate) struct Inbox<O> {
    messages: flume::Receiver<Message<O>>,
    /// Whether the thread ends when all is done.
    is_finishing: bool,
}

/// What a thread hears next.
enum Heard<O> {
    Order(O),
    /// Nothing has arrived.
    Nothing,
    /// It is time to end: the thread was told to, or nobody is left who could ask for anything.
    End,
}

impl<O: Order> Inbox<O> {
    /// Works until told to stop, or until nobody is left who could ask for anything.
    pub fn serve(mut self, mut work: impl Serve<Order = O>) {
        while self.receive(&mut work) {
            work.drop_cancelled();
            if let Err(error) = work.step() {
                work.fail_all(&error);
            }
        }
        work.close();
    }

    /// Hands on what has arrived; waits where there is nothing else to do. False when it is time to end.
    fn receive(&mut self, work: &mut impl Serve<Order = O>) -> bool {
        let mut deadline = None;
        loop {
            match self.next(work.is_idle(), deadline) {
                Heard::Order(order) => deadline = work.accept(order).or(deadline),
                Heard::Nothing => return true,
                Heard::End => return false,
            }
        }
    }

    /// The next order. A thread that has nothing to do waits for it; one that has, not at all or until
    /// `deadline`.
    fn next(&mut self, is_idle: bool, deadline: Option<Instant>) -> Heard<O> {
        loop {
            let received = match deadline {
                _ if is_idle && !self.is_finishing => self.messages.recv().ok(),
                Some(deadline) => self.messages.recv_deadline(deadline).ok(),
                None => self.messages.try_recv().ok(),
            };
            match received {
                Some(Message::Order(order)) => return Heard::Order(order),
                Some(Message::Finish) => self.is_finishing = true,
                Some(Message::Stop) => return Heard::End,
                None if is_idle || self.messages.is_disconnected() => return Heard::End,
                None => return Heard::Nothing,
            }
        }
    }
}

/// What one thread writes, to be read from anywhere.
#[derive(Default)]
pub(crate) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Shared<T> {
    pub fn read(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn update(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
