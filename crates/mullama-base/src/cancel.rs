//! Cancellation tokens.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Cancels an operation from any thread. All clones share one state.
///
/// The caller of an operation and its implementation share a token. The caller calls
/// [`cancel`](Self::cancel). The implementation checks [`is_cancelled`](Self::is_cancelled) between
/// steps, waits with [`sleep`](Self::sleep), and interrupts blocking calls with
/// [`on_cancel`](Self::on_cancel).
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Inner>);

#[derive(Default)]
struct Inner {
    cancelled: AtomicBool,
    /// The time from which it counts as cancelled.
    deadline: Option<Instant>,
    /// Called on cancellation. The flag is set under this lock, so that a callback added at the
    /// same time is not missed.
    callbacks: Mutex<Callbacks>,
    changed: Condvar,
}

#[derive(Default)]
struct Callbacks {
    next: u64,
    waiting: Vec<(u64, Box<dyn FnOnce() + Send>)>,
}

impl CancelToken {
    /// Creates a token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a token that counts as cancelled from `deadline` on, if there is one. Callbacks are
    /// not called at that time.
    pub fn with_deadline(deadline: Option<Instant>) -> Self {
        Self(Arc::new(Inner { deadline, ..Inner::default() }))
    }

    /// Cancels the operation, and calls the callbacks on this thread.
    pub fn cancel(&self) {
        let mut callbacks = self.callbacks();
        self.0.cancelled.store(true, Ordering::Relaxed);
        let waiting = std::mem::take(&mut callbacks.waiting);
        drop(callbacks);
        self.0.changed.notify_all();
        for (_, callback) in waiting {
            callback();
        }
    }

    /// Whether it was cancelled or its deadline has passed.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed) || self.is_past_deadline()
    }

    /// The deadline, if there is one.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// Whether the deadline has passed.
    pub fn is_past_deadline(&self) -> bool {
        self.0.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Fails if it was cancelled or its deadline has passed.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// Waits for the given time. Fails as soon as it is cancelled.
    pub fn sleep(&self, duration: Duration) -> Result<()> {
        let end = Instant::now().checked_add(duration);
        let end = [end, self.0.deadline].into_iter().flatten().min();
        let mut callbacks = self.callbacks();
        while !self.is_cancelled() {
            let changed = &self.0.changed;
            callbacks = match end.map(|end| end.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    let wait = changed.wait_timeout(callbacks, left);
                    wait.unwrap_or_else(PoisonError::into_inner).0
                }
                None => changed.wait(callbacks).unwrap_or_else(PoisonError::into_inner),
            };
        }
        drop(callbacks);
        self.check()
    }

    /// Calls `callback` on cancellation, on the cancelling thread; immediately if it was cancelled
    /// before. Dropping the returned guard removes the callback.
    pub fn on_cancel(&self, callback: impl FnOnce() + Send + 'static) -> CancelCallback {
        CancelCallback { token: self.clone(), id: self.add(Box::new(callback)) }
    }

    /// Makes cancellation of this token also cancel `other`.
    pub fn link(&self, other: &Self) {
        let other = other.clone();
        self.add(Box::new(move || other.cancel()));
    }

    /// Whether an operation has registered a callback, so that cancelling takes effect at once.
    pub fn has_callbacks(&self) -> bool {
        !self.callbacks().waiting.is_empty()
    }

    /// Returns a guard that cancels on drop. This has no effect on an operation that has finished.
    pub fn drop_guard(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }

    fn add(&self, callback: Box<dyn FnOnce() + Send>) -> u64 {
        let mut callbacks = self.callbacks();
        let id = callbacks.next;
        callbacks.next += 1;
        if self.0.cancelled.load(Ordering::Relaxed) {
            drop(callbacks);
            callback();
        } else {
            callbacks.waiting.push((id, callback));
        }
        id
    }

    fn callbacks(&self) -> MutexGuard<'_, Callbacks> {
        self.0.callbacks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelToken").field(&self.is_cancelled()).finish()
    }
}

/// Guard of a callback of [`CancelToken::on_cancel`]. Dropping it removes the callback.
#[derive(Debug)]
#[must_use = "dropping it takes the callback back"]
pub struct CancelCallback {
    token: CancelToken,
    id: u64,
}

impl Drop for CancelCallback {
    fn drop(&mut self) {
        let mut callbacks = self.token.callbacks();
        let place = callbacks.waiting.iter().position(|(id, _)| *id == self.id);
        let callback = place.map(|place| callbacks.waiting.swap_remove(place));
        // Dropping the callback may drop other guards or cancel, so release the lock first.
        drop(callbacks);
        drop(callback);
    }
}

/// Cancels on drop; created by [`CancelToken::drop_guard`].
#[derive(Debug)]
#[must_use = "dropping it cancels"]
pub struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use super::*;
    use crate::ErrorKind;

    const LONG: Duration = Duration::from_secs(60);

    fn counter() -> (Arc<AtomicU32>, impl Fn() + Clone) {
        let count = Arc::<AtomicU32>::default();
        let counted = Arc::clone(&count);
        (count, move || {
            counted.fetch_add(1, Ordering::SeqCst);
        })
    }

    #[test]
    fn cancellation_interrupts_sleep() {
        let cancel = CancelToken::new();
        assert!(cancel.check().is_ok());
        cancel.sleep(Duration::from_millis(1)).unwrap();
        let other = cancel.clone();
        let start = Instant::now();
        let thread = thread::spawn(move || other.sleep(LONG));
        cancel.cancel();
        assert_eq!(thread.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(start.elapsed() < LONG / 6);
        assert!(cancel.check().is_err() && !cancel.is_past_deadline());
    }

    #[test]
    fn deadline_cancels_token() {
        let start = Instant::now();
        let cancel = CancelToken::with_deadline(start.checked_add(Duration::from_millis(10)));
        assert!(cancel.sleep(Duration::MAX).is_err());
        assert!(start.elapsed() < LONG / 6);
        assert!(cancel.is_cancelled() && cancel.is_past_deadline());
        let cancel = CancelToken::with_deadline(start.checked_add(LONG));
        cancel.sleep(Duration::from_millis(1)).unwrap();
        assert!(!cancel.is_cancelled());
    }

    #[test]
    fn callbacks_run_once_unless_unregistered() {
        let (count, call) = counter();
        let cancel = CancelToken::new();
        drop(cancel.on_cancel(call.clone()));
        let first = cancel.on_cancel(call.clone());
        let second = cancel.on_cancel(call.clone());
        drop(first);
        cancel.cancel();
        cancel.cancel();
        assert_eq!(count.load(Ordering::SeqCst), 1);
        drop(second);
        // A callback added after cancellation is called immediately.
        let _late = cancel.on_cancel(call);
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_callback_may_use_the_token_itself() {
        let (count, call) = counter();
        let cancel = CancelToken::new();
        let own = cancel.clone();
        let kept = cancel.on_cancel(move || {
            own.cancel();
            drop(own.on_cancel(call));
        });
        cancel.cancel();
        drop(kept);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn linked_tokens_are_cancelled_together() {
        let (request, stream) = (CancelToken::new(), CancelToken::new());
        request.link(&stream);
        stream.link(&request);
        assert!(!stream.is_cancelled());
        request.cancel();
        assert!(stream.is_cancelled());
        let late = CancelToken::new();
        drop(late.drop_guard());
        assert!(late.is_cancelled());
        let late = CancelToken::new();
        request.link(&late);
        assert!(late.is_cancelled());
    }

    #[test]
    fn links_added_during_cancellation_are_cancelled() {
        for _ in 0..200 {
            let (cancel, late) = (CancelToken::new(), CancelToken::new());
            let other = cancel.clone();
            let thread = thread::spawn(move || other.cancel());
            cancel.link(&late);
            thread.join().unwrap();
            assert!(late.is_cancelled());
        }
    }
}
