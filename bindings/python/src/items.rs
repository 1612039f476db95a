//! Iterables as arguments, which may have no end.

use mullama::{Error, ErrorKind, Token, check_memory};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyIterator, PySet, PyString};

use crate::errors::{class_name, raise};
use crate::hints::{Anything, Typed};

/// More tokens than fit in any context: a longer iterable is a mistake, such as `range(10**9)` or
/// an infinite iterator.
const MAX_TOKENS: usize = 1 << 24;

/// The same for everything else. The values of nested lists and dicts count.
const MAX_VALUES: usize = 1 << 20;

/// How often signals and available memory are checked: the main thread handles Ctrl-C only then.
const CHECK_INTERVAL: usize = 1 << 12;

/// Counts the items of one argument.
pub struct Count<'a> {
    /// The name of the option or the argument, for error messages.
    name: &'a str,
    is_option: bool,
    most: usize,
    /// The memory in bytes that further conversions of an item may take.
    size: usize,
    seen: usize,
}

impl<'a> Count<'a> {
    /// Counts the values of an option or an argument of this name.
    pub fn of_option(name: &'a str) -> Self {
        Self { name, is_option: true, most: MAX_VALUES, size: 256, seen: 0 }
    }

    /// Counts items such as texts; `name` is their name in error messages.
    pub fn of(name: &'a str) -> Self {
        Self { is_option: false, ..Self::of_option(name) }
    }

    pub fn of_tokens() -> Self {
        Self { most: MAX_TOKENS, size: size_of::<Token>(), ..Self::of("token ids") }
    }

    /// Counts without a limit, for values that mullama has created.
    pub fn unlimited(name: &'a str) -> Self {
        Self { most: usize::MAX, ..Self::of_option(name) }
    }

    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Counts one item. Fails if there are too many, if memory is scarce, or if an exception interrupts the main
    /// thread.
    pub fn add(&mut self, py: Python<'_>) -> PyResult<()> {
        self.expect(1)?;
        self.seen += 1;
        if self.seen.is_multiple_of(CHECK_INTERVAL) {
            check_memory(self.seen * self.size).map_err(|_| self.no_memory())?;
            py.check_signals()?;
        }
        Ok(())
    }

    /// Fails if this many further items are too many.
    pub fn expect(&self, further: usize) -> PyResult<()> {
        if further <= self.most - self.seen {
            return Ok(());
        }
        Err(raise(if self.is_option {
            Error::option(self.name, format!("has more than {} values", self.most))
        } else {
            let message = format!("there are more than {} {}", self.most, self.name);
            Error::new(ErrorKind::InvalidArgument, message)
        }))
    }

    fn no_memory(&self) -> PyErr {
        let message = format!("there is no memory for more than {} {}", self.seen, self.name);
        raise(Error::new(ErrorKind::OutOfMemory, message))
    }
}

/// Iterates over a list, or any other ordered iterable. `what` names its items in the error message. Text, bytes and
/// mappings are refused: they are iterable, but not over such items.
pub fn iterate<'py>(value: &Bound<'py, PyAny>, what: &str) -> PyResult<Bound<'py, PyIterator>> {
    iterate_expected(value, &format!("a list of {what}"))
}

/// Like [`iterate`]; `expected` describes the argument in the error message.
pub fn iterate_expected<'py>(
    value: &Bound<'py, PyAny>,
    expected: &str,
) -> PyResult<Bound<'py, PyIterator>> {
    let refused =
        || PyTypeError::new_err(format!("expected {expected}, not {}", class_name(value)));
    let misleading = value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyByteArray>()
        || value.is_instance_of::<PyDict>()
        || value.is_instance_of::<PySet>();
    if misleading {
        return Err(refused());
    }
    value.try_iter().map_err(|_| refused())
}

/// Converts the items of an iterator, up to the limit of the count.
pub fn collect<'py, T>(
    py: Python<'py>,
    items: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
    count: &mut Count<'_>,
    mut convert: impl FnMut(Bound<'py, PyAny>, &mut Count<'_>) -> PyResult<T>,
) -> PyResult<Vec<T>> {
    let mut collected = Vec::new();
    for item in items {
        let item = item?;
        count.add(py)?;
        // The longest lists need tens of megabytes, which may not be available.
        collected.try_reserve(1).map_err(|_| count.no_memory())?;
        collected.push(convert(item, count)?);
    }
    Ok(collected)
}

/// The items of an iterable as a list, for the modules in Python.
#[pyfunction(name = "_items")]
pub fn items_of<'py>(
    py: Python<'py>,
    values: Typed<'py, Anything>,
    name: &str,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let mut count = Count::of_option(name);
    collect(py, values.as_any().try_iter()?, &mut count, |item, _| Ok(item))
}
