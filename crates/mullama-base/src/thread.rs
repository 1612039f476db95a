//! Errors of starting threads.

use std::fmt::Display;
use std::sync::Mutex;
use std::thread;

use crate::{Error, ErrorKind, Result};

/// The error if `what` (for example "a thread") cannot be started.
///
/// The limits of threads and of address space, which stacks need, cause the same system error.
pub fn thread_error(what: &str, reason: impl Display) -> Error {
    Error::new(ErrorKind::OutOfMemory, format!("cannot start {what}: {reason}")).with_hint(
        "raise the limit of processes and threads (ulimit -u, a container's pids limit) or of address \
         space (ulimit -v), or end other programs",
    )
}

/// Fails if the given number of threads cannot be started now. Call it before library functions that panic in that
/// case.
pub fn check_threads(count: usize) -> Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        // All threads exist at the same time, because each waits for this lock.
        let _closed = gate.lock();
        for _ in 0..count {
            thread::Builder::new()
                .spawn_scoped(scope, || drop(gate.lock()))
                .map_err(|error| thread_error("a thread", &error).with_source(error))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_threads_can_be_started() {
        check_threads(0).unwrap();
        check_threads(8).unwrap();
    }
}
