//! Threads, which the system may refuse.

use std::fmt::Display;
use std::sync::Mutex;
use std::thread;

use crate::{Error, ErrorKind, Result};

/// The error where `what` (a thread, so many of them) cannot be started.
///
/// A limit of threads and one of the addresses that their stacks take are refused alike.
pub fn no_thread(what: &str, reason: impl Display) -> Error {
    Error::new(ErrorKind::OutOfMemory, format!("cannot start {what}: {reason}")).with_hint(
        "raise the limit of processes and threads (ulimit -u, a container's pids limit) or of address \
         space (ulimit -v), or end other programs",
    )
}

/// Fails where so many threads cannot be started now: to be asked before calls of others that panic then.
pub fn check_threads(count: usize) -> Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        // All are there at the same time: each waits for the last.
        let _closed = gate.lock();
        for _ in 0..count {
            thread::Builder::new()
                .spawn_scoped(scope, || drop(gate.lock()))
                .map_err(|error| no_thread("a thread", &error).with_source(error))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_there_are_can_be_started() {
        check_threads(0).unwrap();
        check_threads(8).unwrap();
    }
}
