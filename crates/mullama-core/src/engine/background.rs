//! Work that its caller waits for and may abandon, on a limited number of threads.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::deep::spawn;
use crate::{CancelToken, Result};

/// Largest number of threads. Abandoned work continues, and more of it waits.
const MAX_THREADS: usize = 4;

type Work = Box<dyn FnOnce() + Send>;

struct Queue {
    waiting: VecDeque<Work>,
    running: usize,
    /// The process that the threads belong to. A forked process does not have them.
    process: u32,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue { waiting: VecDeque::new(), running: 0, process: 0 });

/// Runs `work` on a thread with `stack` bytes of stack, unless it was cancelled before its turn. The caller receives
/// the result, and need not wait for it.
pub(crate) fn run_in_background(
    stack: usize,
    cancel: &CancelToken,
    work: impl FnOnce() + Send + 'static,
) -> Result<()> {
    let cancel = cancel.clone();
    let unless_cancelled = move || {
        if !cancel.is_cancelled() {
            work();
        }
    };
    let mut queue = queue();
    if queue.process != process::id() {
        *queue = Queue { waiting: VecDeque::new(), running: 0, process: process::id() };
    }
    if queue.running < MAX_THREADS {
        match spawn(stack, run_queue) {
            Ok(()) => queue.running += 1,
            // The threads that run will do it.
            Err(_) if queue.running > 0 => {}
            Err(error) => return Err(error),
        }
    }
    queue.waiting.push_back(Box::new(unless_cancelled));
    Ok(())
}

fn run_queue() {
    let mut locked = queue();
    while let Some(work) = locked.waiting.pop_front() {
        drop(locked);
        // A receiver notices that its sender is gone.
        let _ = catch_unwind(AssertUnwindSafe(work));
        locked = queue();
    }
    locked.running -= 1;
}

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const STACK: usize = 64 << 10;

    #[test]
    fn abandoned_background_work_uses_limited_threads() {
        let (begun, beginnings) = flume::unbounded();
        let (release, held) = flume::bounded::<()>(0);
        for _ in 0..3 * MAX_THREADS {
            let (begun, held) = (begun.clone(), held.clone());
            let work = move || {
                begun.send(()).unwrap();
                let _ = held.recv();
            };
            run_in_background(STACK, &CancelToken::new(), work).unwrap();
        }
        for _ in 0..MAX_THREADS {
            beginnings.recv_timeout(LONG).unwrap();
        }
        assert!(beginnings.recv_timeout(Duration::from_millis(50)).is_err());
        // What is cancelled while it waits is not begun, and what panics harms no other.
        let cancelled = CancelToken::new();
        let sender = begun.clone();
        let never = move || sender.send(()).unwrap();
        run_in_background(STACK, &cancelled, never).unwrap();
        cancelled.cancel();
        run_in_background(STACK, &CancelToken::new(), || panic!("a test")).unwrap();
        drop(release);
        for _ in 0..2 * MAX_THREADS {
            beginnings.recv_timeout(LONG).unwrap();
        }
        let (done, end) = flume::bounded(1);
        run_in_background(STACK, &CancelToken::new(), move || done.send(()).unwrap()).unwrap();
        end.recv_timeout(LONG).unwrap();
        assert!(beginnings.try_recv().is_err());
    }
}
