//! Logits processors in JavaScript.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use mullama::{GenerateOptions, LogitsProcessor, Token};
use napi::bindgen_prelude::{Either, Float32Array, FnArgs, Function, Int32Array};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};

use crate::calls::is_exiting;

/// How often to check whether the JavaScript thread is exiting or waits for the model to be freed.
const INTERVAL: Duration = Duration::from_millis(20);

type Arguments = FnArgs<(Int32Array, Float32Array)>;
/// The changed logits, or an error message.
type Returned = Either<Float32Array, String>;

/// A function of `lib/processors.ts`, which calls the caller's functions.
pub(crate) type Process<'scope> = Function<'scope, Arguments, Returned>;

/// Calls a function on the JavaScript thread, without preventing the event loop from ending.
struct Processor {
    function: ThreadsafeFunction<Arguments, Returned, Arguments, napi::Status, false, true>,
    is_closing: Arc<AtomicBool>,
}

impl LogitsProcessor for Processor {
    fn process(
        &self,
        tokens: &[Token],
        logits: &mut [f32],
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (answer, answered) = mpsc::sync_channel(1);
        let arguments = (Int32Array::new(tokens.to_vec()), Float32Array::new(logits.to_vec()));
        let mode = ThreadsafeFunctionCallMode::NonBlocking;
        self.function.call_with_return_value(arguments.into(), mode, move |returned, _env| {
            let _ = answer.send(match returned {
                Ok(Either::A(logits)) => Ok(logits.to_vec()),
                Ok(Either::B(problem)) => Err(problem),
                Err(error) => Err(error.reason.clone()),
            });
            Ok(())
        });
        let changed = loop {
            match answered.recv_timeout(INTERVAL) {
                Err(RecvTimeoutError::Timeout)
                    if !is_exiting() && !self.is_closing.load(Ordering::Relaxed) => {}
                changed => break changed.map_err(|_| "its thread has ended or waits")?,
            }
        }?;
        if changed.len() != logits.len() {
            return Err("the logits are not as many as before".into());
        }
        logits.copy_from_slice(&changed);
        Ok(())
    }
}

/// Adds a function to the logits processors of a generation.
pub(crate) fn add_processor(
    options: &mut GenerateOptions,
    process: Option<Process<'_>>,
    is_closing: &Arc<AtomicBool>,
) -> napi::Result<()> {
    if let Some(process) = process {
        let function =
            process.build_threadsafe_function().callee_handled::<false>().weak::<true>().build()?;
        let processor = Processor { function, is_closing: Arc::clone(is_closing) };
        options.logits_processors = Some(Arc::new(processor).into());
    }
    Ok(())
}
