//! The engine of mullama as a library.
//!
//! Three things stand here, and nothing that has an opinion on how they are used:
//! [`llama_cpp_sys_2`]'s bindings to llama.cpp and ggml (re-exported), [`shim`], C linkage for what
//! llama.cpp offers to C++ only, and [`modules`], which finds and loads backend modules at run time ([`kernels`] are
//! what of the processor's module is our own).
//!
//! Without the feature `dynamic-backends` the engine is linked into the program, and there is no module to
//! load.

#[cfg(not(any(unix, windows)))]
compile_error!("mullama needs an operating system with loadable libraries");

pub use llama_cpp_sys_2::*;

/// The keys of a model's metadata that the engine reads; `%s` stands for the model's architecture.
pub const METADATA_KEYS: &[&str] = include!(concat!(env!("OUT_DIR"), "/metadata_keys.rs"));

/// Names of the tensors, without `.weight` or what else ends them, that the engine adds, multiplies or scales by, or
/// that are the parameters of an operation: it takes them as 32-bit floats alone. `%d` stands for a number.
pub const FLOAT_TENSORS: &[&str] = include!(concat!(env!("OUT_DIR"), "/float_tensors.rs"));

pub mod backends;
pub mod kernels;
pub mod modules;
pub mod phrases;
pub mod shim;
