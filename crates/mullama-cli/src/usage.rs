//! Errors of the command line's parser, in the words of mullama's own messages.

use std::error::Error as _;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind as Kind};
use mullama::{Error, ErrorKind};
use mullama_base::nearest;

use crate::other_programs;

/// Converts an error of the parser. Requests for help or the version are not errors, so the result is none.
pub fn explain(command: &Command, error: &clap::Error) -> Option<Error> {
    let usage = || texts(error, ContextKind::Usage).remove(0).replacen("Usage: ", "", 1);
    let arguments: Vec<_> =
        texts(error, ContextKind::InvalidArg).iter().map(|it| bare(it)).collect();
    let argument = arguments.first().cloned().unwrap_or_default();
    let value = texts(error, ContextKind::InvalidValue).into_iter().next().unwrap_or_default();
    let invalid = |message: String| Error::new(ErrorKind::InvalidArgument, message);
    Some(match error.kind() {
        Kind::DisplayHelp
        | Kind::DisplayHelpOnMissingArgumentOrSubcommand
        | Kind::DisplayVersion => return None,
        Kind::InvalidSubcommand => {
            let wrong = texts(error, ContextKind::InvalidSubcommand).remove(0);
            invalid(format!("there is no command {wrong}")).with_hint(instead_of(command, &wrong))
        }
        Kind::MissingRequiredArgument => {
            let verb = if arguments.len() == 1 { "is" } else { "are" };
            invalid(format!("{} {verb} missing", arguments.join(" and ")))
                .with_hint(format!("the command is written `{}`", usage()))
        }
        Kind::ArgumentConflict => {
            let others = texts(error, ContextKind::PriorArg);
            let others: Vec<_> = others.iter().map(|it| bare(it)).collect();
            invalid(format!("{argument} cannot be combined with {}", others.join(" and ")))
        }
        Kind::UnknownArgument if argument.starts_with('-') => {
            let error_message = invalid(format!("there is no flag {argument}"));
            let suggested = texts(error, ContextKind::SuggestedArg);
            // Every letter is similar to every other.
            let is_letter = argument.trim_start_matches('-').chars().count() < 2;
            let near = suggested.iter().find(|near| !near.is_empty() && !is_letter);
            error_message.with_hint(match (other_programs::flag(&argument), near) {
                (Some(answer), _) => answer.to_owned(),
                (None, Some(near)) => format!("did you mean {near}?"),
                (None, None) => format!("the command is written `{}`", usage()),
            })
        }
        Kind::UnknownArgument => invalid(format!("unexpected argument `{argument}`"))
            .with_hint(format!("the command is written `{}`", usage())),
        Kind::TooManyValues => invalid(format!("{argument} takes no value, and has `{value}`")),
        Kind::InvalidValue if value.is_empty() => Error::argument(&argument, "a value is required"),
        Kind::InvalidValue => {
            let known = texts(error, ContextKind::ValidValue).join(", ");
            Error::argument(&argument, format!("`{value}` is not one of {known}"))
        }
        Kind::ValueValidation => {
            let reason = error.source().map_or_else(String::new, ToString::to_string);
            Error::argument(&argument, format!("`{value}`: {reason}"))
        }
        Kind::InvalidUtf8 => invalid("an argument is not valid UTF-8".to_owned()),
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            invalid(line.trim_start_matches("error: ").to_owned())
        }
    })
}

/// What to write instead of a command that does not exist.
fn instead_of(command: &Command, wrong: &str) -> String {
    if let Some(answer) = other_programs::answer(wrong) {
        return answer.to_owned();
    }
    let names = command.get_subcommands().map(Command::get_name);
    if let Some(near) = nearest(wrong, names) {
        return format!("did you mean `mullama {near}`?");
    }
    if wrong == "demo" || wrong.contains([':', '/', '.', '\\']) {
        return format!("to run a model, write `mullama run {wrong}`");
    }
    "`mullama help` lists the commands".to_owned()
}

/// The texts of a part of the error's context; a single empty one if it has no such part.
fn texts(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) if !texts.is_empty() => texts.clone(),
        Some(ContextValue::StyledStr(text)) => vec![text.to_string()],
        _ => vec![String::new()],
    }
}

/// The name of an argument, without the notation of its values: `--prompt <TEXT>` is `--prompt`, `[PROMPT]...` is
/// `PROMPT`.
fn bare(argument: &str) -> String {
    let name = argument.split([' ', '=']).next().unwrap_or_default();
    name.trim_end_matches("...").trim_matches(['<', '>', '[', ']']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_parser_are_in_mullamas_words() {
        let mut command = crate::arguments::command();
        command.build();
        let mut explained = |line: &str| {
            let words = ["mullama"].into_iter().chain(line.split(' ').filter(|it| !it.is_empty()));
            let error = command.try_get_matches_from_mut(words).unwrap_err();
            explain(&command, &error).map(|error| error.report().replace("\nhint: ", " | "))
        };
        for (line, message) in [
            ("shpw demo", "there is no command shpw | did you mean `mullama show`?"),
            ("help shpw", "there is no command shpw | did you mean `mullama show`?"),
            ("abacus", "there is no command abacus | `mullama help` lists the commands"),
            (
                "llama3.2:1b",
                "there is no command llama3.2:1b | to run a model, write `mullama run llama3.2:1b`",
            ),
            ("run", "MODEL is missing | the command is written `mullama run <MODEL> [PROMPT]...`"),
            ("cp", "FROM and TO are missing | the command is written `mullama cp <FROM> <TO>`"),
            ("run demo -p a b", "--prompt cannot be combined with PROMPT"),
            ("--versoin", "there is no flag --versoin | did you mean --version?"),
            (
                "list --keepalive",
                "there is no flag --keepalive | models do not stay loaded: each `mullama run` loads its model and frees it at the end",
            ),
            ("-x", "there is no flag -x | the command is written `mullama <COMMAND>`"),
            ("run demo --no-pull=x", "--no-pull takes no value, and has `x`"),
            (
                "completions tcsh",
                "option `SHELL`: `tcsh` is not one of bash, elvish, fish, powershell, zsh",
            ),
            ("run demo --format", "option `--format`: a value is required"),
            ("plan demo --sweep x", "option `--sweep`: `x`: one of layers, context, kv, quant"),
        ] {
            assert_eq!(explained(line).as_deref(), Some(message), "{line}");
        }
        assert!(explained("version extra").unwrap().starts_with("unexpected argument `extra` | "));
        for line in ["--help", "help run", "--version", ""] {
            assert_eq!(explained(line), None, "{line}");
        }
    }
}
