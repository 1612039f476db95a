//! The command of the package.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the command and returns its exit status: `arguments` begin with its name, `itself` is the
/// command line that starts it again.
#[pyfunction(name = "_run_command")]
pub fn run_command(py: Python<'_>, arguments: Vec<OsString>, itself: Vec<OsString>) -> u8 {
    py.detach(|| mullama_cli::run(arguments, &itself))
}
