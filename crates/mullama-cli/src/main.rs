//! The `mullama` command.

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

use std::process::ExitCode;

fn main() -> ExitCode {
    mullama::log_to_stderr();
    let matches = arguments::parse(std::env::args_os());
    let outcome = match matches.subcommand() {
        Some(("run", arguments)) => commands::run::run(arguments),
        Some(("show", arguments)) => commands::show::run(arguments),
        Some(("pull", arguments)) => commands::pull::run(arguments),
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
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
