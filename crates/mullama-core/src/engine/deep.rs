//! Calls that recurse as deep as their input is long.

use std::thread;

use mullama_base::{check_memory, no_thread};

use crate::{Error, ErrorKind, Result};

/// What a thread keeps for the frames above such a call and for those of its own.
const RESERVE: usize = 128 << 10;
/// What such a call may allocate beside its stack: templates and grammars have limits of steps, and take less.
const ALLOCATED: usize = 64 << 20;

/// Calls `call`, which needs so many bytes of stack: on this thread where it has them, else on one that is
/// made for it. Memory of a stack that is not used is not taken.
pub(crate) fn with_stack<T: Send>(bytes: usize, call: impl FnOnce() -> T + Send) -> Result<T> {
    if stacker::remaining_stack().is_some_and(|left| left >= bytes + RESERVE) {
        return Ok(call());
    }
    check_memory(bytes.saturating_add(ALLOCATED))?;
    thread::scope(|scope| {
        let thread = builder(bytes).spawn_scoped(scope, call);
        let thread = thread.map_err(|error| refused(bytes, error))?;
        thread.join().map_err(|_| {
            Error::new(
                ErrorKind::Internal,
                "a call of the engine failed because of a defect in mullama",
            )
        })
    })
}

/// Does `work` on a thread with so many bytes of stack. Whoever has no more use for what comes can go on at once.
pub(crate) fn apart<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<flume::Receiver<T>> {
    check_memory(bytes.saturating_add(ALLOCATED))?;
    let (sender, receiver) = flume::bounded(1);
    let send = move || _ = sender.send(work());
    builder(bytes).spawn(send).map_err(|error| refused(bytes, error))?;
    Ok(receiver)
}

fn builder(bytes: usize) -> thread::Builder {
    let builder = thread::Builder::new().name("mullama-deep".to_owned());
    builder.stack_size(bytes.saturating_add(RESERVE))
}

fn refused(bytes: usize, error: std::io::Error) -> Error {
    let what = format!("a thread with a stack of {bytes} bytes");
    no_thread(&what, &error).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_stack_that_it_needs() {
        #[allow(clippy::large_stack_arrays, reason = "what is tested")]
        fn deep(left: usize) -> usize {
            let frame = std::hint::black_box([left as u8; 1024]);
            if left == 0 {
                0
            } else {
                deep(left - 1) + usize::from(frame[left % 1024] == left as u8)
            }
        }
        for depth in [10, 100_000] {
            assert_eq!(with_stack(depth * 2048, || deep(depth)).unwrap(), depth);
        }
        let error = with_stack(usize::MAX / 2, || ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    }
}
