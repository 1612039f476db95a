//! The end of the process: what our own threads, and Python's daemon threads, do from then on.

use std::sync::{OnceLock, PoisonError, RwLock};
use std::thread::{self, ThreadId};

use pyo3::ffi;
use pyo3::prelude::*;

/// Whether our own threads may still enter Python. Threads inside Python own a read guard of this
/// lock.
static OPEN: RwLock<bool> = RwLock::new(true);

/// The thread that shuts Python down.
static ENDING: OnceLock<ThreadId> = OnceLock::new();

/// Enters Python from a thread of our own, unless Python is shutting down.
pub fn with_python<T>(work: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    let open = OPEN.read().unwrap_or_else(PoisonError::into_inner);
    open.then(|| Python::attach(work))
}

/// Whether this is the main interpreter. Others may end when Python has begun to: then who lets go of the
/// GIL there waits for it for ever.
pub fn is_main(_: Python<'_>) -> bool {
    // SAFETY: there is an interpreter, as the token says.
    unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) == 0 }
}

/// Called when Python is about to shut down: stops the engines, and prevents our own threads from
/// entering Python.
#[pyfunction(name = "_shut_down")]
pub fn shut_down(py: Python<'_>) {
    // The end of another interpreter is not that of Python.
    if !is_main(py) {
        return;
    }
    py.detach(|| {
        *OPEN.write().unwrap_or_else(PoisonError::into_inner) = false;
        let _ = ENDING.set(thread::current().id());
        mullama::shut_down();
    });
}

/// Blocks a thread once Python shuts down. Apart from the thread that shuts down, only daemon
/// threads remain; Python blocks them when they try to continue, so their errors are of no use.
pub fn keep_if_ending(py: Python<'_>) {
    if ENDING.get().is_some_and(|ending| *ending != thread::current().id()) {
        py.detach(|| {
            loop {
                thread::park();
            }
        });
    }
}
