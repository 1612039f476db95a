//! The command of the package, for `lib/command.ts`.
#![allow(missing_docs, reason = "`lib` documents what a program sees")]

use std::ffi::OsString;

use napi_derive::napi;

/// Runs the command and returns its exit status: `arguments` begin with its name, `itself` is the
/// command line that starts it again.
#[napi(catch_unwind)]
pub fn run_command(arguments: Vec<String>, itself: Vec<String>) -> u8 {
    let itself: Vec<_> = itself.into_iter().map(OsString::from).collect();
    mullama_cli::run(arguments.into_iter().map(OsString::from), &itself)
}
