//! A thread that owns a context and receives its orders through a channel.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mullama_base::{check_memory, thread_error};

use super::closed::closed;
use super::exit;
use crate::{Error, ErrorKind, Result};

/// A message to such a thread: a request or a command.
pub(crate) trait ServiceCommand: Send + 'static {
    /// Answers the sender of an order that arrived after the thread had ended.
    fn refuse(self);
}

enum Message<O> {
    ServiceCommand(O),
    /// End the thread once all earlier orders are done.
    Finish,
    /// End the thread now.
    Stop,
}

/// The handle of a thread. Dropping it stops the thread.
pub(crate) struct ServiceThread<O: ServiceCommand> {
    messages: flume::Sender<Message<O>>,
    /// Another receiver of the thread's channel, used to drain it after the thread has ended.
    inbox: flume::Receiver<Message<O>>,
    /// Set by the thread before it refuses the remaining orders.
    ended: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Disconnected when the thread has ended.
    gone: flume::Receiver<Infallible>,
    /// The longest time to wait for the thread to stop; `None` waits without a limit.
    shutdown_timeout: Option<Duration>,
}

impl<O: ServiceCommand> ServiceThread<O> {
    /// Starts a thread that runs `work` on the orders that arrive.
    ///
    /// If the thread does not stop within `shutdown_timeout`, it ends on its own later and frees everything it owns.
    pub fn start(
        name: &str,
        shutdown_timeout: Option<Duration>,
        work: impl FnOnce(CommandReceiver<O>) + Send + 'static,
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
                work(CommandReceiver { messages: arriving.clone(), is_finishing: false });
                end.store(true, Ordering::SeqCst);
                refuse_all(&arriving);
            })
            .map_err(|error| thread_error("a thread", &error).with_source(error))?;
        Ok(Self {
            messages,
            inbox,
            ended,
            thread: Mutex::new(Some(thread)),
            gone,
            shutdown_timeout,
        })
    }

    /// Sends a command to the thread. Fails on the thread itself, which would wait for itself.
    pub fn send(&self, order: O) -> Result<()> {
        let own = |thread: &JoinHandle<()>| thread.thread().id() == thread::current().id();
        if self.thread.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(own) {
            let message = "a logits processor cannot make requests of the model that calls it";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        self.messages.send(Message::ServiceCommand(order)).map_err(|_| closed())?;
        // Either the thread saw the order when it drained its channel, or this thread sees that it has ended. In both
        // cases the sender gets an answer.
        if self.ended.load(Ordering::SeqCst) {
            refuse_all(&self.inbox);
        }
        Ok(())
    }

    /// Waits until all orders are done and the thread has ended.
    pub fn finish(&self) {
        self.end(Message::Finish, None);
    }

    /// Makes the thread abandon its work and waits until it has ended, for at most `shutdown_timeout`.
    pub fn stop(&self) {
        self.end(Message::Stop, self.shutdown_timeout);
    }

    fn end(&self, how: Message<O>, shutdown_timeout: Option<Duration>) {
        let _ = self.messages.send(how);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
            && shutdown_timeout
                .is_none_or(|shutdown_timeout| has_ended_within(&self.gone, shutdown_timeout))
        {
            let _ = thread.join();
        }
    }
}

/// Waits until the thread drops its end of the channel. Returns false on a timeout.
fn has_ended_within(gone: &flume::Receiver<Infallible>, shutdown_timeout: Duration) -> bool {
    gone.recv_timeout(shutdown_timeout) == Err(flume::RecvTimeoutError::Disconnected)
}

impl<O: ServiceCommand> Drop for ServiceThread<O> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Refuses all orders left in the channel.
fn refuse_all<O: ServiceCommand>(inbox: &flume::Receiver<Message<O>>) {
    for message in inbox.drain() {
        if let Message::ServiceCommand(order) = message {
            order.refuse();
        }
    }
}

/// The work of such a thread: steps, with orders accepted in between.
pub(crate) trait ServiceLoop {
    type ServiceCommand: ServiceCommand;

    /// Whether there is no work.
    fn is_idle(&self) -> bool;

    /// Accepts an order. Returns the time until which the next step waits for more orders.
    fn accept(&mut self, order: Self::ServiceCommand) -> Option<Instant>;

    /// Ends requests that are cancelled or whose caller is gone.
    fn drop_cancelled(&mut self);

    /// Advances everything in progress. May be called when there is no work.
    fn step(&mut self) -> Result<()>;

    /// Ends everything that took part in a failed step with its error.
    fn fail_all(&mut self, error: &Error);

    /// Ends everything that is left, because the thread ends.
    fn close(&mut self);
}

/// The receiving end of the thread's channel.
pub(crate) struct CommandReceiver<O> {
    messages: flume::Receiver<Message<O>>,
    /// Whether the thread ends once all work is done.
    is_finishing: bool,
}

/// The result of waiting for a message.
enum Received<O> {
    ServiceCommand(O),
    /// No message has arrived.
    Nothing,
    /// The thread must end: it was stopped, has finished, or all senders are gone.
    End,
}

impl<O: ServiceCommand> CommandReceiver<O> {
    /// Works until the thread is stopped or has finished, or all senders are gone.
    pub fn run(mut self, mut work: impl ServiceLoop<ServiceCommand = O>) {
        while self.receive(&mut work) {
            work.drop_cancelled();
            if let Err(error) = work.step() {
                work.fail_all(&error);
            }
        }
        work.close();
    }

    /// Passes the orders that have arrived to `work`; blocks while `work` is idle. Returns false if the thread is to
    /// end.
    fn receive(&mut self, work: &mut impl ServiceLoop<ServiceCommand = O>) -> bool {
        let mut deadline = None;
        loop {
            match self.next(work.is_idle(), deadline) {
                Received::ServiceCommand(order) => deadline = work.accept(order).or(deadline),
                Received::Nothing => return true,
                Received::End => return false,
            }
        }
    }

    /// The next order. Blocks if the thread is idle; otherwise waits until `deadline`, or not at all.
    fn next(&mut self, is_idle: bool, deadline: Option<Instant>) -> Received<O> {
        loop {
            let received = match deadline {
                _ if is_idle && !self.is_finishing => self.messages.recv().ok(),
                Some(deadline) => self.messages.recv_deadline(deadline).ok(),
                None => self.messages.try_recv().ok(),
            };
            match received {
                Some(Message::ServiceCommand(order)) => return Received::ServiceCommand(order),
                Some(Message::Finish) => self.is_finishing = true,
                Some(Message::Stop) => return Received::End,
                None if is_idle || self.messages.is_disconnected() => return Received::End,
                None => return Received::Nothing,
            }
        }
    }
}

/// A value that one thread writes and any thread reads.
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
