//! The implementation of each command.

pub mod completions;
pub mod cp;
pub mod create;
pub mod devices;
pub mod list;
pub mod plan;
pub mod pull;
pub mod rm;
pub mod rpc_server;
pub mod run;
pub mod show;
pub mod version;

use std::io::{Read as _, stdin};

use clap::ArgMatches;
use mullama::hub::{Name, Source};
use mullama::{Error, ErrorKind};

/// Maximum size of piped text in bytes: more than any model reads, but a limit for endless input.
const MAX_PIPED: u64 = 64 << 20;

/// Reads standard input.
fn piped(what: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    stdin().take(MAX_PIPED + 1).read_to_end(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Io, format!("cannot read the {what} that is piped in: {error}"))
    })?;
    if bytes.len() as u64 > MAX_PIPED {
        let message = format!("the {what} that is piped in is longer than {MAX_PIPED} bytes");
        return Err(Error::new(ErrorKind::InvalidArgument, message)
            .with_hint("pipe in text only; give other files by their path"));
    }
    Ok(bytes)
}

/// The value of an argument that is required or has a default.
#[expect(clippy::expect_used, reason = "the parser has seen to it")]
fn required<'a, T: Clone + Send + Sync + 'static>(arguments: &'a ArgMatches, name: &str) -> &'a T {
    arguments.get_one(name).expect("the parser requires it")
}

/// The value of a text argument.
fn text<'a>(arguments: &'a ArgMatches, name: &str) -> &'a str {
    required::<String>(arguments, name)
}

/// The model name that the text refers to. Fails for a path.
pub fn store_name(text: &str) -> Result<Name, Error> {
    Source::parse(text)?.name().ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, format!("{text} is a path, not the name of a model"))
            .with_hint("`mullama list` shows the names")
    })
}
