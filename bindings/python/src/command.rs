//! The command of the package.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the command to its end and gives the exit status: `arguments` begin with its name, `itself` starts it
/// anew.
#[pyfunction(name = "_run_command")]
pub fn run_command(py: Python<'_>, arguments: Vec<OsString>, itself: Vec<OsString>) -> u8 {
    py.detach(|| mullama_cli::run(arguments, &itself))
}
