//! `mullama completions`

use std::io::{Write as _, stdout};

use clap::ArgMatches;
use clap_complete::{Shell, generate};

use super::required;
use crate::arguments;
use crate::failure::Failure;

pub fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let shell = *required::<Shell>(matches, "shell");
    let mut script = Vec::new();
    generate(shell, &mut arguments::command(), "mullama", &mut script);
    Ok(stdout().lock().write_all(&script)?)
}
