//! `mullama run`

use std::ffi::OsString;
use std::io::{BufRead as _, IsTerminal as _, stdin};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use clap::ArgMatches;
use mullama::{Error, ErrorKind, FinishReason};
use mullama_base::{folders, read_file, thread_error};
use serde_json::{Value, json};

use super::{piped, pull, text};
use crate::failure::Failure;
use crate::session::{PromptCache, Session, Settings};
use crate::terminal::{catch_interrupts, interrupt_token, print_message};
use crate::{llama_cpp, options, repl};

/// Maximum size of a JSON schema in bytes.
const MAX_SCHEMA_SIZE: u64 = 16 << 20;

/// Runs the command. `itself` is the program and arguments that start it again.
pub fn run(arguments: &ArgMatches, itself: &[OsString]) -> Result<(), Failure> {
    let mut options = options::read(arguments)?;
    if let Some(format) = arguments.get_one::<String>("format") {
        options.insert("json_schema".to_owned(), schema(format)?);
    }
    let model = text(arguments, "model");
    let settings = Settings {
        options,
        system: arguments.get_one("system").cloned(),
        raw: arguments.get_flag("raw"),
        verbose: arguments.get_flag("verbose"),
        keep: arguments.get_flag("keep_context"),
        is_interactive: false,
        prompt_cache: arguments.get_one::<String>("prompt_cache").map(|file| PromptCache {
            file: file.into(),
            is_writable: !arguments.get_flag("prompt_cache_ro"),
        }),
    };
    let prompt = prompt(arguments)?;
    let piped = (!stdin().is_terminal()).then(PipedInput::read).transpose()?;

    catch_interrupts();
    if !arguments.get_flag("no_pull") {
        pull::pull_if_missing(model, itself)?;
    }
    let mut session = Session::start(model, settings)?;
    for file in arguments.get_many::<String>("image").into_iter().flatten() {
        session.add_image(Path::new(file))?;
    }
    let prompt = match prompt {
        // Paths of pictures in a prompt file are text.
        Some(prompt) if !arguments.contains_id("prompt_file") => {
            Some(session.attach_dropped_files(prompt)?)
        }
        other => other,
    };
    let piped = piped.map(|piped| piped.wait(prompt.is_none())).transpose()?;
    match joined(prompt, piped) {
        // As with Ollama, an empty prompt only loads the model.
        Some(prompt) if prompt.is_empty() && !session.has_images() => Ok(()),
        Some(prompt) => match session.answer(prompt)? {
            FinishReason::Cancelled => Err(Failure::Interrupted),
            _ => session.close(),
        },
        None => repl::converse(session),
    }
}

/// The prompt from the command line: words, a text, or a file.
fn prompt(arguments: &ArgMatches) -> Result<Option<String>, Error> {
    if let Some(words) = arguments.get_many::<String>("words") {
        return Ok(Some(words.map(String::as_str).collect::<Vec<_>>().join(" ")));
    }
    let given = match arguments.get_one::<String>("prompt_file") {
        Some(file) => {
            let text = llama_cpp::text_of(Path::new(file));
            Some(text.map_err(|problem| Error::argument("--prompt-file", problem))?)
        }
        None => arguments.get_one::<String>("prompt").cloned(),
    };
    Ok(given.map(|text| if arguments.get_flag("no_escape") { text } else { unescaped(&text) }))
}

/// Replaces the escape sequences that llama.cpp supports.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let letter = after.chars().next();
        let known = match letter {
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some(letter @ ('\'' | '"' | '\\')) => Some(letter),
            _ => None,
        };
        let code = after.get(1..3).filter(|_| letter == Some('x'));
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok()).filter(u8::is_ascii);
        let (letter, length) = match (known, code) {
            (Some(letter), _) => (letter, 1),
            (None, Some(code)) => (char::from(code), 3),
            (None, None) => ('\\', 0),
        };
        plain.push(letter);
        rest = after.get(length..).unwrap_or_default();
    }
    plain + rest
}

/// The JSON schema for answers: any object, or the content of a file.
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

/// The prompt from the command line followed by the piped text; `None` if there is neither.
fn joined(prompt: Option<String>, piped: Option<String>) -> Option<String> {
    match (prompt, piped) {
        (Some(prompt), Some(piped)) if !piped.is_empty() => Some(format!("{prompt}\n\n{piped}")),
        (prompt, piped) => prompt.or(piped),
    }
}

/// Maximum time to wait for the start of piped text, if there is another prompt.
const PIPE_TIMEOUT: Duration = Duration::from_millis(500);

/// Piped text, which is read while the model is loaded.
struct PipedInput {
    since: Instant,
    /// Whether some text has arrived.
    begun: Arc<AtomicBool>,
    text: Receiver<Result<String, Error>>,
}

impl PipedInput {
    /// Starts reading.
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
        thread.map_err(|error| thread_error("a thread for standard input", &error))?;
        Ok(Self { since: Instant::now(), begun, text })
    }

    /// The text, without trailing white space. A program that started the command may have left its standard input open
    /// without ever writing to it. Therefore this waits longer than `PIPE_TIMEOUT` only if the text is required or has
    /// started to arrive.
    fn wait(self, needed: bool) -> Result<String, Failure> {
        loop {
            match self.text.recv_timeout(Duration::from_millis(20)) {
                Ok(Ok(text)) => return Ok(text.trim_end().to_owned()),
                Ok(Err(error)) => return Err(error.into()),
                Err(RecvTimeoutError::Disconnected) => return Ok(String::new()),
                Err(RecvTimeoutError::Timeout) if interrupt_token().is_cancelled() => {
                    return Err(Failure::Interrupted);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let begun = self.begun.load(Ordering::Relaxed);
            if !needed && !begun && self.since.elapsed() > PIPE_TIMEOUT {
                print_message("nothing arrives on standard input: answering without it");
                return Ok(String::new());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_match_llama_cpp() {
        for (text, plain) in [
            ("a\\nb\\tc", "a\nb\tc"),
            (r#"\"a\" \'b\' \\n"#, r#""a" 'b' \n"#),
            (r"\x41\x7a", "Az"),
            (r"C:\dir \xzz \xc3 \", r"C:\dir \xzz \xc3 \"),
            ("ü\\né", "ü\né"),
        ] {
            assert_eq!(unescaped(text), plain, "{text}");
        }
    }
}
