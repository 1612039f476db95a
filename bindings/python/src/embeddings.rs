//! Vectors of texts, and documents by their scores.

use std::sync::{Mutex, PoisonError};

use mullama::{Inputs, Prompt};
use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyByteArray, PyBytes, PyDict, PyIterator, PyList, PyMemoryView, PySet, PySlice, PyString,
    PyType,
};

use crate::buffer::{self, Matrix};
use crate::json;
use crate::results::repr;
use crate::text::{PromptArgument, Text, class_name};

/// Texts to embed: a `str`, a list of them, or tokens in their place.
pub struct InputsArgument(pub Inputs);

impl FromPyObject<'_, '_> for InputsArgument {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyString>() {
            return Ok(Self(value.extract::<Text>()?.0.into()));
        }
        let items = items(&value, "texts")?;
        // A list of integers is one text.
        let is_token = |item: &Bound<'_, PyAny>| {
            !item.is_instance_of::<PyString>() && item.try_iter().is_err()
        };
        if items.first().is_some_and(is_token) {
            return Ok(Self(value.extract::<PromptArgument>()?.0.into()));
        }
        let inputs = items.iter().map(|item| Ok(item.extract::<PromptArgument>()?.0));
        Ok(Self(inputs.collect::<PyResult<Vec<Prompt>>>()?.into()))
    }
}

/// A list of texts.
pub struct TextsArgument(pub Vec<String>);

impl FromPyObject<'_, '_> for TextsArgument {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err("a list of texts is needed, not one text"));
        }
        let texts = items(&value, "texts")?;
        texts.iter().map(|item| Ok(item.extract::<Text>()?.0)).collect::<PyResult<_>>().map(Self)
    }
}

/// What is in a list, or any other iterable that has an order.
fn items<'py>(value: &Bound<'py, PyAny>, what: &str) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let refused =
        || PyTypeError::new_err(format!("a list of {what} is needed, not {}", class_name(value)));
    let misleading = value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyByteArray>()
        || value.is_instance_of::<PyDict>()
        || value.is_instance_of::<PySet>();
    if misleading {
        return Err(refused());
    }
    value.try_iter().map_err(|_| refused())?.collect()
}

/// Vectors that are to become an `Embeddings`.
#[pyclass(frozen, name = "_Computed", module = "mullama._native")]
pub struct Computed(Mutex<Option<mullama::Embeddings>>);

/// The vectors of some texts, without the buffer.
#[pyclass(frozen, subclass, name = "_Embeddings", module = "mullama._native")]
pub struct Embeddings {
    inner: mullama::Embeddings,
    shape: [isize; 2],
    strides: [isize; 2],
}

impl Matrix for Embeddings {
    fn numbers(&self) -> &[f32] {
        self.inner.as_slice()
    }

    fn shape(&self) -> &[isize; 2] {
        &self.shape
    }

    fn strides(&self) -> &[isize; 2] {
        &self.strides
    }
}

/// [`mullama::Embeddings`] that are still to become a Python object.
pub struct Vectors(pub mullama::Embeddings);

impl<'py> IntoPyObject<'py> for Vectors {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        let computed = Computed(Mutex::new(Some(self.0)));
        embeddings_class(py)?.call1((Bound::new(py, computed)?,))
    }
}

/// `mullama.Embeddings`.
pub fn embeddings_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let made = || {
        let doc = c"The vectors of some texts, in the order of the texts: a sequence that has one for \
            each, as a `memoryview` of 32-bit floats.\n\nThe whole is a buffer of shape `(rows, \
            dimensions)`, which `numpy.asarray(embeddings)` looks at without a copy; it is read-only, and \
            lives for as long as any view of it. There is a row for each text. With `pooling=\"none\"` \
            there is one for each token: the texts' follow one another, and `embeddings[i]` has the \
            shape `(tokens, dimensions)`.";
        buffer::class::<Embeddings>(py, c"mullama.Embeddings", doc).map(Bound::unbind)
    };
    Ok(CLASS.get_or_try_init(py, made)?.bind(py))
}

#[pymethods]
impl Embeddings {
    #[new]
    fn new(computed: &Bound<'_, Computed>) -> PyResult<Self> {
        let inner = computed.get().0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let inner =
            inner.ok_or_else(|| PyTypeError::new_err("embeddings are made by `Model.embed`"))?;
        let width = inner.dimensions() as isize;
        let shape = [inner.rows() as isize, width];
        let number = size_of::<f32>() as isize;
        Ok(Self { inner, shape, strides: [width * number, number] })
    }

    /// Rows and numbers in a row.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.inner.rows(), self.inner.dimensions())
    }

    /// How the vectors of a text's tokens became one: `mean`, `cls`, `last`, `none` or `rank`.
    #[getter]
    fn pooling(&self) -> &'static str {
        self.inner.pooling().name()
    }

    /// Whether each vector has been scaled to length 1.
    #[getter]
    fn normalized(&self) -> bool {
        self.inner.is_normalized()
    }

    /// Tokens of each text that were computed.
    #[getter]
    fn token_counts(&self) -> Vec<u32> {
        self.inner.token_counts().to_vec()
    }

    /// Tokens that the texts took.
    #[getter]
    fn usage(&self) -> EmbeddingUsage {
        EmbeddingUsage(self.inner.usage)
    }

    /// The vectors as lists of floats; with `pooling="none"` a list of such for each text.
    fn tolist<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(slf.py());
        for text in 0..slf.get().inner.len() {
            list.append(Self::text(slf, text)?.call_method0("tolist")?)?;
        }
        Ok(list)
    }

    fn __len__(&self) -> usize {
        self.inner.len()
    }

    fn __getitem__<'py>(
        slf: &Bound<'py, Self>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let count = slf.get().inner.len();
        if let Ok(slice) = index.cast::<PySlice>() {
            let range = slf.py().import("builtins")?.getattr("range")?.call1((count,))?;
            let list = PyList::empty(slf.py());
            for text in range.get_item(slice)?.try_iter()? {
                list.append(Self::text(slf, text?.extract()?)?)?;
            }
            return Ok(list.into_any());
        }
        let index: isize = index.extract()?;
        let index = if index < 0 { index + count as isize } else { index };
        match usize::try_from(index) {
            Ok(text) if text < count => Self::text(slf, text),
            _ => Err(PyIndexError::new_err(format!("there are {count} texts"))),
        }
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyIterator>> {
        Self::__getitem__(slf, PySlice::full(slf.py()).as_any())?.try_iter()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["shape", "pooling", "normalized", "usage"])
    }
}

impl Embeddings {
    /// A view of what a text has.
    fn text<'py>(slf: &Bound<'py, Self>, text: usize) -> PyResult<Bound<'py, PyAny>> {
        let inner = &slf.get().inner;
        let (rows, width) = (inner.rows_of(text), inner.dimensions());
        let ends = (rows.start * width) as isize..(rows.end * width) as isize;
        let bytes = PyMemoryView::from(slf.as_any())?.call_method1("cast", ("B",))?;
        let numbers = bytes.call_method1("cast", ("f",))?;
        let own = numbers.get_item(PySlice::new(slf.py(), ends.start, ends.end, 1))?;
        if inner.pooling() != mullama::Pooling::None {
            return Ok(own);
        }
        let bytes = own.call_method1("cast", ("B",))?;
        bytes.call_method1("cast", ("f", [rows.len(), width]))
    }
}

/// Tokens that an embedding or a reranking took.
#[pyclass(frozen, eq, module = "mullama")]
#[derive(PartialEq)]
pub struct EmbeddingUsage(mullama::EmbeddingUsage);

#[pymethods]
impl EmbeddingUsage {
    /// Tokens that were computed, of all inputs.
    #[getter]
    fn prompt_tokens(&self) -> u64 {
        self.0.prompt_tokens
    }

    /// Tokens that were cut off because an input was too long.
    #[getter]
    fn truncated_tokens(&self) -> u64 {
        self.0.truncated_tokens
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["prompt_tokens", "truncated_tokens"])
    }
}

/// A document with its score.
#[pyclass(frozen, eq, module = "mullama")]
#[derive(PartialEq)]
pub struct RankedDocument(mullama::RankedDocument);

#[pymethods]
impl RankedDocument {
    /// Which of the documents it is, counted from 0.
    #[getter]
    fn index(&self) -> usize {
        self.0.index
    }

    /// How well it answers the query, as the model gives it: higher is better; what range scores
    /// have depends on the model.
    #[getter]
    fn score(&self) -> f32 {
        self.0.score
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["index", "score"])
    }
}

/// Documents by how well they answer a query, the best first: a sequence of them.
#[pyclass(frozen, eq, sequence, module = "mullama")]
#[derive(PartialEq)]
pub struct Reranking(pub mullama::Reranking);

#[pymethods]
impl Reranking {
    /// The documents; those with equal scores in the order in which they were given.
    #[getter]
    fn results(&self) -> Vec<RankedDocument> {
        self.0.results.iter().copied().map(RankedDocument).collect()
    }

    /// Tokens that the query and the documents took; the query counts with each document.
    #[getter]
    fn usage(&self) -> EmbeddingUsage {
        EmbeddingUsage(self.0.usage)
    }

    /// Everything as plain Python, to be written as JSON.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json::to_python(py, &self.0)
    }

    fn __len__(&self) -> usize {
        self.0.results.len()
    }

    fn __getitem__<'py>(
        slf: &Bound<'py, Self>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        PyList::new(slf.py(), slf.get().results())?.as_any().get_item(index)
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyIterator>> {
        PyList::new(slf.py(), slf.get().results())?.try_iter()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["results", "usage"])
    }
}
