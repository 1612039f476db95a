//! `mullama cp`

use std::io::{Write as _, stdout};

use clap::ArgMatches;
use mullama::copy_model;

use super::{store_name, text};
use crate::failure::Failure;

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    let from = store_name(text(arguments, "from"))?;
    let to = store_name(text(arguments, "to"))?;
    copy_model(&from, &to)?;
    writeln!(stdout(), "copied {from} to {to}")?;
    Ok(())
}
