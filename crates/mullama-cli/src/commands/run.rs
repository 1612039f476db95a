//! `mullama run`

use std::io::{BufRead as _, IsTerminal as _, stdin};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use clap::ArgMatches;
use mullama::{Error, ErrorKind, FinishReason};
use mullama_base::{folders, no_thread, read_file};
use serde_json::{Value, json};

use super::{piped, text};
use crate::failure::Failure;
use crate::session::{Session, Settings};
use crate::terminal::{catch_interrupts, interrupt, tell};
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
    let prompt = arguments.get_one::<String>("prompt").cloned();
    let piped = (!stdin().is_terminal()).then(Piped::read).transpose()?;

    catch_interrupts();
    let mut session = Session::start(text(arguments, "model"), settings)?;
    let piped = piped.map(|piped| piped.wait(prompt.is_none())).transpose()?;
    match joined(prompt, piped) {
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
    let bytes = read_file(&folders::expand_home(Path::new(format)), MAX_SCHEMA_SIZE)
        .map_err(|error| problem(format!("cannot read {format}: {error}")))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| problem(format!("{format} is not valid JSON: {error}")))
}

/// The prompt from the command line, with what is piped in; `None` where there is neither.
fn joined(prompt: Option<String>, piped: Option<String>) -> Option<String> {
    match (prompt, piped) {
        (Some(prompt), Some(piped)) if !piped.is_empty() => Some(format!("{prompt}\n\n{piped}")),
        (prompt, piped) => prompt.or(piped),
    }
}

/// How long text that is piped in may take to begin, where there is a prompt without it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Text that is piped in: read while the model is loaded.
struct Piped {
    since: Instant,
    /// Whether some of it has come.
    begun: Arc<AtomicBool>,
    text: Receiver<Result<String, Error>>,
}

impl Piped {
    /// Begins to read.
    fn read() -> Result<Self, Error> {
        let (sender, text) = mpsc::channel();
        let begun = Arc::new(AtomicBool::new(false));
        let has_begun = Arc::clone(&begun);
        let read = move || {
            let first = stdin().lock().fill_buf().map(|first| !first.is_empty());
            has_begun.store(first.unwrap_or(false), Ordering::Relaxed);
            let _ = sender.send(piped("text").and_then(|bytes| {
                String::from_utf8(bytes).map_err(|error| {
                    let message = format!("cannot read the text that is piped in: {error}");
                    Error::new(ErrorKind::Io, message)
                })
            }));
        };
        let thread = thread::Builder::new().name("mullama-stdin".to_owned()).spawn(read);
        thread.map_err(|error| no_thread("a thread for standard input", &error))?;
        Ok(Self { since: Instant::now(), begun, text })
    }

    /// The text, without white space at its end. A program that started the command may have left it a
    /// standard input that is open, and into which nothing is ever written: only where the text is needed,
    /// or has begun, is it waited for.
    fn wait(self, needed: bool) -> Result<String, Failure> {
        loop {
            match self.text.recv_timeout(Duration::from_millis(20)) {
                Ok(Ok(text)) => return Ok(text.trim_end().to_owned()),
                Ok(Err(error)) => return Err(error.into()),
                Err(RecvTimeoutError::Disconnected) => return Ok(String::new()),
                Err(RecvTimeoutError::Timeout) if interrupt().is_cancelled() => {
                    return Err(Failure::Interrupted);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let begun = self.begun.load(Ordering::Relaxed);
            if !needed && !begun && self.since.elapsed() > PATIENCE {
                tell("standard input is open, and nothing comes from it: answering without it");
                return Ok(String::new());
            }
        }
    }
}
