//! The `mullama` command: a program of its own, and what the command of the Python and Node.js packages runs.

mod arguments;
mod commands;
mod conversation_store;
mod failure;
mod format;
mod options;
mod plot;
mod progress;
#[cfg(test)]
mod reference;
mod repl;
mod session;
mod source;
mod terminal;

use std::ffi::OsString;

/// Runs the command to its end, and gives the exit status for the process. `arguments` begin with the
/// command's name; `itself` is what starts the command anew, a program and its first arguments.
pub fn run(arguments: impl IntoIterator<Item = OsString>, itself: &[OsString]) -> u8 {
    let matches = match arguments::parse(arguments.into_iter()) {
        Ok(matches) => matches,
        Err(error) => {
            // Whoever reads our output may have seen enough.
            let _ = error.print();
            return error.exit_code() as u8;
        }
    };
    let outcome = match matches.subcommand() {
        Some(("run", arguments)) => commands::run::run(arguments),
        Some(("show", arguments)) => commands::show::run(arguments),
        Some(("pull", arguments)) => commands::pull::run(arguments, itself),
        Some(("list", arguments)) => commands::list::run(arguments),
        Some(("cp", arguments)) => commands::cp::run(arguments),
        Some(("rm", arguments)) => commands::rm::run(arguments),
        Some(("create", arguments)) => commands::create::run(arguments),
        Some(("devices", arguments)) => commands::devices::run(arguments),
        Some(("plan", arguments)) => commands::plan::run(arguments),
        Some(("rpc-server", arguments)) => commands::rpc_server::run(arguments),
        Some(("completions", arguments)) => commands::completions::run(arguments),
        _ => unreachable!("the parser insists on a command"),
    };
    outcome.map_or_else(failure::Failure::report, |()| 0)
}
