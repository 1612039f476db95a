//! `mullama pull`

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::ArgMatches;
use mullama::hub::{PullOptions, Source, Store, StoredModel};
use mullama::{Error, ErrorKind, Model, ResolvedModel, resembles_demo};
use mullama_base::units;

use super::text;
use crate::failure::Failure;
use crate::progress::Display;
use crate::terminal::{catch_interrupts, interrupt_token, print, print_message};

/// Interval for polling the planning process.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Runs the command. `itself` is the program and arguments that start it again.
pub fn run(arguments: &ArgMatches, itself: &[OsString]) -> Result<(), Failure> {
    let pulled = pull(text(arguments, "name"), arguments.get_flag("insecure"), itself)?;
    Ok(print(format_args!("{}\n", describe_pulled(&pulled)))?)
}

/// Pulls the model if it is not available. If `given` is not a name, returns the error of resolving it.
pub fn pull_if_missing(given: &str, itself: &[OsString]) -> Result<(), Failure> {
    let Err(error) = ResolvedModel::find(given) else { return Ok(()) };
    let source = Source::parse(given).ok().filter(|source| source.name().is_some());
    // A misspelt name of the built-in model is not downloaded.
    let is_missing = error.kind() == ErrorKind::NotFound && !resembles_demo(given);
    let Some(source) = source.filter(|_| is_missing) else { return Err(error.into()) };
    // An address may have secrets.
    let shown = if given.contains("://") { source.to_string() } else { given.to_owned() };
    print_message(format_args!("{shown} is not in the local store: downloading it"));
    print_message(describe_pulled(&pull(given, false, itself)?));
    Ok(())
}

fn describe_pulled(pulled: &StoredModel) -> String {
    format!("pulled {}, {}", pulled.name, units::decimal(pulled.size))
}

/// Pulls a model, and shows the progress on standard error.
fn pull(given: &str, insecure: bool, itself: &[OsString]) -> Result<StoredModel, Failure> {
    let limit = PullOptions::default().timeout;
    let waited = report_fit(given, itself, limit)?;
    catch_interrupts();
    let mut display = Display::new();
    let mut options = PullOptions::default()
        .with_cancel(&interrupt_token())
        .with_progress(|progress| display.update(progress));
    options.insecure = insecure;
    // Planning and pulling share one limit.
    options.timeout = limit.saturating_sub(waited).max(limit / 2);
    let pulled = Model::pull_with(given, options);
    drop(display);
    pulled.map_err(|error| {
        if error.kind() == ErrorKind::Cancelled {
            // The URL may contain a secret.
            let shown = match Source::parse(given) {
                Ok(address @ Source::Url(_)) => address.to_string(),
                _ => given.to_owned(),
            };
            print_message(format_args!("interrupted; `mullama pull {shown}` resumes the download"));
        }
        let plain = error.hint().is_some_and(|hint| hint.contains("insecure"));
        let error = if plain {
            error.with_hint("use https, or allow it with `mullama pull --insecure`")
        } else {
            with_nearest(error, given)
        };
        error.into()
    })
}

/// Prints whether a model that is not available yet will fit this machine, and how. Returns the time spent if no plan
/// was obtained, else zero. The plan is made in a separate process, so that the engine does not occupy memory during
/// the download. It is optional: it is attempted once, and ends after the limit.
fn report_fit(given: &str, itself: &[OsString], limit: Duration) -> Result<Duration, Error> {
    let (source, store) = (Source::parse(given)?, Store::open()?);
    if source.name().is_none_or(|name| name.is_built_in() || store.find(&name).is_ok()) {
        return Ok(Duration::ZERO);
    }
    let Some((program, first)) = itself.split_first() else { return Ok(Duration::ZERO) };
    let begun = Instant::now();
    let plan = Command::new(program)
        .args(first)
        .args(["plan", "--summary", "--", given])
        .env("MULLAMA_PULL_TIMEOUT", (limit / 4).as_secs_f64().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let ended = plan.and_then(|mut plan| {
        while plan.try_wait()?.is_none() {
            if begun.elapsed() > limit {
                let _ = plan.kill();
                break;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        plan.wait_with_output()
    });
    match ended {
        Ok(output) if output.status.code().is_some_and(has_reported_fit) => {
            print_message(String::from_utf8_lossy(&output.stdout).trim_end());
            return Ok(Duration::ZERO);
        }
        Ok(output) => {
            log::debug!("{source} cannot be planned: {}", String::from_utf8_lossy(&output.stderr));
        }
        Err(error) => log::debug!("{source} cannot be planned: {error}"),
    }
    Ok(begun.elapsed())
}

/// Whether a plan with this exit status has determined if the model fits.
fn has_reported_fit(status: i32) -> bool {
    status == 0 || status == i32::from(ErrorKind::DoesNotFit.exit_status())
}

/// Adds the most similar model of the store to the hint, if a model was not found.
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
