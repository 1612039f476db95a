//! Generates the reference page of the command, `docs/reference/command-line.md`, from the command's own description,
//! and detects when the page is out of date.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command};

use crate::arguments::{EXIT_CODES_HEADING, command};
use crate::llama_cpp;

/// If set, the test writes the page.
const WRITE_VARIABLE: &str = "MULLAMA_WRITE_REFERENCE";

const PAGE_HEADER: &str = "\
# Command line

<!-- Written by `make reference` from what the command says of itself: change that, not this. -->

Every command and flag of `mullama`. [Models in the shell](../guide/command-line.md) introduces them;
`mullama help COMMAND` prints the same.

";

/// Groups of flags that several commands share; described once.
const SHARED: [(&str, &str); 3] = [
    ("Hardware", "Flags of `mullama plan` that describe the machine."),
    ("Loading", "Flags of the commands that load a model or plan for it."),
    ("Generation", "Flags of the commands that answer."),
];

fn page() -> String {
    let mut root = command();
    root.build();
    let mut page = PAGE_HEADER.to_owned();
    page += "| Command | Does |\n| --- | --- |\n";
    let commands: Vec<_> =
        root.get_subcommands().filter(|command| command.get_name() != "help").collect();
    for command in &commands {
        let (name, about) = (command.get_name(), about(command));
        let _ = writeln!(page, "| [`{name}`](#mullama-{name}) | {about} |");
    }
    for command in &commands {
        page += &section(command);
    }
    for (heading, text) in SHARED {
        let flags =
            |command: &&&Command| command.get_arguments().any(|arg| has_heading(arg, heading));
        let first = commands.iter().find(flags).expect("a command has these flags");
        let flags =
            first.get_arguments().filter(|arg| has_heading(arg, heading) && !arg.is_hide_set());
        let _ = write!(page, "\n## {heading}\n\n{text}\n\n{}", table("Flag", flags));
    }
    let closing = root.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let at = closing.find(EXIT_CODES_HEADING).expect("the help has the exit codes");
    let _ = write!(
        page,
        "\n## Exit codes and environment\n\n```text\n{}\n```\n\n[Errors](errors.md) says when each \
         kind comes, [GPUs](../guide/gpu.md#environment-variables) which variables choose \
         processors.\n",
        closing[at..].trim_end()
    );
    page
}

fn section(command: &Command) -> String {
    let name = command.get_name();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    let mut section =
        format!("\n## mullama {name}\n\n{}.\n\n```text\n{usage}\n```\n", about(command));
    for alias in command.get_visible_aliases() {
        let _ = write!(section, "\nAlso `mullama {alias}`.\n");
    }
    let own = |arg: &&Arg| arg.get_help_heading().is_none() && !arg.is_hide_set();
    if command.get_positionals().any(|arg| own(&arg)) {
        let _ = write!(section, "\n{}", table("Argument", command.get_positionals().filter(own)));
    }
    let is_help = |arg: &&Arg| matches!(arg.get_id().as_str(), "help" | "version");
    let flags: Vec<_> = command
        .get_arguments()
        .filter(|arg| !arg.is_positional())
        .filter(own)
        .filter(|a| !is_help(a))
        .collect();
    if !flags.is_empty() {
        let _ = write!(section, "\n{}", table("Flag", flags.into_iter()));
    }
    let shared = SHARED.map(|(heading, _)| heading).into_iter();
    let shared: Vec<_> = shared
        .filter(|heading| command.get_arguments().any(|arg| has_heading(arg, heading)))
        .map(|heading| format!("[{heading}](#{})", heading.to_lowercase()))
        .collect();
    if !shared.is_empty() {
        let _ = write!(section, "\nAnd the flags of {}.\n", shared.join(" and "));
    }
    if let Some(help) = command.get_after_help() {
        section += &closing(&help.to_string());
    }
    section
}

/// The text after a command's flags: sentences, then examples.
fn closing(help: &str) -> String {
    let (text, examples) = help.split_once("Example").unwrap_or((help, ""));
    let mut closing = String::new();
    if !text.trim().is_empty() {
        let _ = write!(closing, "\n{}\n", text.trim());
    }
    if let Some((_, examples)) = examples.split_once('\n') {
        let lines: Vec<_> = examples.lines().map(str::trim).collect();
        let _ = write!(closing, "\n```text\n{}\n```\n", lines.join("\n"));
    }
    closing
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn has_heading(arg: &Arg, heading: &str) -> bool {
    arg.get_help_heading() == Some(heading)
}

fn table<'a>(title: &str, args: impl Iterator<Item = &'a Arg>) -> String {
    let mut table = format!("| {title} | Meaning |\n| --- | --- |\n");
    for arg in args {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let default: Vec<_> =
            arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = match default.join(", ") {
            none if none.is_empty() || !arg.get_action().takes_values() => String::new(),
            default => format!(". Default: {default}"),
        };
        let _ = writeln!(table, "| {} | {}{default} |", names(arg), escaped(&help));
    }
    table
}

/// The syntax of an argument: `--n-gpu-layers N|auto`, `-ngl`.
fn names(arg: &Arg) -> String {
    let values = if arg.get_action().takes_values() {
        let names = arg.get_value_names().unwrap_or_default();
        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    } else {
        String::new()
    };
    let Some(long) = arg.get_long() else { return code(&values) };
    let flag = format!("--{long}");
    let short = arg.get_short().map(|short| format!("-{short}"));
    let alias = llama_cpp::spellings_of(arg).into_iter().map(str::to_owned);
    let separator = if arg.is_require_equals_set() { "=" } else { " " };
    let first = format!("{flag}{separator}{values}");
    let first =
        if arg.is_require_equals_set() && arg.get_num_args().is_some_and(|n| n.min_values() == 0) {
            format!("{flag}[={values}]")
        } else {
            first
        };
    let others = short.into_iter().chain(alias);
    std::iter::once(first.trim().to_owned())
        .chain(others)
        .map(|name| code(&name))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Formats code for a table cell, in which a bar must be escaped.
pub fn code(text: &str) -> String {
    format!("<code>{}</code>", escaped(text))
}

pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('|', "&#124;")
}

#[test]
fn command_line_reference_page_matches_the_command() {
    write_or_check("reference/command-line.md", |_| page());
}

/// Updates a page of the documentation from its current text, or fails if that would change it.
pub fn write_or_check(name: &str, make: impl FnOnce(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let page = make(&written);
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        std::fs::write(&path, page).unwrap();
    } else {
        assert!(written == page, "{} is out of date: run `make reference`", path.display());
    }
}
