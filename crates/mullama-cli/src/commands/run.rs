//! `mullama run`

use std::io::{IsTerminal as _, Read as _, stdin};
use std::path::Path;

use clap::ArgMatches;
use mullama::{Error, ErrorKind, FinishReason};
use mullama_base::read_file;
use serde_json::{Value, json};

use super::text;
use crate::failure::Failure;
use crate::session::{Session, Settings};
use crate::terminal::catch_interrupts;
use crate::{options, repl};

/// Bytes of the longest JSON schema.
const MAX_SCHEMA_SIZE: u64 = 16 << 20;

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    if arguments.contains_id("image") {
        return Err(Error::new(ErrorKind::Unsupported, "images cannot be given to a model yet")
            .with_hint("leave --image out; mullama takes text")
            .into());
    }
    let mut options = options::read(arguments)?;
    if let Some(format) = arguments.get_one::<String>("format") {
        options.insert("json_schema".to_owned(), schema(format)?);
    }
    let settings = Settings {
        options,
        system: arguments.get_one("system").cloned(),
        raw: arguments.get_flag("raw"),
        verbose: arguments.get_flag("verbose"),
        keep: arguments.get_flag("keep_context"),
    };
    let prompt = read_prompt(arguments.get_one::<String>("prompt").cloned())?;

    catch_interrupts();
    let mut session = Session::start(text(arguments, "model"), settings)?;
    match prompt {
        // As with Ollama: it has been shown that the model loads, and nothing was asked.
        Some(prompt) if prompt.is_empty() => Ok(()),
        Some(prompt) => match session.answer(prompt)? {
            FinishReason::Cancelled => Err(Failure::Interrupted),
            _ => Ok(()),
        },
        None => repl::converse(session),
    }
}

/// The schema that answers follow: any JSON object, or what a file says.
fn schema(format: &str) -> Result<Value, Error> {
    if format == "json" {
        return Ok(json!({ "type": "object" }));
    }
    let problem = |what: String| {
        Error::option("format", what).with_hint("give json, or the path of a JSON schema")
    };
    let bytes = read_file(Path::new(format), MAX_SCHEMA_SIZE)
        .map_err(|error| problem(format!("cannot read {format}: {error}")))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| problem(format!("{format} is not valid JSON: {error}")))
}

/// The prompt from the command line, with what is piped in; `None` where there is neither.
fn read_prompt(prompt: Option<String>) -> Result<Option<String>, Failure> {
    if stdin().is_terminal() {
        return Ok(prompt);
    }
    let mut piped = String::new();
    stdin().read_to_string(&mut piped).map_err(|error| {
        Error::new(ErrorKind::Io, format!("cannot read the text that is piped in: {error}"))
    })?;
    let piped = piped.trim_end();
    match prompt {
        Some(prompt) if piped.is_empty() => Ok(Some(prompt)),
        Some(prompt) => Ok(Some(format!("{prompt}\n\n{piped}"))),
        None => Ok(Some(piped.to_owned())),
    }
}
