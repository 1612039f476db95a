//! The buffer protocol, for a class of ours.
//!
//! `PyO3` offers it from Python 3.11 on, where it became part of the stable ABI. Its parts are older, and
//! have not changed: a type made by `PyType_FromSpec` takes the slot from Python 3.9 on, and the struct is
//! that of Python 3.0. What is declared here is only what is used.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr;

use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};
use pyo3::{PyClass, ffi};

/// `Py_bf_getbuffer`
const GET_BUFFER: c_int = 1;

const WRITABLE: c_int = 0x0001;
const FORMAT: c_int = 0x0004;
const ND: c_int = 0x0008;
const STRIDES: c_int = 0x0010 | ND;
/// `PyBUF_F_CONTIGUOUS` without what it implies.
const COLUMN_MAJOR: c_int = 0x0040;

/// `Py_buffer`
#[repr(C)]
struct RawBuffer {
    buf: *mut c_void,
    obj: *mut ffi::PyObject,
    len: isize,
    itemsize: isize,
    readonly: c_int,
    ndim: c_int,
    format: *mut c_char,
    shape: *mut isize,
    strides: *mut isize,
    suboffsets: *mut isize,
    internal: *mut c_void,
}

/// Numbers in rows, which never change, and stay where they are while there is the object.
pub trait Matrix: PyClass + Sync {
    fn numbers(&self) -> &[f32];
    /// Rows and columns.
    fn shape(&self) -> &[isize; 2];
    /// Bytes from a row to the next, and from a column to the next.
    fn strides(&self) -> &[isize; 2];
}

/// A class that is `T`, and gives its numbers to whoever asks for a buffer.
pub fn class<'py, T: Matrix>(
    py: Python<'py>,
    name: &'static CStr,
    doc: &'static CStr,
) -> PyResult<Bound<'py, PyType>> {
    let bases = PyTuple::new(py, [py.get_type::<T>()])?;
    let mut slots = [
        ffi::PyType_Slot { slot: GET_BUFFER, pfunc: get_buffer::<T> as *mut c_void },
        ffi::PyType_Slot { slot: ffi::Py_tp_doc, pfunc: doc.as_ptr().cast_mut().cast() },
        ffi::PyType_Slot { slot: 0, pfunc: ptr::null_mut() },
    ];
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        // That of the base.
        basicsize: 0,
        itemsize: 0,
        flags: ffi::Py_TPFLAGS_DEFAULT as c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the spec and its slots live until the call returns, the texts for good; the slots have the
    // types that their numbers ask for. The result is a new type, or null with an exception set.
    unsafe {
        let made = ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr());
        Ok(Bound::from_owned_ptr_or_err(py, made)?.cast_into()?)
    }
}

/// `bf_getbuffer` of a class made above.
unsafe extern "C" fn get_buffer<T: Matrix>(
    object: *mut ffi::PyObject,
    view: *mut RawBuffer,
    flags: c_int,
) -> c_int {
    // SAFETY: Python calls this with the GIL, an object of the class, and a struct to fill.
    unsafe {
        let py = Python::assume_attached();
        match fill::<T>(&Bound::from_borrowed_ptr(py, object), flags) {
            Ok(filled) => {
                view.write(filled);
                0
            }
            Err(error) => {
                (*view).obj = ptr::null_mut();
                error.restore(py);
                -1
            }
        }
    }
}

fn fill<T: Matrix>(object: &Bound<'_, PyAny>, flags: c_int) -> PyResult<RawBuffer> {
    if flags & WRITABLE != 0 {
        return Err(PyBufferError::new_err("embeddings are read-only: copy them to change them"));
    }
    let owner = object.cast::<T>()?.clone().unbind();
    let matrix = owner.bind(object.py()).borrow();
    let shape = matrix.shape();
    if flags & COLUMN_MAJOR != 0 && shape.iter().all(|&count| count > 1) {
        return Err(PyBufferError::new_err("embeddings lie row after row"));
    }
    let asked = |flag: c_int| flags & flag == flag;
    let numbers = matrix.numbers();
    Ok(RawBuffer {
        buf: numbers.as_ptr().cast_mut().cast(),
        len: size_of_val(numbers) as isize,
        itemsize: size_of::<f32>() as isize,
        readonly: 1,
        ndim: 2,
        format: if asked(FORMAT) { c"f".as_ptr().cast_mut() } else { ptr::null_mut() },
        shape: if asked(ND) { shape.as_ptr().cast_mut() } else { ptr::null_mut() },
        strides: if asked(STRIDES) {
            matrix.strides().as_ptr().cast_mut()
        } else {
            ptr::null_mut()
        },
        suboffsets: ptr::null_mut(),
        internal: ptr::null_mut(),
        // The view holds the object for as long as it lives.
        obj: {
            drop(matrix);
            owner.into_ptr()
        },
    })
}
