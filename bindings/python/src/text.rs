//! Text, tokens and paths as arguments.

use std::path::PathBuf;

use mullama::{Error, ErrorKind, Prompt, Token};
use pyo3::exceptions::{PyTypeError, PyUnicodeEncodeError};
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyMemoryView, PyString};

use crate::errors::{class_name, raise};
use crate::hints::hint;
use crate::items::{Count, collect, iterate, iterate_expected};

/// A `str`.
pub struct Text(pub String);

impl FromPyObject<'_, '_> for Text {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = hint("str");

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let text = value.cast::<PyString>()?;
        text.to_str().map_err(|error| not_unicode(value, error)).and_then(copied).map(Self)
    }
}

/// A copy of a text, for which there may be no memory.
fn copied(text: &str) -> PyResult<String> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).map_err(|_| {
        let message = format!("there is no memory for a text of {} bytes", text.len());
        raise(Error::new(ErrorKind::OutOfMemory, message))
    })?;
    copy.push_str(text);
    Ok(copy)
}

/// Python's strings can contain lone surrogates, which are not valid Unicode text.
fn not_unicode(value: Borrowed<'_, '_, PyAny>, error: PyErr) -> PyErr {
    let py = value.py();
    if !error.is_instance_of::<PyUnicodeEncodeError>(py) {
        return error;
    }
    let at = error.value(py).getattr("start").map_or_else(|_| "?".to_owned(), |at| at.to_string());
    let message = format!("the text is not valid Unicode: it has a lone surrogate at index {at}");
    raise(Error::new(ErrorKind::InvalidArgument, message))
}

/// A list of token ids, or any other iterable of integers.
pub struct Tokens(pub Vec<Token>);

impl Tokens {
    pub fn collect<'py>(
        py: Python<'py>,
        items: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
    ) -> PyResult<Self> {
        let mut count = Count::of_tokens();
        collect(py, items, &mut count, |token, _| token_id(&token)).map(Self)
    }
}

impl FromPyObject<'_, '_> for Tokens {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = hint("Iterable[int]");

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        Self::collect(value.py(), iterate(&value, "token ids")?)
    }
}

fn token_id(value: &Bound<'_, PyAny>) -> PyResult<Token> {
    let not_an_integer = || {
        let message = format!("token ids are integers, not {}", class_name(value));
        PyTypeError::new_err(message)
    };
    if value.is_instance_of::<PyBool>() {
        return Err(not_an_integer());
    }
    let wide = value.extract::<i64>().or_else(|error| {
        // An integer that does not fit in 64 bits is still an integer.
        if error.is_instance_of::<PyTypeError>(value.py()) {
            Err(not_an_integer())
        } else {
            Ok(i64::MAX)
        }
    })?;
    Token::try_from(wide).map_err(|_| {
        let message = format!("token {value} is not in the vocabulary");
        raise(Error::new(ErrorKind::InvalidArgument, message).with_context("token", value))
    })
}

/// A prompt: a `str`, or token ids.
pub struct PromptArgument(pub Prompt);

impl FromPyObject<'_, '_> for PromptArgument {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = hint("str | Iterable[int]");

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyString>() {
            return value.extract::<Text>().map(|text| Self(text.0.into()));
        }
        let items = iterate_expected(&value, "a string or a list of token ids as the prompt")?;
        Ok(Self(Tokens::collect(value.py(), items)?.0.into()))
    }
}

/// The source of a model: anything that Python accepts as a path.
pub struct Source(pub PathBuf);

impl FromPyObject<'_, '_> for Source {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = hint("str | bytes | PathLike[str] | PathLike[bytes]");

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let path = value.py().import("os")?.call_method1("fsdecode", (value,))?;
        path.extract::<PathBuf>().map(Self).map_err(|error| not_unicode(value, error))
    }
}

/// A saved state: bytes, or the path of a file.
pub enum StateArgument {
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl StateArgument {
    pub fn load(self, model: &mullama::Model) -> mullama::Result<usize> {
        match self {
            Self::Bytes(state) => model.load_state(&state),
            Self::File(path) => model.load_state_file(path),
        }
    }
}

impl FromPyObject<'_, '_> for StateArgument {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr =
        hint("typing_extensions.Buffer | str | PathLike[str] | PathLike[bytes]");

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyString>() || value.hasattr("__fspath__")? {
            return value.extract::<Source>().map(|path| Self::File(path.0));
        }
        let py = value.py();
        // Anything with the buffer protocol: `bytes`, `bytearray`, a `memoryview`, an `mmap`.
        let bytes = py.get_type::<PyMemoryView>().call1((value,)).map_err(|_| {
            let shown = class_name(&value);
            PyTypeError::new_err(format!("a state is bytes or a path, not {shown}"))
        })?;
        let bytes = bytes.call_method0("tobytes")?;
        Ok(Self::Bytes(bytes.cast::<PyBytes>()?.as_bytes().to_owned()))
    }
}
