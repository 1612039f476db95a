//! Ends late requests. If the engine's thread does not end a request soon after its cancellation or deadline, the
//! request is ended here. A computation on a device, local or remote, cannot be aborted and may take long.

use std::collections::BTreeMap;
use std::process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use mullama_base::{CancelCallback, CancelToken};

/// Time that the engine's thread has to end the request itself. Its answer is complete: it includes counts and the
/// state of the cache.
const GRACE_PERIOD: Duration = Duration::from_millis(400);

type Callback = Box<dyn FnOnce() + Send>;

/// Watches one request. Dropping it stops watching.
pub(crate) struct DeadlineWatch {
    _watched: Arc<WatchedRequest>,
    _on_cancel: CancelCallback,
}

struct WatchedRequest {
    end: Mutex<Option<Callback>>,
    alarms: Mutex<Vec<Alarm>>,
}

impl DeadlineWatch {
    /// Calls `end` once, on another thread, `GRACE_PERIOD` after `cancel` was cancelled or its deadline has passed.
    pub fn new(cancel: &CancelToken, end: impl FnOnce() + Send + 'static) -> Self {
        let watched = Arc::new(WatchedRequest {
            end: Mutex::new(Some(Box::new(end))),
            alarms: Mutex::default(),
        });
        if let Some(time) =
            cancel.deadline().and_then(|deadline| deadline.checked_add(GRACE_PERIOD))
        {
            watched.end_at(time);
        }
        let weak = Arc::downgrade(&watched);
        let on_cancel = cancel.on_cancel(move || {
            if let Some(watched) = weak.upgrade() {
                watched.end_at(Instant::now() + GRACE_PERIOD);
            }
        });
        Self { _watched: watched, _on_cancel: on_cancel }
    }
}

impl WatchedRequest {
    fn end_at(self: &Arc<Self>, time: Instant) {
        let weak = Arc::downgrade(self);
        let alarm = Alarm::at(time, move || {
            let end = Weak::upgrade(&weak).and_then(|watched| lock(&watched.end).take());
            if let Some(end) = end {
                end();
            }
        });
        lock(&self.alarms).push(alarm);
    }
}

/// A call at a time. Dropping it cancels the call.
pub(crate) struct Alarm(Key);

impl Alarm {
    /// Calls `call` at `time`, on another thread.
    pub fn at(time: Instant, call: impl FnOnce() + Send + 'static) -> Self {
        let mut alarms = lock(&ALARMS);
        let known = alarms.get_or_insert_default();
        let key = (time, known.next);
        known.next += 1;
        known.calls.insert(key, Box::new(call));
        if known.process_id != Some(process::id()) {
            let thread = thread::Builder::new().name("mullama-late".to_owned()).spawn(run_alarms);
            // If no thread can be started, only the engine's thread ends requests.
            known.process_id = thread.is_ok().then(process::id);
        }
        drop(alarms);
        ALARMS_CHANGED.notify_all();
        Self(key)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let call = lock(&ALARMS).as_mut().and_then(|alarms| alarms.calls.remove(&self.0));
        // Values owned by the call may set alarms when they are dropped.
        drop(call);
    }
}

/// Identifies an alarm.
type Key = (Instant, u64);

#[derive(Default)]
struct Alarms {
    calls: BTreeMap<Key, Callback>,
    next: u64,
    /// The process whose thread handles the alarms. A forked process does not have that thread.
    process_id: Option<u32>,
}

static ALARMS: Mutex<Option<Alarms>> = Mutex::new(None);
static ALARMS_CHANGED: Condvar = Condvar::new();

/// Runs due calls until no alarm is left.
fn run_alarms() {
    let mut alarms = lock(&ALARMS);
    loop {
        let known = alarms.get_or_insert_default();
        let now = Instant::now();
        match known.calls.first_entry() {
            None => {
                known.process_id = None;
                return;
            }
            Some(entry) if entry.key().0 <= now => {
                let call = entry.remove();
                drop(alarms);
                call();
                alarms = lock(&ALARMS);
            }
            Some(entry) => {
                let left = entry.key().0 - now;
                let waited = ALARMS_CHANGED.wait_timeout(alarms, left);
                alarms = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn deadline_watch_fires_once_after_the_grace_period() {
        let (sender, receiver) = flume::unbounded();
        let end = |name: &'static str| {
            let sender = sender.clone();
            move || sender.send(name).unwrap()
        };
        let soon = Instant::now().checked_add(Duration::from_millis(5));
        let late = CancelToken::with_deadline(soon);
        let cancelled = CancelToken::new();
        let in_time = CancelToken::with_deadline(Instant::now().checked_add(LONG));
        let _late = DeadlineWatch::new(&late, end("late"));
        let _cancelled = DeadlineWatch::new(&cancelled, end("cancelled"));
        let _in_time = DeadlineWatch::new(&in_time, end("in time"));
        drop(DeadlineWatch::new(&late, end("dropped")));
        cancelled.cancel();
        late.cancel();
        let mut ended =
            [receiver.recv_timeout(LONG).unwrap(), receiver.recv_timeout(LONG).unwrap()];
        ended.sort_unstable();
        assert_eq!(ended, ["cancelled", "late"]);
        assert!(receiver.recv_timeout(GRACE_PERIOD * 2).is_err());
    }
}
