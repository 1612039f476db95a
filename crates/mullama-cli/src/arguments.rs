//! The command line: commands, flags, help.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::options::{chat_flags, load_flags};

/// Flags of llama.cpp with one dash and several letters, which people know.
const ALIASES: &[(&str, &str)] = &[("-ngl", "--n-gpu-layers"), ("-ts", "--tensor-split")];

/// Parses the command line; ends the process where it cannot be, or where help was asked for.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> ArgMatches {
    let spelled_out = |argument: OsString| {
        let alias = ALIASES.iter().find(|(alias, _)| argument == OsStr::new(alias));
        alias.map_or(argument, |(_, name)| OsString::from(name))
    };
    command().get_matches_from(arguments.map(spelled_out))
}

/// The whole command, for parsing and for its reference page.
pub fn command() -> Command {
    let model = || {
        Arg::new("model")
            .value_name("MODEL")
            .required(true)
            .help("A GGUF file, or demo, the built-in model")
    };
    let json = || Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON");
    Command::new("mullama")
        .about("Runs language models on this machine")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("run")
                .about("Answers a prompt, or talks where none is given")
                .after_help(
                    "Examples:\n  mullama run demo \"What is the capital of France?\"\n  \
                     mullama run model.gguf -ngl 20 --temperature 0 \"Hello!\"\n  \
                     echo \"What is 2 + 3?\" | mullama run demo",
                )
                .arg(model())
                .arg(Arg::new("prompt").value_name("PROMPT").help(
                    "What to answer; text piped in is added. Without either, a conversation begins",
                ))
                .arg(
                    Arg::new("system")
                        .long("system")
                        .value_name("TEXT")
                        .help("Instructions for the whole conversation"),
                )
                .arg(
                    Arg::new("raw")
                        .long("raw")
                        .action(ArgAction::SetTrue)
                        .help("Continue the prompt as it is, without the chat template"),
                )
                .arg(
                    Arg::new("verbose")
                        .long("verbose")
                        .short('v')
                        .action(ArgAction::SetTrue)
                        .help("Print times and rates to standard error"),
                )
                .args(load_flags())
                .args(chat_flags()),
        )
        .subcommand(
            Command::new("show")
                .about("Tells what is in a model file")
                .arg(model())
                .arg(
                    Arg::new("tensors")
                        .long("tensors")
                        .action(ArgAction::SetTrue)
                        .help("List the tensors"),
                )
                .arg(
                    Arg::new("template")
                        .long("template")
                        .action(ArgAction::SetTrue)
                        .conflicts_with("tensors")
                        .help("Print the chat template and nothing else"),
                )
                .arg(json()),
        )
        .subcommand(
            Command::new("devices")
                .about("Lists the processors that models can run on")
                .after_help("A backend module that could not be loaded is listed with the reason.")
                .arg(json()),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn flags_of_llama_cpp_are_understood() {
        let line = ["mullama", "run", "demo", "-ngl", "-1", "hi"].map(OsString::from);
        let matches = parse(line.into_iter());
        let (_, run) = matches.subcommand().unwrap();
        assert_eq!(run.get_one::<String>("n_gpu_layers").unwrap(), "-1");
        assert_eq!(run.get_one::<String>("prompt").unwrap(), "hi");
    }
}
