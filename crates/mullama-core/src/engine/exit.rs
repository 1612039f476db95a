//! The end of the process. If an engine still computes while its libraries are unloaded, the process crashes.

use std::convert::Infallible;
use std::ffi::c_int;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use flume::{Receiver, Sender};

use crate::device::rpc;

/// The longest time to wait for threads at exit: a computation on a device cannot be aborted.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time to wait before connections to workers are abandoned.
const WORKER_GRACE_PERIOD: Duration = Duration::from_millis(500);

static ENGINES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
static SHUTTING_DOWN: AtomicBool = AtomicBool::new(false);

struct Entry {
    /// Asks the thread to stop.
    stop: Box<dyn Fn() + Send>,
    /// Disconnected when the thread has ended.
    ended: Receiver<Infallible>,
    /// The id of the process that owns the thread. A forked process inherits this list, but not the threads.
    process: u32,
}

/// Registers a thread that is about to start and owns a context. `stop` asks it to end. The thread owns the returned
/// sender until it ends; the receiver is disconnected then.
pub(super) fn register(
    stop: impl Fn() + Send + 'static,
) -> (Sender<Infallible>, Receiver<Infallible>) {
    unsafe extern "C" {
        fn atexit(callback: extern "C" fn()) -> c_int;
    }
    static HOOK: Once = Once::new();
    // SAFETY: C's function; the callback is a static function.
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

/// Runs `work` on another thread and waits for it, for at most `timeout`. The end of the process waits for it too.
pub(super) fn run_with_timeout(timeout: Duration, work: impl FnOnce() + Send + 'static) {
    let (running, ended) = register(|| {});
    let work = move || {
        // Dropped last.
        let _running = running;
        work();
    };
    // If no thread can be started, dropping `work` must suffice.
    if thread::Builder::new().name("mullama-engine".to_owned()).spawn(work).is_ok() {
        let _ = ended.recv_timeout(timeout);
    }
}

/// Whether computations must be aborted because the process ends.
pub(super) fn is_shutting_down() -> bool {
    SHUTTING_DOWN.load(Ordering::Relaxed)
}

/// Stops the engines of all models, which then behave as if closed, and waits for their threads. For use at the end of
/// a process: bindings call it from their language's exit hook. A Rust program that returns from `main` or calls
/// [`std::process::exit`] need not call it.
pub fn shut_down() {
    SHUTTING_DOWN.store(true, Ordering::Relaxed);
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
    wait(WORKER_GRACE_PERIOD);
    rpc::abandon();
    wait(TIMEOUT);
    // An exit hook that runs after this one may load a model.
    SHUTTING_DOWN.store(false, Ordering::Relaxed);
}

extern "C" fn at_exit() {
    // Nothing may unwind into C.
    let _ = std::panic::catch_unwind(shut_down);
}
