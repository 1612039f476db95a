//! `mullama rpc-server`

use clap::ArgMatches;
use mullama::rpc;

use super::{required, text};
use crate::failure::Failure;
use crate::terminal::print_message;

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    let host = text(arguments, "host");
    let port = required::<u16>(arguments, "port");
    let address = format!("{host}:{port}");
    let devices: Option<Vec<String>> =
        arguments.get_many("device").map(|names| names.cloned().collect());
    if !rpc::is_loopback(&address) {
        print_message(format_args!(
            "warning: {address} can be reached from other machines, and the protocol has no \
             authentication and no encryption: anyone who can reach it can use this worker, and anyone who can read the network traffic sees the data. Use it only on a network that you trust."
        ));
    }
    rpc::serve(&address, devices.as_deref(), arguments.get_one::<u32>("threads").copied())?;
    Ok(())
}
