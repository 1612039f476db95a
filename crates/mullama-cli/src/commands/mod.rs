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
#[expect(clippy::expect_used, reason = "the parser has seen to it")]
fn required<'a, T: Clone + Send + Sync + 'static>(arguments: &'a ArgMatches, name: &str) -> &'a T {
    arguments.get_one(name).expect("the parser requires it")
}

/// The same of a text.
fn text<'a>(arguments: &'a ArgMatches, name: &str) -> &'a str {
    required::<String>(arguments, name)
}

/// The name in the store that a user means; a path has none.
pub fn store_name(text: &str) -> Result<Name, Error> {
    Source::parse(text)?.name().ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, format!("{text} is a path, not the name of a model"))
            .with_hint("`mullama list` shows the names")
    })
}
