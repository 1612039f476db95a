//! `mullama cp`

use clap::ArgMatches;
use mullama::copy_model;

use super::{store_name, text};
use crate::failure::Failure;
use crate::terminal::print;

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    let from = store_name(text(arguments, "from"))?;
    let to = store_name(text(arguments, "to"))?;
    copy_model(&from, &to)?;
    Ok(print(format_args!("copied {from} to {to}\n"))?)
}
