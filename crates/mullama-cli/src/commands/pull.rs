//! `mullama pull`

use std::io::{Write as _, stdout};

use clap::ArgMatches;
use mullama::hub::{Cancel, PullOptions, Source, Store};
use mullama::{Error, ErrorKind, Model};

use super::{plan, text};
use crate::failure::Failure;
use crate::format::size;
use crate::progress::Display;
use crate::terminal::{cancel_on_interrupt, catch_interrupts};

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    let given = text(arguments, "name");
    tell_of_fit(given)?;
    let cancel = Cancel::new();
    catch_interrupts();
    cancel_on_interrupt(&cancel);
    let mut display = Display::new();
    let mut options = PullOptions::default()
        .with_cancel(&cancel)
        .with_progress(|progress| display.update(progress));
    options.insecure = arguments.get_flag("insecure");
    let pulled = Model::pull_with(given, options);
    drop(display);
    match pulled {
        Ok(model) => {
            writeln!(stdout(), "pulled {}, {}", model.name, size(model.size))?;
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

/// Says whether a model that is not here yet will fit this machine, and how.
fn tell_of_fit(given: &str) -> Result<(), Error> {
    let (source, store) = (Source::parse(given)?, Store::open()?);
    if source.name().is_some_and(|name| store.find(&name).is_err())
        && let Some(fit) = plan::here(given)
    {
        eprintln!("{fit}");
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
