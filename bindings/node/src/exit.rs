//! The end of the process: what runs on other threads ends before the engine's libraries are torn down
//! under it.
#![allow(missing_docs, reason = "`index.d.ts` documents what a program sees")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use napi_derive::napi;

/// A model's context is made in one piece; the process does not wait for it for ever.
const PATIENCE: Duration = Duration::from_secs(10);

static CALLS: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();
static UNDER_WAY: AtomicBool = AtomicBool::new(false);

/// A call of the core that is made off JavaScript's thread.
pub(crate) struct Call(());

impl Call {
    pub fn begin() -> Self {
        *CALLS.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self(())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        *CALLS.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_all();
    }
}

/// Whether the process ends, so that what can be given up is to be given up.
pub(crate) fn is_under_way() -> bool {
    UNDER_WAY.load(Ordering::Relaxed)
}

/// Stops all engines, and waits for the calls that are under way.
#[napi(catch_unwind)]
pub fn shut_down() {
    UNDER_WAY.store(true, Ordering::Relaxed);
    mullama::shut_down();
    let calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    drop(ENDED.wait_timeout_while(calls, PATIENCE, |calls| *calls > 0));
    // One of the calls may have started another.
    mullama::shut_down();
    UNDER_WAY.store(false, Ordering::Relaxed);
}
