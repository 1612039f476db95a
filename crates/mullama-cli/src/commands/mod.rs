//! What each command does.

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

use clap::ArgMatches;
use mullama::hub::{Name, Source};
use mullama::{Error, ErrorKind};

/// The value of an argument that the parser requires or has a default for.
fn text<'a>(arguments: &'a ArgMatches, name: &str) -> &'a str {
    arguments.get_one::<String>(name).expect("the parser requires it")
}

/// The name in the store that a user means; a path has none.
pub fn store_name(text: &str) -> Result<Name, Error> {
    Source::parse(text)?.name().ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, format!("{text} is a path, not the name of a model"))
            .with_hint("`mullama list` shows the names")
    })
}
