//! The `mullama` command, as a library: used by the program, and by the commands of the Python and Node.js packages.

// Files and user input are untrusted: a missing element must be an error, not a panic.
#![cfg_attr(
    not(test),
    warn(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]
// Only `terminal` prints.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod allocator;
mod arguments;
mod commands;
mod conversation_store;
mod dropped;
mod failure;
mod format;
mod llama_cpp;
#[cfg(test)]
mod llama_cpp_page;
mod options;
mod other_programs;
mod plot;
mod progress;
#[cfg(test)]
mod reference;
mod repl;
mod session;
mod source;
mod spelling;
mod terminal;
mod usage;

use std::ffi::OsString;

use mullama::{Error, ErrorKind};

pub use allocator::ExitOnOutOfMemory;

use arguments::Refusal;
use failure::Failure;

/// Runs the command, and returns the exit status of the process. `arguments` starts with the command's name. `itself`
/// is the program and the first arguments that start the command again.
pub fn run(arguments: impl IntoIterator<Item = OsString>, itself: &[OsString]) -> u8 {
    let matches = match arguments::parse(arguments.into_iter()) {
        Ok(matches) => matches,
        Err(Refusal::Error(error)) => return Failure::from(error).report(),
        Err(Refusal::Help(error)) => {
            // The reader may have closed the pipe.
            let _ = error.print();
            return error.exit_code() as u8;
        }
    };
    let outcome = match matches.subcommand() {
        Some(("run", arguments)) => commands::run::run(arguments, itself),
        Some(("show", arguments)) => commands::show::run(arguments),
        Some(("pull", arguments)) => commands::pull::run(arguments, itself),
        Some(("list", arguments)) => commands::list::run(arguments),
        Some(("cp", arguments)) => commands::cp::run(arguments),
        Some(("rm", arguments)) => commands::rm::run(arguments),
        Some(("create", arguments)) => commands::create::run(arguments),
        Some(("devices", arguments)) => commands::devices::run(arguments),
        Some(("plan", arguments)) => commands::plan::run(arguments),
        Some(("rpc-server", arguments)) => commands::rpc_server::run(arguments),
        Some(("version", _)) => commands::version::run(),
        Some(("completions", arguments)) => commands::completions::run(arguments),
        _ => Err(Error::new(ErrorKind::InvalidArgument, "a command is missing").into()),
    };
    outcome.map_or_else(Failure::report, |()| 0)
}
