//! The end of the process: the behaviour of the library's threads and of Python's daemon threads.

use std::sync::{OnceLock, PoisonError, RwLock};
use std::thread::{self, ThreadId};

use pyo3::ffi;
use pyo3::prelude::*;

/// Whether the library's threads may still enter Python. Those inside Python own a read guard of
/// this lock.
static MAY_ENTER_PYTHON: RwLock<bool> = RwLock::new(true);

/// The thread that shuts Python down.
static SHUTDOWN_THREAD: OnceLock<ThreadId> = OnceLock::new();

/// Enters Python from a thread of the library, unless Python is shutting down.
pub fn with_python<T>(work: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    let open = MAY_ENTER_PYTHON.read().unwrap_or_else(PoisonError::into_inner);
    open.then(|| Python::attach(work))
}

/// Whether this is the main interpreter. Other interpreters may end after Python has started to shut down: a
/// thread that releases their GIL then never acquires it again.
pub fn is_main(_: Python<'_>) -> bool {
    // SAFETY: the token proves that there is an interpreter.
    unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) == 0 }
}

/// Called when Python is about to shut down: stops the engines, and prevents our own threads from
/// entering Python.
#[pyfunction(name = "_shut_down")]
pub fn shut_down(py: Python<'_>) {
    // Python continues when another interpreter ends.
    if !is_main(py) {
        return;
    }
    py.detach(|| {
        *MAY_ENTER_PYTHON.write().unwrap_or_else(PoisonError::into_inner) = false;
        let _ = SHUTDOWN_THREAD.set(thread::current().id());
        mullama::shut_down();
    });
}

/// Blocks a thread once Python shuts down. Apart from the thread that shuts down, only daemon
/// threads remain; Python blocks them when they try to continue, so their errors are of no use.
pub fn block_if_shutting_down(py: Python<'_>) {
    if SHUTDOWN_THREAD.get().is_some_and(|ending| *ending != thread::current().id()) {
        py.detach(|| {
            loop {
                thread::park();
            }
        });
    }
}
