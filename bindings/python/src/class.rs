//! Classes of results: each wraps a value of the core and exposes its fields.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::hints::{Dict, Nothing, Typed};

/// Declares a class of results. Its attribute is `#[eq]` if objects are compared like the core's values, or
/// `#[eq_in("...")]` with another module than `mullama`, else `#[pyclass]`; the first and the last accept further
/// options of `PyO3`. Fields have a type in Python and documentation. The value
/// of a field is the core's field of the same name, or the result of the closure after it, converted by
/// [`Wrap`]. `__repr__` shows all fields, or those listed after `repr`, or the object's dict if that list is
/// empty. `methods` contains further methods. `#[pickle(R)]` makes objects copyable, picklable and
/// serialisable as JSON, which requires serde for the core's value; `R` is the class that wraps it again.
macro_rules! class {
    (
        $(#[doc = $about:literal])+
        $(#[eq $(, $eq_option:meta)*])?
        $(#[eq_in($module:literal)])?
        $(#[pyclass($($option:meta),+)])?
        $(#[pickle($restored:ty)])?
        $name:ident($core:ty) $(, repr($($shown:ident),*))? {
            $( $(#[$doc:meta])* $field:ident: $type:ty $(= $get:expr)?, )*
        }
        $( methods { $($methods:tt)* } )?
    ) => {
        $(#[doc = $about])+
        $(
            #[pyclass(frozen, eq, module = "mullama" $(, $eq_option)*)]
            #[derive(PartialEq)]
        )?
        $(
            #[pyclass(frozen, eq, module = $module)]
            #[derive(PartialEq)]
        )?
        $(#[pyclass(frozen $(, $option)+)])?
        pub struct $name(pub $core);

        impl $crate::class::Wrap<$core> for $name {
            fn wrap(core: $core) -> Self {
                Self(core)
            }
        }

        #[pymethods]
        impl $name {
            $(
                $(#[$doc])*
                #[getter]
                fn $field(&self) -> $type {
                    $crate::class::Wrap::wrap(class!(@get self.0, $field $(, $get)?))
                }
            )*

            $( $($methods)* )?

            $(
                /// All fields as plain Python values that can be serialised as JSON.
                fn to_dict(&self) -> $crate::json::Json<$crate::hints::Dict> {
                    $crate::class::Wrap::wrap(&self.0)
                }

                /// For `copy` and `pickle`.
                fn __reduce__<'py>(
                    slf: &Bound<'py, Self>,
                ) -> PyResult<Bound<'py, pyo3::types::PyTuple>> {
                    $crate::json::reduce(slf, &slf.get().0)
                }

                /// Recreates an object from the arguments that `__reduce__` returned.
                #[staticmethod]
                fn _restore(fields: &Bound<'_, PyAny>) -> PyResult<$restored> {
                    $crate::json::restore::<$core>(fields).map($crate::class::Wrap::wrap)
                }
            )?

            fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
                $crate::class::repr(slf, class!(@names $([$($shown),*])? [$($field),*]))
            }
        }
    };
    (@get $core:expr, $field:ident) => { Clone::clone(&$core.$field) };
    (@get $core:expr, $field:ident, $get:expr) => { $crate::class::get(&$core, $get) };
    (@names [$($name:ident),*] $([$($rest:ident),*])?) => { &[$(stringify!($name)),*] };
}

pub(crate) use class;

/// `Usage(prompt_tokens=3, ...)`: the class of an object, with the given attributes or its dict.
pub fn repr<T>(object: &Bound<'_, T>, attributes: &[&str]) -> PyResult<String> {
    let object = object.as_any();
    let class = object.get_type().name()?;
    if attributes.is_empty() {
        return Ok(format!("{class}({})", object.call_method0("to_dict")?.repr()?));
    }
    let attributes: Vec<_> = attributes
        .iter()
        .map(|name| Ok(format!("{name}={}", object.getattr(*name)?.repr()?)))
        .collect::<PyResult<_>>()?;
    Ok(format!("{class}({})", attributes.join(", ")))
}

/// A dict of the given attributes of an object, which must be plain values.
pub fn dict<'py, T>(object: &Bound<'py, T>, attributes: &[&str]) -> PyResult<Typed<'py, Dict>> {
    let dict = PyDict::new(object.py());
    for name in attributes {
        dict.set_item(name, object.as_any().getattr(*name)?)?;
    }
    Ok(Typed::new(dict))
}

/// The HTML that a notebook shows for an object.
pub fn repr_html<T>(object: &Bound<'_, T>) -> PyResult<String> {
    let html = object.py().import("mullama._notebook")?.getattr("html")?;
    html.call1((object.as_any(),))?.extract()
}

/// Returns the result of a closure for a value. (The argument type of a closure that is called directly
/// cannot be inferred.)
pub fn get<'a, C, T>(core: &'a C, get: impl FnOnce(&'a C) -> T) -> T {
    get(core)
}

/// The type that represents a value of the core in Python.
pub trait Wrap<C> {
    fn wrap(core: C) -> Self;
}

macro_rules! as_it_is {
    ($($type:ty),+ $(,)?) => { $(
        impl Wrap<$type> for $type {
            fn wrap(core: $type) -> Self {
                core
            }
        }
    )+ };
}

as_it_is!(bool, i32, u32, u64, usize, f32, f64, String, (u64, u64), BTreeMap<String, String>);

impl Wrap<()> for Nothing {
    fn wrap((): ()) -> Self {
        Self
    }
}

impl Wrap<Vec<u8>> for Cow<'static, [u8]> {
    fn wrap(core: Vec<u8>) -> Self {
        core.into()
    }
}

impl Wrap<&str> for String {
    fn wrap(core: &str) -> Self {
        core.to_owned()
    }
}

impl Wrap<&Path> for OsString {
    fn wrap(core: &Path) -> Self {
        core.into()
    }
}

impl Wrap<PathBuf> for OsString {
    fn wrap(core: PathBuf) -> Self {
        core.into()
    }
}

impl<C, T: Wrap<C>> Wrap<Option<C>> for Option<T> {
    fn wrap(core: Option<C>) -> Self {
        core.map(T::wrap)
    }
}

impl<C, T: Wrap<C>> Wrap<Vec<C>> for Vec<T> {
    fn wrap(core: Vec<C>) -> Self {
        core.into_iter().map(T::wrap).collect()
    }
}
