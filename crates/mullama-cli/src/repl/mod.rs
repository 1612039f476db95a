//! An interactive conversation on a terminal.

mod line;

use std::io::{IsTerminal as _, stdout};
use std::path::{Path, PathBuf};

use mullama::hub::{CreateOptions, Message, Modelfile, Parameters, Source};
use mullama::{Error, ErrorKind, FinishReason, ResolvedModel, Role, create_model};
use mullama_base::{folders, write_durably};
use rustyline::completion::Completer;
use rustyline::config::{Behavior, CompletionType};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};

use self::line::{Command, HELP, Line, LineBuffer, Topic};
use crate::commands::show;
use crate::commands::store_name;
use crate::failure::Failure;
use crate::options::is_for_loading;
use crate::session::{Session, Settings};
use crate::source;
use crate::terminal::{forget_interrupt, print, print_message};

/// Maximum number of entries in the history.
const MAX_HISTORY: usize = 1000;

/// Reads and answers lines until the input ends or the user leaves.
pub fn converse(mut session: Session) -> Result<(), Failure> {
    session.settings.is_interactive = true;
    let name = session.model.name().unwrap_or("model").to_owned();
    print_message(format_args!("{name}: ask anything; /? lists the commands, /bye or Ctrl-D ends"));
    let mut input = Input::new()?;
    while let Some(text) = input.next()? {
        let done = match line::parse(&text) {
            Ok(Line::Empty) => Ok(false),
            Ok(Line::Ask(prompt)) => answer(&mut session, prompt),
            Ok(Line::Command(command)) => execute_command(&mut session, command),
            Err(problem) => {
                print_message(problem);
                Ok(false)
            }
        };
        forget_interrupt();
        match done {
            Ok(true) => break,
            Ok(false) => {}
            // A failed command does not end the conversation.
            Err(Failure::Error(error)) if !session.model.is_closed() => {
                let error = match error.kind() {
                    ErrorKind::ContextOverflow => error.with_hint(session.context_hint()),
                    _ => error,
                };
                print_message(format_args!("error: {}", error.report()));
            }
            Err(Failure::Interrupted) if !session.model.is_closed() => {}
            Err(failure) => return Err(failure),
        }
    }
    session.close()
}

fn answer(session: &mut Session, prompt: String) -> Result<bool, Failure> {
    let prompt = session.attach_dropped_files(prompt)?;
    if session.answer(prompt)? == FinishReason::Cancelled {
        print_message("(stopped)");
    }
    Ok(false)
}

/// Completes commands on Tab.
struct Commands;

impl Completer for Commands {
    type Candidate = &'static str;

    fn complete(
        &self,
        line: &str,
        end: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<&'static str>)> {
        Ok((0, line::completions(&line[..end]).collect()))
    }
}

impl Hinter for Commands {
    type Hint = String;
}

impl Highlighter for Commands {}
impl Validator for Commands {}
impl Helper for Commands {}

/// Reads lines from the terminal, with a history.
struct Input {
    editor: Editor<Commands, FileHistory>,
    history: Option<PathBuf>,
    lines: LineBuffer,
}

impl Input {
    fn new() -> Result<Self, Failure> {
        // If standard output is redirected, lines are still edited on the terminal.
        let behavior = if stdout().is_terminal() { Behavior::Stdio } else { Behavior::PreferTerm };
        let config = Config::builder()
            .behavior(behavior)
            .completion_type(CompletionType::List)
            .history_ignore_space(true)
            .max_history_size(MAX_HISTORY)
            .map_err(unreadable)?
            .build();
        let mut editor = Editor::with_config(config).map_err(unreadable)?;
        editor.set_helper(Some(Commands));
        let history = folders::data_dir().map(|data| data.join("history"));
        if let Some(history) = history.as_ref().filter(|history| history.is_file()) {
            // The file does not exist at the first start.
            let _ = editor.load_history(history);
        }
        Ok(Self { editor, history, lines: LineBuffer::default() })
    }

    /// The next input, which may span several lines; `None` at the end.
    fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            let prompt = if self.lines.is_open() { "... " } else { ">>> " };
            match self.editor.readline(prompt) {
                Ok(line) => {
                    if let Some(text) = self.lines.add(&line) {
                        self.add_to_history(&text);
                        return Ok(Some(text));
                    }
                }
                Err(ReadlineError::Interrupted) => {
                    if !self.lines.is_open() {
                        print_message("/bye or Ctrl-D ends");
                    }
                    self.lines.clear();
                }
                Err(ReadlineError::Eof) => return Ok(None),
                Err(error) => return Err(unreadable(error)),
            }
        }
    }

    /// Adds an entry to the history. Failures to save it are ignored.
    fn add_to_history(&mut self, text: &str) {
        if text.trim().is_empty() || !matches!(self.editor.add_history_entry(text), Ok(true)) {
            return;
        }
        if let Some(history) = &self.history {
            let _ = history.parent().map(std::fs::create_dir_all);
            let _ = self.editor.append_history(history);
        }
    }
}

fn unreadable(error: ReadlineError) -> Failure {
    match error {
        ReadlineError::Io(error) => Failure::Error(Error::new(
            ErrorKind::Io,
            format!("cannot read from the terminal: {error}"),
        )),
        error => Failure::Error(Error::new(
            ErrorKind::Internal,
            format!("cannot read from the terminal: {error}"),
        )),
    }
}

/// Executes a command. Returns true if the conversation ends.
fn execute_command(session: &mut Session, command: Command) -> Result<bool, Failure> {
    match command {
        Command::Bye => return Ok(true),
        Command::Help => print(HELP)?,
        Command::System(text) => session.system = Some(text).filter(|text| !text.is_empty()),
        Command::Parameter { name, values } => set(session, &name, &values)?,
        Command::Verbose(verbose) => session.settings.verbose = verbose,
        Command::Show(topic) => print(shown(session, topic)?)?,
        Command::Image(file) => session.add_image(Path::new(&file))?,
        Command::Clear => session.clear()?,
        Command::Save(to) => save(session, &to)?,
        Command::Load(from) => load(session, &from)?,
    }
    Ok(false)
}

fn set(session: &mut Session, name: &str, values: &[String]) -> Result<(), Failure> {
    let name = Parameters::name_of(name);
    let mut parameters = Parameters::default();
    // A list is replaced, not extended.
    for (known, value) in session.parameters.iter().filter(|(known, _)| *known != name) {
        for value in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            parameters.set(known, &text)?;
        }
    }
    if name != "stop" && values.len() > 1 {
        return Err(Error::argument(name, "takes one value").into());
    }
    for value in values {
        parameters.set(name, value)?;
    }
    if parameters.unused().any(|unused| unused == name) {
        print_message(format_args!("{name} is saved with the model, but mullama does not use it"));
    }
    let mut one = Parameters::default();
    if let Some(value) = values.first() {
        one.set(name, value)?;
    }
    if one.to_options().keys().any(|option| is_for_loading(option)) {
        session.reload(parameters)
    } else {
        session.set(parameters)
    }
}

fn shown(session: &Session, topic: Topic) -> Result<String, Failure> {
    let none = |what: &str| format!("there is no {what}\n");
    Ok(match topic {
        Topic::Info => show::describe_model(&session.found)?,
        Topic::System => session.system.as_ref().map_or_else(|| none("system message"), lines),
        Topic::Parameters => {
            let set = show::options(&session.option_values());
            if set.is_empty() { none("parameter that was set") } else { set }
        }
        Topic::Template => {
            session.model.chat_template().map_or_else(|| none("chat template"), lines)
        }
        Topic::License => show::license(&session.found)?.map_or_else(|| none("license"), lines),
        Topic::Modelfile => modelfile(session).to_text()?,
    })
}

/// The text with exactly one trailing newline.
fn lines(text: impl AsRef<str>) -> String {
    format!("{}\n", text.as_ref().trim_end_matches('\n'))
}

/// A Modelfile for a model that continues this conversation.
fn modelfile(session: &Session) -> Modelfile {
    let mut file = Modelfile::from_model(source::from(&session.found));
    file.system.clone_from(&session.system);
    file.parameters = session.parameters.clone();
    for message in &session.messages {
        let role = match message.role {
            Role::System | Role::Developer => "system",
            Role::Assistant => "assistant",
            Role::User => "user",
            _ => continue,
        };
        file.messages.push(Message { role: role.to_owned(), content: message.text() });
    }
    file
}

/// The path that the text refers to; `None` if it is a name.
fn path(text: &str) -> Result<Option<PathBuf>, Error> {
    Ok(match Source::parse(text)? {
        Source::Path(path) => Some(folders::expand_home(&path).into_owned()),
        _ => None,
    })
}

fn save(session: &Session, to: &str) -> Result<(), Failure> {
    let file = modelfile(session);
    if let Some(path) = path(to)? {
        let text = file.to_text()?;
        write_durably(&path, text.as_bytes()).map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot write {}: {error}", path.display()))
        })?;
        print_message(format_args!("saved as {}", path.display()));
    } else {
        let name = store_name(to)?;
        let model = create_model(&name, &file, CreateOptions::default())?;
        print_message(format_args!("saved as {}", model.name));
    }
    Ok(())
}

/// Continues with another model, or with a conversation saved in a file.
fn load(session: &mut Session, from: &str) -> Result<(), Failure> {
    let saved = match path(from)? {
        Some(path) if !is_gguf(&path) => Some(read_modelfile(&path)?),
        _ => None,
    };
    let source = match &saved {
        Some(file) => file.from.first().map_or(from, String::as_str),
        None => from,
    };
    let settings = Settings {
        options: session.settings.options.clone(),
        system: session.settings.system.clone(),
        // The cache of one model is useless for another.
        prompt_cache: None,
        ..session.settings
    };
    // Memory may not suffice for two models. Check that the new one exists before closing the old
    // one.
    ResolvedModel::find(source)?;
    session.model.close();
    let mut next = match Session::start(source, settings) {
        Ok(next) => next,
        Err(failure) => {
            session.restore()?;
            return Err(failure);
        }
    };
    if let Some(file) = saved {
        if let Some(system) = file.system {
            next.system = Some(system);
        }
        next.messages = Vec::new();
        for Message { role, content } in file.messages {
            let role = match role.as_str() {
                "system" => Role::System,
                "assistant" => Role::Assistant,
                _ => Role::User,
            };
            next.messages.push(mullama::Message::new(role, content));
        }
        if !file.parameters.is_empty() {
            next.reload(file.parameters)?;
        }
    }
    *session = next;
    print_message(format_args!("now using {}", session.model.name().unwrap_or(from)));
    Ok(())
}

fn read_modelfile(path: &Path) -> Result<Modelfile, Failure> {
    let file = Modelfile::read(path)?;
    if file.template.is_some() || !file.adapters.is_empty() || file.from.len() > 1 {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{} defines another model, with a template, adapters or several files",
                path.display()
            ),
        )
        .with_hint(format!("run `mullama create NAME -f {}`, then /load NAME", path.display()))
        .into());
    }
    Ok(file)
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"))
}
