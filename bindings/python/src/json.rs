//! Converts Python values to JSON values and back: the form in which the core accepts and returns
//! values without a class.

use std::marker::PhantomData;

use mullama::Error;
use pyo3::IntoPyObjectExt as _;
use pyo3::exceptions::PyValueError;
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple, PyType};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use crate::class::Wrap;
use crate::errors::{class_name, raise};
use crate::hints::{Hint, hint};
use crate::items::{Count, collect};
use crate::text::Text;

/// A value of the core as plain Python values: dicts, lists, strings and numbers, with the hint as its type.
pub struct Json<H>(serde_json::Result<String>, PhantomData<H>);

impl<C: Serialize, H> Wrap<C> for Json<H> {
    fn wrap(core: C) -> Self {
        // Converted via text, which has the shortest digits of an `f32`: 0.8, not 0.800000011920929.
        Self(serde_json::to_string(&core), PhantomData)
    }
}

impl<'py, H: Hint> IntoPyObject<'py> for Json<H> {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    const OUTPUT_TYPE: PyStaticExpr = hint(H::TEXT);

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        let value = self.0.and_then(|text| serde_json::from_str(&text)).map_err(internal)?;
        plain(py, &value)
    }
}

/// A value of the core as plain Python values, with exact numbers.
pub fn to_python<'py>(py: Python<'py>, core: &impl Serialize) -> PyResult<Bound<'py, PyAny>> {
    plain(py, &serde_json::to_value(core).map_err(internal)?)
}

/// The result of `__reduce__` for an object: `_restore` of its class creates an equal one from it.
pub fn reduce<'py, T>(
    object: &Bound<'py, T>,
    core: &impl Serialize,
) -> PyResult<Bound<'py, PyTuple>> {
    let restore = object.as_any().get_type().getattr("_restore")?;
    (restore, (to_python(object.py(), core)?,)).into_pyobject(object.py())
}

/// Recreates a value of the core from the output of [`reduce`].
pub fn restore<C: DeserializeOwned>(fields: &Bound<'_, PyAny>) -> PyResult<C> {
    let fields = convert(fields, &mut Count::unlimited("fields"), 0)?;
    serde_json::from_value(fields).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Lists and dicts can contain themselves; no meaningful value is nested this deeply.
const MAX_DEPTH: usize = 100;

/// Options with JSON schemas. A whole number beyond 64 bits becomes a floating-point number, as in a schema that is given
/// as text.
const WITH_SCHEMAS: [&str; 3] = ["json_schema", "response_format", "tools"];

/// The value of an option or argument as JSON. Errors contain its `name`.
pub fn from_python(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Value> {
    convert(value, &mut Count::of_option(name), 0)
}

fn convert(value: &Bound<'_, PyAny>, count: &mut Count<'_>, depth: usize) -> PyResult<Value> {
    let (py, name) = (value.py(), count.name());
    if depth > MAX_DEPTH {
        return Err(raise(Error::option(name, "is nested too deeply")));
    }
    if value.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(flag) = value.cast::<PyBool>() {
        return Ok(flag.is_true().into());
    }
    if value.is_instance_of::<PyString>() {
        return Ok(value.extract::<Text>()?.0.into());
    }
    if value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>() {
        return number(value, name);
    }
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        let item = |item: Bound<'_, PyAny>, count: &mut Count<'_>| convert(&item, count, depth + 1);
        return collect(py, value.try_iter()?, count, item).map(Value::Array);
    }
    if let Ok(mapping) = value.cast::<PyMapping>() {
        let mut object = Map::new();
        for pair in mapping.call_method0("items")?.try_iter()? {
            let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair?.extract()?;
            count.add(py)?;
            object.insert(text_of_key(&key, name)?, convert(&value, count, depth + 1)?);
        }
        return Ok(object.into());
    }
    let mut item = |item: PyResult<Bound<'_, PyAny>>| convert(&item?, count, depth + 1);
    if value.hasattr("__fspath__")? {
        return item(value.call_method0("__fspath__"));
    }
    // Pydantic objects, which server clients use for messages, and dataclasses.
    if !value.is_instance_of::<PyType>() {
        if value.hasattr("model_dump")? {
            return item(value.call_method0("model_dump"));
        }
        if value.hasattr("__dataclass_fields__")? {
            return item(py.import("dataclasses")?.call_method1("asdict", (value,)));
        }
    }
    // Scalars and arrays of NumPy and similar libraries. An array may be larger than its memory.
    if let Ok(size) = value.getattr("size").and_then(|size| size.extract()) {
        count.expect(size)?;
    }
    if let Ok(plain) = value.call_method0("tolist") {
        return convert(&plain, count, depth + 1);
    }
    // Anything that `dict` accepts as a mapping, such as a message.
    if value.hasattr("keys")?
        && let Ok(dict) = py.get_type::<PyDict>().call1((value,))
    {
        return convert(&dict, count, depth + 1);
    }
    number(value, name)
}

/// A number: an `int`, a `float`, or an object with `__index__` or `__float__`.
fn number(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Value> {
    let problem = |what: String| raise(Error::option(name, what));
    if let Ok(number) = value.extract::<i64>() {
        return Ok(number.into());
    }
    if let Ok(number) = value.extract::<u64>() {
        return Ok(number.into());
    }
    if value.is_instance_of::<PyInt>() && !WITH_SCHEMAS.contains(&name) {
        return Err(problem(format!("{value} is too large")));
    }
    let Ok(float) = value.extract::<f64>() else {
        let shown = class_name(value);
        return Err(problem(format!("a value of class `{shown}` cannot be used here")));
    };
    let finite = Number::from_f64(float);
    finite.map(Value::Number).ok_or_else(|| problem(format!("{value} is not a finite number")))
}

/// Converts a key to text, since JSON has no other keys: a string, or an integer (a token id).
fn text_of_key(key: &Bound<'_, PyAny>, name: &str) -> PyResult<String> {
    if key.is_instance_of::<PyString>() {
        return Ok(key.extract::<Text>()?.0);
    }
    if !key.is_instance_of::<PyBool>()
        && let Ok(number) = key.extract::<i64>()
    {
        return Ok(number.to_string());
    }
    let problem = format!("keys are strings or integers, not {}", class_name(key));
    Err(raise(Error::option(name, problem)))
}

/// A JSON value as plain Python values.
fn plain<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::Null => Ok(py.None().into_bound(py)),
        Value::Bool(flag) => flag.into_bound_py_any(py),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into_bound_py_any(py),
            (None, Some(number)) => number.into_bound_py_any(py),
            (None, None) => number.as_f64().into_bound_py_any(py),
        },
        Value::String(text) => text.into_bound_py_any(py),
        Value::Array(items) => {
            let list = PyList::empty(py);
            items.iter().try_for_each(|item| list.append(plain(py, item)?))?;
            Ok(list.into_any())
        }
        Value::Object(pairs) => {
            let dict = PyDict::new(py);
            pairs.iter().try_for_each(|(key, value)| dict.set_item(key, plain(py, value)?))?;
            Ok(dict.into_any())
        }
    }
}

fn internal(error: serde_json::Error) -> PyErr {
    raise(Error::new(mullama::ErrorKind::Internal, error.to_string()))
}
