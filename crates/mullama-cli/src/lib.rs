//! The `mullama` command: a program of its own, and what the command of the Python and Node.js packages runs.

// What others wrote, users included, is never trusted to be there.
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
// `terminal` prints.
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
mod other_commands;
mod plot;
mod progress;
#[cfg(test)]
mod reference;
mod repl;
mod session;
mod source;
mod spelling;
mod terminal;

use std::ffi::OsString;

use mullama::{Error, ErrorKind};
use mullama_base::printable;

pub use allocator::OrEnd;

use arguments::Refusal;
use failure::Failure;

/// Runs the command to its end, and gives the exit status for the process. `arguments` begin with the
/// command's name; `itself` is what starts the command anew, a program and its first arguments.
pub fn run(arguments: impl IntoIterator<Item = OsString>, itself: &[OsString]) -> u8 {
    let matches = match arguments::parse(arguments.into_iter()) {
        Ok(matches) => matches,
        Err(Refusal::Error(error)) => return Failure::from(error).report(),
        Err(Refusal::Usage(error)) => {
            let text = error.render().to_string();
            if error.use_stderr() && printable(&text) != text {
                terminal::tell(text.trim_end());
            } else {
                // Whoever reads our output may have seen enough.
                let _ = error.print();
            }
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
