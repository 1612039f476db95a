//! The engine of mullama as a library.
//!
//! It contains three parts, without any policy on their use: the bindings of [`llama_cpp_sys_2`] to llama.cpp and ggml
//! (re-exported); [`shim`], C linkage for parts of llama.cpp that only have C++ interfaces; and [`modules`], which
//! finds and loads backend modules at run time. [`kernels`] selects our own kernels in the CPU module.
//!
//! Without the feature `dynamic-backends`, the engine is linked into the program, and no modules are loaded.

#[cfg(not(any(unix, windows)))]
compile_error!("mullama needs an operating system with loadable libraries");

pub use llama_cpp_sys_2::*;

/// The metadata keys that the engine reads; `%s` stands for the model's architecture.
pub const METADATA_KEYS: &[&str] = include!(concat!(env!("OUT_DIR"), "/metadata_keys.rs"));

/// Those of [`METADATA_KEYS`] whose values are floating-point numbers.
pub const FLOAT_KEYS: &[&str] = include!(concat!(env!("OUT_DIR"), "/float_keys.rs"));

/// Names of tensors that the engine adds, multiplies or scales by, or that are parameters of an operation, so that they
/// must be F32. Without suffixes such as `.weight`; `%d` stands for a number.
pub const FLOAT_TENSORS: &[&str] = include!(concat!(env!("OUT_DIR"), "/float_tensors.rs"));

pub mod backends;
pub mod kernels;
pub mod modules;
pub mod phrases;
pub mod shim;
