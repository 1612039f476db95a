//! A value owned by a Python object: freed without the GIL, and only by the process that created
//! it.

use std::process;

use mullama::{Error, ErrorKind, Result};
use pyo3::prelude::*;

use crate::ending::is_main;

/// A model or a stream. Dropping it may wait for the engine.
pub struct Owned<T: Send> {
    /// Empty only while it is dropped.
    value: Option<T>,
    /// A forked process has a copy of the memory, but not the engine's threads.
    process: u32,
}

impl<T: Send> Owned<T> {
    pub fn new(value: T) -> Self {
        Self { value: Some(value), process: process::id() }
    }

    /// The value, for what needs the engine.
    pub fn get(&self) -> Result<&T> {
        if self.process == process::id() {
            return Ok(self.peek());
        }
        let message =
            "the model was loaded before this process was forked, and cannot be used in it";
        Err(Error::new(ErrorKind::Closed, message)
            .with_hint("load a model in this process, or start processes by the method `spawn`"))
    }

    /// The value, for what can be asked anywhere.
    pub fn peek(&self) -> &T {
        self.value.as_ref().expect("it is there until it is dropped")
    }
}

impl<T: Send> Drop for Owned<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        if self.process != process::id() {
            // There is nobody here to wait for.
            std::mem::forget(value);
            return;
        }
        // Where there is no interpreter any more, the closure is dropped, and the value with it.
        Python::try_attach(move |py| {
            if is_main(py) {
                py.detach(move || drop(value));
            }
        });
    }
}
