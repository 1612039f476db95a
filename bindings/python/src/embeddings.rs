//! Embeddings of texts, and documents ranked by score.

use std::ffi::c_int;

use mullama::{Inputs, Prompt};
use pyo3::exceptions::{PyBufferError, PyIndexError, PyTypeError, PyValueError};
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice, PyString, PyTuple};
use pyo3::{IntoPyObjectExt as _, ffi, type_hint_union};

use crate::class::{self, Wrap, class, repr};
use crate::hints::{Dict, List, Pooling, RankedIterator, Typed, Vector, VectorIterator, hint};
use crate::items::{Count, collect, iterate};
use crate::json::{self, Json};
use crate::text::{PromptArgument, Text, Tokens};

/// Inputs to embed: a `str`, token ids, or a list of either.
pub struct InputsArgument(pub Inputs);

impl FromPyObject<'_, '_> for InputsArgument {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = hint("str | Iterable[int] | Iterable[str | Iterable[int]]");

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyString>() {
            return Ok(Self(value.extract::<Text>()?.0.into()));
        }
        let mut items = iterate(&value, "texts")?;
        let first = items.next().transpose()?;
        // A list of integers is a single input.
        let is_token = first
            .as_ref()
            .is_some_and(|first| !first.is_instance_of::<PyString>() && first.try_iter().is_err());
        let items = first.into_iter().map(Ok).chain(items);
        if is_token {
            return Ok(Self(Prompt::from(Tokens::collect(value.py(), items)?.0).into()));
        }
        let prompt = |item: Bound<'_, PyAny>| Ok(item.extract::<PromptArgument>()?.0);
        let inputs = collect(value.py(), items, &mut Count::of("texts"), |item, _| prompt(item))?;
        Ok(Self(inputs.into()))
    }
}

/// A list of texts.
pub struct TextsArgument(pub Vec<String>);

impl FromPyObject<'_, '_> for TextsArgument {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = hint("Iterable[str]");

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err("expected a list of texts, not one text"));
        }
        let texts = iterate(&value, "texts")?;
        let text = |item: Bound<'_, PyAny>, _: &mut Count<'_>| Ok(item.extract::<Text>()?.0);
        collect(value.py(), texts, &mut Count::of("texts"), text).map(Self)
    }
}

/// An index or a slice of a sequence.
#[derive(FromPyObject)]
pub enum Index<'py> {
    Item(isize),
    Items(Bound<'py, PySlice>),
}

/// The item at an index, or the items of a slice.
pub enum At<T> {
    Item(T),
    Items(Vec<T>),
}

impl<'py, T: IntoPyObject<'py>> IntoPyObject<'py> for At<T> {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    const OUTPUT_TYPE: PyStaticExpr = type_hint_union!(T::OUTPUT_TYPE, Vec::<T>::OUTPUT_TYPE);

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        match self {
            Self::Item(item) => item.into_bound_py_any(py),
            Self::Items(items) => items.into_bound_py_any(py),
        }
    }
}

impl Index<'_> {
    /// Returns the selected items of a sequence of the given length.
    fn of<T>(
        self,
        count: usize,
        what: &str,
        item: impl Fn(usize) -> PyResult<T>,
    ) -> PyResult<At<T>> {
        match self {
            Self::Item(index) => {
                let index = if index < 0 { index + count as isize } else { index };
                match usize::try_from(index) {
                    Ok(index) if index < count => item(index).map(At::Item),
                    _ => Err(PyIndexError::new_err(format!("there are {count} {what}"))),
                }
            }
            Self::Items(slice) => {
                let indices = slice.indices(count as isize)?;
                let index = |n| (indices.start + n as isize * indices.step) as usize;
                let items = (0..indices.slicelength).map(|n| item(index(n)));
                items.collect::<PyResult<_>>().map(At::Items)
            }
        }
    }
}

/// The vectors of texts, in the order of the texts: a sequence with one `memoryview` of 32-bit
/// floats per text.
///
/// It is also a buffer of shape `(rows, dimensions)`, which `numpy.asarray(embeddings)` uses
/// without a copy. The buffer is read-only and stays valid as long as any view of it exists. There
/// is one row per text; with `pooling="none"` there is one row per token, text after text, and
/// `embeddings[i]` has the shape `(tokens, dimensions)`.
#[pyclass(frozen, eq, module = "mullama")]
#[derive(PartialEq)]
pub struct Embeddings {
    inner: mullama::Embeddings,
    /// Number of rows and of numbers in a row; in `strides`, the bytes from a row to the next and from a
    /// number to the next. Views of the buffer point to them.
    shape: [isize; 2],
    strides: [isize; 2],
}

impl Wrap<mullama::Embeddings> for Embeddings {
    fn wrap(inner: mullama::Embeddings) -> Self {
        let shape = [inner.rows() as isize, inner.dimensions() as isize];
        let number = size_of::<f32>() as isize;
        Self { inner, shape, strides: [shape[1] * number, number] }
    }
}

#[pymethods]
impl Embeddings {
    /// Rows and numbers in a row.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.inner.rows(), self.inner.dimensions())
    }

    /// How the token vectors of a text were combined: `mean`, `cls`, `last`, `none` or `rank`.
    #[getter]
    fn pooling(&self) -> Json<Pooling> {
        Json::wrap(self.inner.pooling())
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

    /// Tokens of the texts.
    #[getter]
    fn usage(&self) -> EmbeddingUsage {
        EmbeddingUsage(self.inner.usage)
    }

    /// The vectors as lists of floats; with `pooling="none"`, one list of vectors per text.
    fn tolist<'py>(slf: &Bound<'py, Self>) -> PyResult<Vec<Typed<'py, List>>> {
        let list = |text| Ok(Typed::new(Self::text(slf, text)?.as_any().call_method0("tolist")?));
        (0..slf.get().inner.len()).map(list).collect()
    }

    /// All fields as plain Python values that can be serialised as JSON; `vectors` is what `tolist`
    /// returns.
    fn to_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Typed<'py, Dict>> {
        let fields = ["shape", "pooling", "normalized", "token_counts"];
        let dict = class::dict(slf, &fields)?;
        dict.as_any().set_item("usage", slf.get().usage().to_dict())?;
        dict.as_any().set_item("vectors", Self::tolist(slf)?)?;
        Ok(dict)
    }

    fn __len__(&self) -> usize {
        self.inner.len()
    }

    fn __getitem__<'py>(
        slf: &Bound<'py, Self>,
        index: Index<'py>,
    ) -> PyResult<At<Typed<'py, Vector>>> {
        index.of(slf.get().inner.len(), "texts", |text| Self::text(slf, text))
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Typed<'py, VectorIterator>> {
        let every = Index::Items(PySlice::full(slf.py()));
        Ok(Typed::new(Self::__getitem__(slf, every)?.into_pyobject(slf.py())?.try_iter()?))
    }

    /// Exports the buffer, which is immutable and does not move during the lifetime of the object.
    unsafe fn __getbuffer__(
        slf: &Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let Self { inner, shape, strides } = slf.get();
        let numbers = inner.as_slice();
        let bytes = size_of_val(numbers) as isize;
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            return Err(PyBufferError::new_err(
                "embeddings are read-only: copy them to change them",
            ));
        }
        if flags & ffi::PyBUF_F_CONTIGUOUS == ffi::PyBUF_F_CONTIGUOUS
            && shape.iter().all(|&n| n > 1)
        {
            return Err(PyBufferError::new_err("embeddings are stored row by row (C order)"));
        }
        // SAFETY: Python passes a struct to fill in. The view owns a reference to the object, which owns the
        // numbers, the shape and the strides. Views of plain bytes need only what is filled in first.
        unsafe {
            let start = numbers.as_ptr().cast_mut().cast();
            if ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, bytes, 1, flags) != 0 {
                return Err(PyErr::fetch(slf.py()));
            }
            let view = &mut *view;
            view.itemsize = strides[1];
            view.ndim = 2;
            if !view.format.is_null() {
                view.format = c"f".as_ptr().cast_mut();
            }
            if !view.shape.is_null() {
                view.shape = shape.as_ptr().cast_mut();
            }
            if !view.strides.is_null() {
                view.strides = strides.as_ptr().cast_mut();
            }
        }
        Ok(())
    }

    /// For `copy` and `pickle`.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let (py, inner) = (slf.py(), &slf.get().inner);
        let numbers: Vec<_> = inner.as_slice().iter().flat_map(|n| n.to_le_bytes()).collect();
        let parts = (json::to_python(py, inner)?, PyBytes::new(py, &numbers));
        (py.get_type::<Self>().getattr("_restore")?, parts).into_pyobject(py)
    }

    /// Recreates an object from the arguments that `__reduce__` returned.
    #[staticmethod]
    fn _restore(fields: &Bound<'_, PyAny>, numbers: &[u8]) -> PyResult<Self> {
        let numbers = numbers.as_chunks::<4>().0.iter().copied().map(f32::from_le_bytes);
        let whole = json::restore::<mullama::Embeddings>(fields)?.with_values(numbers.collect());
        let damaged = || PyValueError::new_err("the embeddings are damaged");
        whole.map(Self::wrap).ok_or_else(damaged)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["shape", "pooling", "normalized", "usage"])
    }
}

impl Embeddings {
    /// A view of the vectors of one text.
    fn text<'py>(slf: &Bound<'py, Self>, text: usize) -> PyResult<Typed<'py, Vector>> {
        let inner = &slf.get().inner;
        let (rows, width) = (inner.rows_of(text), inner.dimensions());
        let ends = (rows.start * width) as isize..(rows.end * width) as isize;
        let bytes = PyMemoryView::from(slf.as_any())?.call_method1("cast", ("B",))?;
        let numbers = bytes.call_method1("cast", ("f",))?;
        let own = numbers.get_item(PySlice::new(slf.py(), ends.start, ends.end, 1))?;
        if inner.pooling() != mullama::Pooling::None {
            return Ok(Typed::new(own));
        }
        let bytes = own.call_method1("cast", ("B",))?;
        Ok(Typed::new(bytes.call_method1("cast", ("f", [rows.len(), width]))?))
    }
}

class! {
    /// Token counts of an embedding or a reranking.
    #[eq]
    #[pickle(Self)]
    EmbeddingUsage(mullama::EmbeddingUsage) {
        /// Computed tokens of all inputs.
        prompt_tokens: u64,
        /// Tokens removed because an input was too long.
        truncated_tokens: u64,
    }
}

class! {
    /// A document with its score.
    #[eq]
    #[pickle(Self)]
    RankedDocument(mullama::RankedDocument) {
        /// Index of the document, counted from 0.
        index: usize,
        /// How well the document answers the query: higher is better. The range of scores depends
        /// on the model.
        score: f32,
    }
}

class! {
    /// Documents sorted by how well they answer a query, best first: a sequence.
    #[eq, sequence]
    #[pickle(Self)]
    Reranking(mullama::Reranking) {
        /// The documents; those with equal scores are in their original order.
        results: Vec<RankedDocument>,
        /// Tokens of the query and the documents; the query is counted once per document.
        usage: EmbeddingUsage,
    }
    methods {
        fn __len__(&self) -> usize {
            self.0.results.len()
        }

        fn __getitem__(&self, index: Index<'_>) -> PyResult<At<RankedDocument>> {
            let results = &self.0.results;
            index.of(results.len(), "documents", |index| Ok(RankedDocument(results[index])))
        }

        fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Typed<'py, RankedIterator>> {
            Ok(Typed::new(self.results().into_pyobject(py)?.try_iter()?))
        }
    }
}
