//! `mullama run`

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, stdin, stdout};
use std::time::Duration;

use clap::ArgMatches;
use mullama::{
    CancelToken, ChatOptions, Completion, Error, ErrorKind, FinishReason, Message, Model,
};

use crate::failure::Failure;
use crate::options::{read_chat, read_load};
use crate::terminal::{Progress, bytes, catch_interrupts, interrupted, take_interrupt};

/// How long an interrupt may go unnoticed.
const GLANCE: Duration = Duration::from_millis(50);

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    let source = arguments.get_one::<String>("model").expect("the parser requires it");
    let (model_params, context_params) = read_load(arguments)?;
    let options = read_chat(arguments)?;
    let prompt = read_prompt(arguments.get_one::<String>("prompt").cloned())?;

    catch_interrupts();
    let mut progress = Progress::new();
    let model = Model::load_with_progress(source, model_params, context_params, |fraction| {
        progress.update(fraction);
        !interrupted()
    })?;
    drop(progress);
    if arguments.get_flag("verbose") {
        report_placement(&model);
    }

    let session = Session {
        raw: arguments.get_flag("raw") || !model.capabilities().chat,
        verbose: arguments.get_flag("verbose"),
        model,
        options,
    };
    let system = arguments.get_one::<String>("system").map(Message::system);
    let mut messages: Vec<_> = system.into_iter().collect();
    match prompt {
        Some(prompt) => match session.answer(&mut messages, prompt)? {
            FinishReason::Cancelled => Err(Failure::Interrupted),
            _ => Ok(()),
        },
        None => session.converse(&mut messages),
    }
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
        None if piped.is_empty() => {
            Err(Error::new(ErrorKind::InvalidArgument, "there is no prompt")
                .with_hint("give one on the command line, or pipe text in")
                .into())
        }
        None => Ok(Some(piped.to_owned())),
    }
}

struct Session {
    model: Model,
    options: ChatOptions,
    raw: bool,
    verbose: bool,
}

impl Session {
    /// Reads lines and answers them until the input ends or says so.
    fn converse(&self, messages: &mut Vec<Message>) -> Result<(), Failure> {
        eprintln!("{}: ask anything, /bye or Ctrl-D ends", self.model.name().unwrap_or("model"));
        loop {
            eprint!(">>> ");
            let mut line = String::new();
            let read = stdin().lock().read_line(&mut line)?;
            if take_interrupt() {
                eprintln!();
                continue;
            }
            if read == 0 || line.trim() == "/bye" {
                return Ok(());
            }
            if line.trim().is_empty() {
                continue;
            }
            if let Err(failure) = self.answer(messages, line.trim_end().to_owned()) {
                // A question that cannot be answered is no reason to leave.
                let Failure::Error(error) = failure else { return Err(failure) };
                eprintln!("error: {}", error.report());
                messages.pop();
            }
            take_interrupt();
        }
    }

    /// Answers a prompt on standard output, and adds both to the messages.
    fn answer(&self, messages: &mut Vec<Message>, prompt: String) -> Result<FinishReason, Failure> {
        if self.raw {
            let mut stream = self.model.stream(prompt, &self.options.generate)?;
            let cancel = stream.cancel_token();
            write_out(&cancel, || match stream.next_chunk_within(GLANCE) {
                Ok(chunk) => Ok(chunk.transpose()?.map(|chunk| chunk.text)),
                Err(()) => Ok(Some(String::new())),
            })?;
            let completion = stream.completion().ok_or_else(no_answer)?;
            self.report(completion);
            return Ok(completion.finish_reason);
        }
        messages.push(Message::user(prompt));
        let mut stream = self.model.stream_chat(messages, &self.options)?;
        let cancel = stream.cancel_token();
        write_out(&cancel, || match stream.next_chunk_within(GLANCE) {
            Ok(chunk) => Ok(chunk.transpose()?.map(|chunk| chunk.text)),
            Err(()) => Ok(Some(String::new())),
        })?;
        let completion = stream.completion().ok_or_else(no_answer)?;
        for call in &completion.message.tool_calls {
            println!("{}({})", call.function.name, call.function.arguments);
        }
        messages.push(completion.message.clone());
        self.report(completion);
        Ok(completion.finish_reason)
    }

    fn report(&self, completion: &Completion) {
        if !self.verbose {
            return;
        }
        let (usage, timings) = (&completion.usage, &completion.timings);
        let rows = [
            ("total duration", format!("{:.1} ms", timings.total_ms)),
            ("first token after", format!("{:.1} ms", timings.first_token_ms)),
            ("prompt eval count", format!("{} token(s)", usage.prompt_tokens)),
            ("prompt eval rate", format!("{:.2} tokens/s", timings.prompt_tps)),
            ("eval count", format!("{} token(s)", usage.completion_tokens)),
            ("eval rate", format!("{:.2} tokens/s", timings.decode_tps)),
            ("finish reason", completion.finish_reason.name().to_owned()),
        ];
        for (name, value) in rows {
            eprintln!("{:<21}{value}", format!("{name}:"));
        }
    }
}

/// Where the model is.
fn report_placement(model: &Model) {
    for share in &model.placement().devices {
        eprintln!(
            "{:<21}{} layers, {} weights, {} KV cache, {} compute",
            format!("{}:", share.name),
            share.layers,
            bytes(share.weights),
            bytes(share.kv),
            bytes(share.compute)
        );
    }
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Internal, "the stream ended without an answer")
}

/// Writes pieces of text as they come, and a closing newline; an interrupt cancels.
fn write_out(
    cancel: &CancelToken,
    mut next: impl FnMut() -> mullama::Result<Option<String>>,
) -> Result<(), Failure> {
    let mut out = stdout().lock();
    let mut at_line_start = true;
    while let Some(text) = next()? {
        if interrupted() {
            cancel.cancel();
        }
        if !text.is_empty() {
            write_now(&mut out, &text)?;
            at_line_start = text.ends_with('\n');
        }
    }
    if !at_line_start {
        write_now(&mut out, "\n")?;
    }
    Ok(())
}

fn write_now(out: &mut impl io::Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}
