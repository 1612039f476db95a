//! The end of the process: no engine may compute while its libraries are torn down, or the process
//! ends with a crash.

use std::convert::Infallible;
use std::ffi::c_int;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use flume::{Receiver, Sender};

use crate::device::rpc;

/// A computation on a device cannot be given up; the process does not wait for it for ever.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What waits for a worker of another machine is not waited for.
const BEFORE_WORKERS_ARE_GIVEN_UP: Duration = Duration::from_millis(500);

static ENGINES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
static UNDER_WAY: AtomicBool = AtomicBool::new(false);

struct Entry {
    /// Tells the thread to stop.
    stop: Box<dyn Fn() + Send>,
    /// Disconnected when the thread has ended.
    ended: Receiver<Infallible>,
    /// A process that was forked off has this list, but not the threads.
    process: u32,
}

/// Adds a thread with a context that is about to start: `stop` tells it to end. It holds on to what this
/// gives first until it has: what it gives second is disconnected then.
pub(super) fn register(
    stop: impl Fn() + Send + 'static,
) -> (Sender<Infallible>, Receiver<Infallible>) {
    unsafe extern "C" {
        fn atexit(callback: extern "C" fn()) -> c_int;
    }
    static HOOK: Once = Once::new();
    // SAFETY: C's function; the callback is one for good.
    HOOK.call_once(|| unsafe {
        atexit(at_exit);
    });
    let (running, ended) = flume::bounded(0);
    let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    engines.retain(|entry| !entry.ended.is_disconnected());
    let entry = Entry { stop: Box::new(stop), ended: ended.clone(), process: process::id() };
    engines.push(entry);
    (running, ended)
}

/// Does something on another thread, and waits for it, if it does not take too long. The end of the process waits
/// for it too.
pub(super) fn apart(patience: Duration, work: impl FnOnce() + Send + 'static) {
    let (running, ended) = register(|| {});
    let work = move || {
        // Dropped last.
        let _running = running;
        work();
    };
    // Where there is no thread to be had, dropping the work has to do.
    if thread::Builder::new().name("mullama-engine".to_owned()).spawn(work).is_ok() {
        let _ = ended.recv_timeout(patience);
    }
}

/// Whether computations are to be given up because the process ends.
pub(super) fn is_under_way() -> bool {
    UNDER_WAY.load(Ordering::Relaxed)
}

/// Stops the engines of all models, which are as good as closed from then on, and waits for their
/// threads. For the end of a process: languages call it from their own hook; a Rust program that
/// returns from `main` or calls [`std::process::exit`] need not.
pub fn shut_down() {
    UNDER_WAY.store(true, Ordering::Relaxed);
    let mut engines = std::mem::take(&mut *ENGINES.lock().unwrap_or_else(PoisonError::into_inner));
    engines.retain(|entry| entry.process == process::id());
    for entry in &engines {
        (entry.stop)();
    }
    let wait = |time: Duration| {
        let until = Instant::now() + time;
        for entry in &engines {
            let _ = entry.ended.recv_deadline(until);
        }
    };
    wait(BEFORE_WORKERS_ARE_GIVEN_UP);
    rpc::abandon();
    wait(TIMEOUT);
    // A hook that runs later than this one may load a model.
    UNDER_WAY.store(false, Ordering::Relaxed);
}

extern "C" fn at_exit() {
    // Nothing may unwind into C.
    let _ = std::panic::catch_unwind(shut_down);
}
