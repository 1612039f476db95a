//! A value owned by a Python object: freed without the GIL, and only by the process that created
//! it.

use std::process;

use mullama::{Error, ErrorKind, Result};
use pyo3::prelude::*;

use crate::ending::is_main;

/// A model or a stream. Dropping it may wait for the engine.
pub struct Owned<T: Send> {
    /// `None` only while it is being dropped.
    value: Option<T>,
    /// Id of the process that created it. A forked process has a copy of the memory, but not the
    /// engine's threads.
    process: u32,
}

impl<T: Send> Owned<T> {
    pub fn new(value: T) -> Self {
        Self { value: Some(value), process: process::id() }
    }

    /// The value, for uses that need the engine. Fails in a forked process.
    pub fn get(&self) -> Result<&T> {
        if self.process == process::id() {
            return Ok(self.peek());
        }
        let message =
            "the model was loaded before this process was forked, and cannot be used in it";
        Err(Error::new(ErrorKind::Closed, message)
            .with_hint("load a model in this process, or start processes by the method `spawn`"))
    }

    /// The value, for uses that do not need the engine.
    pub fn peek(&self) -> &T {
        self.value.as_ref().expect("it is there until it is dropped")
    }
}

impl<T: Send> Drop for Owned<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        if self.process != process::id() {
            // The engine's threads do not exist in this process.
            std::mem::forget(value);
            return;
        }
        // If the interpreter has ended, the closure and with it the value are dropped.
        Python::try_attach(move |py| {
            if is_main(py) {
                py.detach(move || drop(value));
            }
        });
    }
}
