//! Cancellation.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::Agent;

use crate::{Error, Result};

/// Cancels what it was given to, from any thread. Clones cancel together.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    /// The connections to cut, so that no thread stays blocked on one.
    agents: Vec<(u64, Agent)>,
    next: u64,
}

impl Cancel {
    /// One that has not been cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels. Transfers are cut off, waits end.
    pub fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        let agents = std::mem::take(&mut state.agents);
        drop(state);
        self.0.changed.notify_all();
        for (_, agent) in agents {
            agent.shutdown();
        }
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// An error if it was cancelled.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// Waits this long, or until it is cancelled, which is an error.
    pub(crate) fn sleep(&self, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        let mut state = self.lock();
        while !state.cancelled {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let wait = self.0.changed.wait_timeout(state, left);
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        Err(Error::cancelled())
    }

    /// Shuts the agent down when it is cancelled, until the guard is dropped.
    pub(crate) fn guard(&self, agent: Agent) -> Guard {
        let mut state = self.lock();
        if state.cancelled {
            drop(state);
            agent.shutdown();
            return Guard { cancel: self.clone(), id: u64::MAX };
        }
        let id = state.next;
        state.next += 1;
        state.agents.push((id, agent));
        drop(state);
        Guard { cancel: self.clone(), id }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancel").field(&self.is_cancelled()).finish()
    }
}

/// Keeps an agent among those that are shut down.
pub(crate) struct Guard {
    cancel: Cancel,
    id: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.cancel.lock().agents.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_wait_ends_when_it_is_cancelled() {
        let cancel = Cancel::new();
        assert!(cancel.check().is_ok());
        cancel.sleep(Duration::from_millis(1)).unwrap();
        let other = cancel.clone();
        let start = Instant::now();
        let thread = std::thread::spawn(move || other.sleep(Duration::from_secs(60)));
        cancel.cancel();
        assert_eq!(thread.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(start.elapsed() < Duration::from_secs(10));
        assert!(cancel.check().is_err());
    }
}
