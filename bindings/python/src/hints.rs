//! Types in the stubs that cannot be derived from Rust types.
//!
//! A hint is a Python expression. Names that it does not write in full (`typing_extensions.Buffer`) are those
//! of this module's classes, of `collections.abc`, `os`, `typing`, `mullama.options`, `mullama._chat` and
//! `mullama._message`: `generate_stubs.py` imports them.

use std::convert::Infallible;
use std::marker::PhantomData;

use pyo3::inspect::{PyStaticConstant, PyStaticExpr};
use pyo3::prelude::*;
use pyo3::types::PyNone;

/// A hint, for `INPUT_TYPE` and `OUTPUT_TYPE`.
pub const fn hint(text: &'static str) -> PyStaticExpr {
    PyStaticExpr::Constant { value: PyStaticConstant::Str(text) }
}

/// A name for a hint, as a parameter of [`Typed`] and [`crate::json::Json`].
pub trait Hint: 'static {
    const TEXT: &'static str;
}

macro_rules! hints {
    ($( $name:ident = $text:literal; )+) => { $(
        #[doc = concat!("`", $text, "`")]
        pub struct $name;

        impl Hint for $name {
            const TEXT: &'static str = $text;
        }
    )+ };
}

hints! {
    Anything = "Any";
    AsyncChat = "AsyncChat";
    CacheTypes = "str | list[str]";
    Chat = "Chat";
    Compacted = "dict[str, Any] | None";
    DeviceKind = "Literal['cpu', 'gpu', 'igpu', 'accelerator']";
    Dict = "dict[str, Any]";
    FinishReason = "Literal['stop', 'length', 'tool_calls', 'cancelled']";
    GenerateOptionsDict = "GenerateOptions";
    List = "list[Any]";
    LoadOptionsDict = "LoadOptions";
    MessageDict = "Mapping[str, object]";
    MessageList = "Sequence[Mapping[str, object]]";
    Phase = "Literal['resolving', 'waiting', 'downloading', 'verifying', 'done']";
    PlanDevices = "str | Mapping[str, object] | Sequence[str | Mapping[str, object]]";
    Pooling = "Literal['mean', 'cls', 'last', 'none', 'rank']";
    RankedIterator = "Iterator[RankedDocument]";
    RequestState = "Literal['waiting', 'prompt', 'generating']";
    StopKind = "Literal['stop_text', 'end_token', 'max_tokens', 'context_size', 'timeout', 'cancelled']";
    Summarizer = "Callable[[list[dict[str, Any]]], str | Awaitable[str]]";
    TextsOrNone = "dict[str, str] | None";
    ToolList = "Sequence[Mapping[str, object]]";
    Vector = "memoryview[float]";
    VectorIterator = "Iterator[memoryview[float]]";
}

/// A Python object with a hint of its type.
pub struct Typed<'py, H>(Bound<'py, PyAny>, PhantomData<H>);

impl<'py, H> Typed<'py, H> {
    pub fn new(object: Bound<'py, impl Sized>) -> Self {
        Self(object.into_any(), PhantomData)
    }

    pub fn as_any(&self) -> &Bound<'py, PyAny> {
        &self.0
    }
}

impl<'py, H: Hint> FromPyObject<'_, 'py> for Typed<'py, H> {
    type Error = Infallible;

    const INPUT_TYPE: PyStaticExpr = hint(H::TEXT);

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> Result<Self, Infallible> {
        Ok(Self::new(object.to_owned()))
    }
}

impl<'py, H: Hint> IntoPyObject<'py> for Typed<'py, H> {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = Infallible;

    const OUTPUT_TYPE: PyStaticExpr = hint(H::TEXT);

    fn into_pyobject(self, _: Python<'py>) -> Result<Self::Output, Infallible> {
        Ok(self.0)
    }
}

/// Python's None, as the result of functions without one: a coroutine would convert `()` to an empty tuple.
pub struct Nothing;

impl<'py> IntoPyObject<'py> for Nothing {
    type Target = PyNone;
    type Output = Borrowed<'py, 'py, PyNone>;
    type Error = Infallible;

    const OUTPUT_TYPE: PyStaticExpr = hint("None");

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Infallible> {
        Ok(PyNone::get(py))
    }
}
