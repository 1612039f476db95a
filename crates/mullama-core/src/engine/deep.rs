//! Calls whose recursion depth grows with the length of their input.

use std::thread;

use mullama_base::{check_memory, thread_error};

use crate::{Error, ErrorKind, Result};

/// Bytes of stack reserved for the frames above such a call and for its own bookkeeping.
const STACK_RESERVE: usize = 128 << 10;
/// Bytes that such a call may allocate outside its stack. Templates and grammars have step limits and use less.
const HEAP_RESERVE: usize = 64 << 20;

/// Runs `call`, which needs `bytes` of stack: on this thread if enough stack is left, otherwise on a new thread. Pages
/// of a stack that are never touched take no memory.
pub(crate) fn with_stack<T: Send>(bytes: usize, call: impl FnOnce() -> T + Send) -> Result<T> {
    if stacker::remaining_stack().is_some_and(|left| left >= bytes + STACK_RESERVE) {
        return Ok(call());
    }
    check_memory(bytes.saturating_add(HEAP_RESERVE))?;
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

/// Runs `work` on a new thread with `bytes` of stack. The caller need not wait: it may drop the receiver and abandon
/// the work.
pub(crate) fn run_on_new_thread<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<flume::Receiver<T>> {
    let (sender, receiver) = flume::bounded(1);
    spawn(bytes, move || _ = sender.send(work()))?;
    Ok(receiver)
}

/// Starts a thread with `bytes` of stack.
pub(super) fn spawn(bytes: usize, work: impl FnOnce() + Send + 'static) -> Result<()> {
    check_memory(bytes.saturating_add(HEAP_RESERVE))?;
    builder(bytes).spawn(work).map_err(|error| refused(bytes, error))?;
    Ok(())
}

fn builder(bytes: usize) -> thread::Builder {
    let builder = thread::Builder::new().name("mullama-deep".to_owned());
    builder.stack_size(bytes.saturating_add(STACK_RESERVE))
}

fn refused(bytes: usize, error: std::io::Error) -> Error {
    let what = format!("a thread with a stack of {bytes} bytes");
    thread_error(&what, &error).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_calls_get_a_larger_stack() {
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
