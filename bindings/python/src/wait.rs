//! The two ways to wait for the core: on a thread that has released the GIL, and in a coroutine.
//!
//! A coroutine's work runs on the threads of a separate runtime. They enter Python only to notify
//! the event loop of a result; results and errors become Python objects on the event loop's thread.
//! They no longer enter Python once it starts to shut down: a thread inside Python would then crash
//! the process.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Builder, Thread};
use std::time::{Duration, Instant};

use mullama::{Error, ErrorKind, check_memory, check_threads, thread_error};
use pyo3::exceptions::PyRuntimeError;
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::{IntoPyObjectExt as _, type_hint_identifier, type_hint_subscript};
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::ending::with_python;
use crate::errors::{Result, raise};

/// How often a waiting thread checks for signals, so that Ctrl-C takes effect.
pub const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to completion without the GIL. A signal whose handler raises (Ctrl-C) drops it,
/// which cancels its operation.
pub fn block<F>(py: Python<'_>, future: F) -> PyResult<F::Output>
where
    F: Future<Output: Send> + Send,
{
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        // Checked first, because `list(stream)` runs no Python code between chunks.
        py.check_signals()?;
        let polled = py.detach(|| {
            let until = Instant::now() + SIGNAL_INTERVAL;
            let mut context = Context::from_waker(&waker);
            loop {
                if let ready @ Poll::Ready(_) = future.as_mut().poll(&mut context) {
                    return ready;
                }
                match until.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => thread::park_timeout(left),
                    _ => return Poll::Pending,
                }
            }
        });
        if let Poll::Ready(output) = polled {
            return Ok(output);
        }
    }
}

/// Runs work that cannot be cancelled, such as a wait for a worker that sends nothing, without the GIL. A signal whose
/// handler raises (Ctrl-C) ends the wait for it; the work then continues on its thread.
pub fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> PyResult<T> {
    block(py, on_thread(move || Ok(work())))?.map_err(raise)
}

/// Runs work on a thread of its own, where it continues even if the future is dropped. If no thread can be created, it
/// runs on this one.
pub async fn on_thread<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let work = Arc::new(Mutex::new(Some(work)));
    let run = {
        let work = Arc::clone(&work);
        move || {
            let work = lock(&work).take();
            work.map(|work| sender.send(work()))
        }
    };
    if Builder::new().name("mullama-call".to_owned()).spawn(run).is_err()
        && let Some(work) = { lock(&work).take() }
    {
        return work();
    }
    receiver.await.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?
}

/// A result that becomes a Python object on the thread that has waited for it.
pub trait Outcome: for<'any> IntoPyObject<'any> + Send + 'static {}

impl<T: for<'any> IntoPyObject<'any> + Send + 'static> Outcome for T {}

/// A coroutine that returns a `T`.
pub struct Coroutine<'py, T>(Bound<'py, PyAny>, PhantomData<T>);

impl<'py, T: Outcome> Coroutine<'py, T> {
    /// A coroutine that runs a future on another thread than the event loop's, once it is awaited.
    /// Cancelling it drops the future, which cancels its operation. The name appears in warnings
    /// about coroutines that were never awaited.
    pub fn new(
        py: Python<'py>,
        name: &str,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Self> {
        static RUN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let coroutine = RUN.import(py, "mullama._async", "run")?.call1((Task::new(future),))?;
        coroutine.setattr("__qualname__", name)?;
        Ok(coroutine.into())
    }
}

impl<'py, T> From<Bound<'py, PyAny>> for Coroutine<'py, T> {
    fn from(coroutine: Bound<'py, PyAny>) -> Self {
        Self(coroutine, PhantomData)
    }
}

impl<'py, T: IntoPyObject<'py>> IntoPyObject<'py> for Coroutine<'py, T> {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = std::convert::Infallible;

    const OUTPUT_TYPE: PyStaticExpr = type_hint_subscript!(
        type_hint_identifier!("collections.abc", "Coroutine"),
        type_hint_identifier!("typing", "Any"),
        type_hint_identifier!("typing", "Any"),
        T::OUTPUT_TYPE
    );

    fn into_pyobject(self, _: Python<'py>) -> Result<Self::Output, Self::Error> {
        Ok(self.0)
    }
}

type Finish = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;
type Work = Pin<Box<dyn Future<Output = Finish> + Send>>;

/// Work that a coroutine waits for.
#[pyclass(frozen, name = "_Task", module = "mullama._native")]
pub struct Task {
    work: Mutex<Option<Work>>,
    finish: Arc<Mutex<Option<Finish>>>,
    running: OnceLock<AbortHandle>,
}

impl Task {
    pub fn new<T: Outcome>(future: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        let work = async move {
            let result = future.await;
            Box::new(move |py: Python<'_>| result?.into_py_any(py)) as Finish
        };
        let work = Mutex::new(Some(Box::pin(work) as Work));
        Self { work, finish: Arc::default(), running: OnceLock::new() }
    }
}

#[pymethods]
impl Task {
    /// Starts the work. `wake` is called, on another thread, when it is done.
    #[pyo3(signature = (wake: "Callable[[], object]"))]
    fn start(&self, wake: Py<PyAny>) -> PyResult<()> {
        let runtime = runtime().map_err(raise)?;
        let work = lock(&self.work).take();
        let work = work.ok_or_else(|| PyRuntimeError::new_err("the task has been started"))?;
        let finish = Arc::clone(&self.finish);
        let running = runtime.spawn(async move {
            let finished = work.await;
            *lock(&finish) = Some(finished);
            // This fails if the event loop has been closed, and then nothing waits for the result.
            with_python(|py| wake.call0(py).is_ok());
        });
        let _ = self.running.set(running.abort_handle());
        Ok(())
    }

    /// The result of work that is done.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let finish = lock(&self.finish).take();
        finish.ok_or_else(|| PyRuntimeError::new_err("the task is not done"))?(py)
    }

    /// Ends the work if it is not done.
    fn abort(&self) {
        if let Some(running) = self.running.get() {
            running.abort();
        }
    }
}

/// The threads on which coroutines' work runs.
pub fn runtime() -> Result<&'static Runtime, Error> {
    const THREADS: usize = 2;
    const STACK: usize = 2 << 20;
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    // tokio panics if it cannot create a thread. Others may use up the threads and the memory meanwhile.
    check_threads(THREADS)?;
    check_memory(THREADS * STACK)?;
    let mut builder = runtime::Builder::new_multi_thread();
    builder.worker_threads(THREADS).thread_name("mullama-async").thread_stack_size(STACK);
    let runtime = catch_unwind(AssertUnwindSafe(|| builder.build()))
        .map_err(|_| thread_error("threads for coroutines", "the system has no more"))?
        .map_err(|error| thread_error("threads for coroutines", &error).with_source(error))?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
