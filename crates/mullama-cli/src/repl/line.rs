//! Parses the lines of a conversation.

use mullama_base::nearest;

use crate::dropped;

/// A question or a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Nothing to do.
    Empty,
    /// A prompt to answer.
    Ask(String),
    /// A command that starts with `/`.
    Command(Command),
}

/// A command to the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    System(String),
    Parameter { name: String, values: Vec<String> },
    Verbose(bool),
    Show(Topic),
    Image(String),
    Clear,
    Save(String),
    Load(String),
    Bye,
    Help,
}

/// The information that `/show` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Info,
    System,
    Parameters,
    Template,
    License,
    Modelfile,
}

/// The help text.
pub const HELP: &str = "\
/set system TEXT            instructions for the whole conversation
/set parameter NAME VALUE   an option of a Modelfile: temperature 0, num_ctx 4096, stop END
/set verbose | quiet        print times and rates, or do not
/show [info | system | parameters | template | license | modelfile]
/image FILE                 a picture for the next message
/clear                      start a new conversation
/save NAME | ./FILE         save the conversation as a model, or as a Modelfile
/load NAME | ./FILE         change to another model, or continue a saved conversation
/bye                        end; so does Ctrl-D
/?                          this list

Enclose a text of several lines in \"\"\". Ctrl-C stops an answer.
";

/// All commands, for completion. Those that require an argument end with a space.
const COMMANDS: [&str; 19] = [
    "/set system ",
    "/set parameter ",
    "/set verbose",
    "/set quiet",
    "/show",
    "/show info",
    "/show system",
    "/show parameters",
    "/show template",
    "/show license",
    "/show modelfile",
    "/image ",
    "/clear",
    "/save ",
    "/load ",
    "/bye",
    "/exit",
    "/help",
    "/?",
];

/// The commands that start with this text.
pub fn completions(start: &str) -> impl Iterator<Item = &'static str> {
    let typed = if start.starts_with('/') { start } else { "\0" };
    COMMANDS.into_iter().filter(move |command| command.starts_with(typed))
}

const QUOTES: &str = "\"\"\"";

/// Joins lines of a text that spans several of them.
#[derive(Default)]
pub struct LineBuffer(String);

impl LineBuffer {
    /// Adds a line. Returns the whole text once it is complete.
    pub fn add(&mut self, line: &str) -> Option<String> {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(line);
        let open = self.0.matches(QUOTES).count() % 2 == 1;
        (!open).then(|| std::mem::take(&mut self.0))
    }

    /// Whether a text has been started but not completed.
    pub fn is_open(&self) -> bool {
        !self.0.is_empty()
    }

    /// Discards the lines so far.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Parses the input. The error is a message for the user.
pub fn parse(text: &str) -> Result<Line, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Line::Empty);
    }
    // A path of a picture that was dropped may begin with `/` too.
    if !text.starts_with('/') || dropped::begins_with_picture(text) {
        let text = strip_quotes(text);
        return Ok(if text.trim().is_empty() { Line::Empty } else { Line::Ask(text) });
    }
    let (command, rest) = word(text);
    Ok(Line::Command(match command {
        "/set" => set(rest)?,
        "/show" => Command::Show(topic(rest)?),
        "/image" => Command::Image(strip_quotes(&required_text(rest, "/image FILE")?)),
        "/clear" => Command::Clear,
        "/save" => Command::Save(required_text(rest, "/save NAME or /save ./FILE")?),
        "/load" => Command::Load(required_text(rest, "/load NAME or /load ./FILE")?),
        "/bye" | "/exit" | "/quit" => Command::Bye,
        "/?" | "/help" => Command::Help,
        _ => {
            let near = nearest(command, COMMANDS.iter().map(|known| word(known).0));
            let meant = near.map_or(String::new(), |near| format!("did you mean {near}? "));
            return Err(format!("there is no command {command}; {meant}/? lists them"));
        }
    }))
}

fn set(text: &str) -> Result<Command, String> {
    let (what, rest) = word(text);
    match what {
        "system" => Ok(Command::System(strip_quotes(rest))),
        "parameter" => {
            let usage = "/set parameter NAME VALUE";
            let (name, rest) = word(rest);
            let values = values(&required_text(rest, usage)?);
            Ok(Command::Parameter { name: name.to_owned(), values })
        }
        "verbose" => Ok(Command::Verbose(true)),
        "quiet" => Ok(Command::Verbose(false)),
        _ => Err("there are /set system, parameter, verbose and quiet".to_owned()),
    }
}

fn topic(text: &str) -> Result<Topic, String> {
    Ok(match text {
        "" | "info" => Topic::Info,
        "system" => Topic::System,
        "parameters" => Topic::Parameters,
        "template" => Topic::Template,
        "license" => Topic::License,
        "modelfile" => Topic::Modelfile,
        _ => {
            return Err(
                "there are /show info, system, parameters, template, license and modelfile"
                    .to_owned(),
            );
        }
    })
}

fn required_text(text: &str, usage: &str) -> Result<String, String> {
    if text.is_empty() { Err(format!("write {usage}")) } else { Ok(text.to_owned()) }
}

/// The first word, and the rest.
fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim())
}

/// Splits values at spaces. A value with spaces must be quoted.
fn values(text: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let quoted = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
        let (value, after) = quoted.unwrap_or_else(|| word(rest));
        values.push(value.to_owned());
        rest = after.trim_start();
    }
    values
}

/// The text without surrounding quotes.
fn strip_quotes(text: &str) -> String {
    let text = text.trim();
    for quotes in [QUOTES, "\""] {
        let inner = text.strip_prefix(quotes).and_then(|rest| rest.strip_suffix(quotes));
        if let Some(inner) = inner
            && !inner.contains(quotes)
        {
            return inner.trim_matches('\n').to_owned();
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Command {
        match parse(text) {
            Ok(Line::Command(command)) => command,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn lines_without_a_command_are_prompts() {
        assert_eq!(parse("  "), Ok(Line::Empty));
        assert_eq!(parse("\"\"\"\"\"\""), Ok(Line::Empty));
        assert_eq!(parse("What is a / b?"), Ok(Line::Ask("What is a / b?".into())));
        assert_eq!(parse("say \"hi\""), Ok(Line::Ask("say \"hi\"".into())));
        assert_eq!(parse("\"\"\"\na\nb\n\"\"\""), Ok(Line::Ask("a\nb".into())));
    }

    #[test]
    fn commands_have_arguments() {
        assert_eq!(command("/set system Be short."), Command::System("Be short.".into()));
        assert_eq!(command("/set system \"\"\"a\nb\"\"\""), Command::System("a\nb".into()));
        let parameter = |name: &str, values: &[&str]| Command::Parameter {
            name: name.into(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        assert_eq!(command("/set parameter top_k 5"), parameter("top_k", &["5"]));
        assert_eq!(command("/set parameter stop \"a b\" c"), parameter("stop", &["a b", "c"]));
        assert_eq!(command("/set quiet"), Command::Verbose(false));
        assert_eq!(command("/show"), Command::Show(Topic::Info));
        assert_eq!(command("/show modelfile"), Command::Show(Topic::Modelfile));
        assert_eq!(command("/save my-chat"), Command::Save("my-chat".into()));
        assert_eq!(command("/bye"), Command::Bye);
        assert_eq!(command("/?"), Command::Help);
    }

    #[test]
    fn unknown_commands_are_reported() {
        assert!(parse("/sbow").unwrap_err().contains("did you mean /show?"));
        assert!(!parse("/nonsense").unwrap_err().contains("did you mean"));
        assert!(parse("/set").unwrap_err().contains("/set system"));
        assert!(parse("/set parameter top_k").unwrap_err().contains("NAME VALUE"));
        assert!(parse("/show me").unwrap_err().contains("modelfile"));
        assert!(parse("/load").is_err());
    }

    #[test]
    fn commands_are_completed() {
        let of = |start: &'static str| completions(start).collect::<Vec<_>>();
        assert_eq!(of("/set p"), ["/set parameter "]);
        assert_eq!(of("/cl"), ["/clear"]);
        assert_eq!(of("/show ").len(), 6);
        assert!(of("").is_empty() && of("show").is_empty() && of("/x").is_empty());
        for command in completions("/") {
            let whole =
                if command.ends_with(' ') { format!("{command}x 1") } else { command.into() };
            assert!(parse(&whole).is_ok(), "{command}");
        }
    }

    #[test]
    fn triple_quotes_span_lines() {
        let mut lines = LineBuffer::default();
        assert_eq!(lines.add("one"), Some("one".into()));
        assert_eq!(lines.add("\"\"\"a"), None);
        assert!(lines.is_open());
        assert_eq!(lines.add(""), None);
        assert_eq!(lines.add("b\"\"\""), Some("\"\"\"a\n\nb\"\"\"".into()));
        assert!(!lines.is_open());
    }
}
