//! `mullama rpc-server`

use clap::ArgMatches;
use mullama::rpc;

use super::{required, text};
use crate::failure::Failure;
use crate::terminal::tell;

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    let host = text(arguments, "host");
    let port = required::<u16>(arguments, "port");
    let address = format!("{host}:{port}");
    let devices: Option<Vec<String>> =
        arguments.get_many("device").map(|names| names.cloned().collect());
    if !rpc::is_loopback(&address) {
        tell(format_args!(
            "warning: {address} can be reached from other machines, and the protocol has no \
             authentication: whoever reaches it can use this worker, crash it, and read what it \
             computes. Keep it to a network that you trust."
        ));
    }
    output_to_stderr();
    rpc::serve(&address, devices.as_deref(), arguments.get_one::<u32>("threads").copied())?;
    Ok(())
}

/// The engine's server tells of itself and of its clients on standard output, where only what a command was
/// asked for belongs: it goes to standard error. Windows has no such simple way.
fn output_to_stderr() {
    #[cfg(unix)]
    if let Err(error) = rustix::stdio::dup2_stdout(std::io::stderr()) {
        log::warn!("the worker's messages stay on standard output: {error}");
    }
}
