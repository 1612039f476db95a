//! `mullama pull`

use std::ffi::OsString;
use std::io::{Write as _, stdout};
use std::process::Command;

use clap::ArgMatches;
use mullama::hub::{PullOptions, Source, Store};
use mullama::{Error, ErrorKind, Model};
use mullama_base::units;

use super::text;
use crate::failure::Failure;
use crate::progress::Display;
use crate::terminal::{catch_interrupts, interrupt};

/// `itself` starts the command anew.
pub fn run(arguments: &ArgMatches, itself: &[OsString]) -> Result<(), Failure> {
    let given = text(arguments, "name");
    tell_of_fit(given, itself)?;
    catch_interrupts();
    let mut display = Display::new();
    let mut options = PullOptions::default()
        .with_cancel(&interrupt())
        .with_progress(|progress| display.update(progress));
    options.insecure = arguments.get_flag("insecure");
    let pulled = Model::pull_with(given, options);
    drop(display);
    match pulled {
        Ok(model) => {
            writeln!(stdout(), "pulled {}, {}", model.name, units::decimal(model.size))?;
            Ok(())
        }
        Err(error) => {
            if error.kind() == ErrorKind::Cancelled {
                eprintln!("interrupted; `mullama pull {given}` goes on from here");
            }
            let plain = error.hint().is_some_and(|hint| hint.contains("insecure"));
            let error = if plain {
                error.with_hint("use https, or allow it with --insecure")
            } else {
                with_nearest(error, given)
            };
            Err(error.into())
        }
    }
}

/// Says whether a model that is not here yet will fit this machine, and how. A process of its own plans, so that
/// the engine does not stay in memory while the model is downloaded.
fn tell_of_fit(given: &str, itself: &[OsString]) -> Result<(), Error> {
    let (source, store) = (Source::parse(given)?, Store::open()?);
    if source.name().is_none_or(|name| store.find(&name).is_ok()) {
        return Ok(());
    }
    let Some((program, first)) = itself.split_first() else { return Ok(()) };
    let plan = ["plan", "--summary", "--", given];
    match Command::new(program).args(first).args(plan).output() {
        Ok(output) if output.status.success() => {
            eprint!("{}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(output) => {
            log::debug!("{given} cannot be planned: {}", String::from_utf8_lossy(&output.stderr));
        }
        Err(error) => log::debug!("{given} cannot be planned: {error}"),
    }
    Ok(())
}

/// Names a model of the store that may have been meant, where there is none of this name.
fn with_nearest(error: Error, given: &str) -> Error {
    let near = || {
        let name = Source::parse(given).ok()?.name()?;
        Store::open().ok()?.suggest(&name).into_iter().next()
    };
    let hint = error.hint().unwrap_or("check the name").to_owned();
    match Some(error.kind()).filter(|kind| *kind == ErrorKind::NotFound).and_then(|_| near()) {
        Some(known) => error.with_hint(format!("{hint}; the store has {known}")),
        None => error,
    }
}
