//! The command line: commands, flags, help.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::{Arg, ArgAction, ArgMatches, Command};
use mullama::{Error, ErrorKind};

use crate::options::{chat_flags, load_flags, plan_flags};
use crate::spelling::{NormalizedArguments, normalize};
use crate::terminal::print_message;
use crate::{llama_cpp, plot, usage};

const EXAMPLES: &str = "\
Examples:
  mullama run demo \"What is the capital of France?\"
  mullama pull llama3.2:1b
  mullama run llama3.2:1b
  mullama list

`mullama help COMMAND` describes a command, `mullama help` lists the exit codes.";

/// Why a command line was not accepted.
#[derive(Debug)]
pub enum Refusal {
    /// The help or the version, which the user requested.
    Help(Box<clap::Error>),
    /// An error.
    Error(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Parses the command line. A request for help is returned as a refusal.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<ArgMatches, Refusal> {
    let mut command = with_spellings(command());
    command.build();
    command = command.mut_subcommand("help", |help| help.about("Describes a command"));
    let NormalizedArguments { arguments, notes } = normalize(&command, arguments.collect())?;
    let matches = command.try_get_matches_from_mut(arguments).map_err(|error| {
        usage::explain(&command, &error)
            .map_or_else(|| Refusal::Help(Box::new(error)), Refusal::Error)
    })?;
    for note in notes {
        print_message(format_args!("note: {note}"));
    }
    Ok(matches)
}

/// Lists llama.cpp's names of flags in the help.
fn with_spellings(command: Command) -> Command {
    let named = |arg: Arg| {
        let others = llama_cpp::spellings_of(&arg);
        match arg.get_help() {
            Some(help) if !others.is_empty() => {
                let help = format!("{help} [also: {}]", others.join(", "));
                arg.help(help)
            }
            _ => arg,
        }
    };
    command.mut_subcommands(|command| command.mut_args(named))
}

/// The definition of the whole command, for parsing and for the reference page.
pub fn command() -> Command {
    Command::new("mullama")
        .about("Runs language models on this machine")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([
            run(),
            pull(),
            list(),
            show(),
            cp(),
            rm(),
            create(),
            devices(),
            plan(),
            rpc_server(),
            completions(),
            version(),
        ])
        .after_help(EXAMPLES)
        .after_long_help(format!("{EXAMPLES}\n\n{}", exit_codes()))
}

fn model() -> Arg {
    Arg::new("model")
        .value_name("MODEL")
        .required(true)
        .help("The name of a model, a GGUF file, or demo, the built-in model; -m MODEL is the same")
}

/// A flag without a value.
fn switch(id: &'static str, help: &'static str) -> Arg {
    Arg::new(id).long(id.replace('_', "-")).action(ArgAction::SetTrue).help(help)
}

fn name(id: &'static str, value_name: &'static str) -> Arg {
    Arg::new(id).value_name(value_name).required(true)
}

fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON")
}

fn run() -> Command {
    Command::new("run")
        .about("Answers a prompt, or starts a chat if there is none")
        .after_help(
            "A model that is not in the local store is downloaded first. Flags of llama.cpp and ik_llama.cpp are \
             accepted.\n\n\
             Examples:\n  mullama run demo \"What is the capital of France?\"\n  \
                     mullama run llama3.2:1b Why is the sky blue?\n  \
                     mullama run -m model.gguf -ngl 20 --temp 0 -p \"Hello!\"\n  \
                     echo \"What is 2 + 3?\" | mullama run demo\n  \
                     mullama run demo --keep-context \"And of Japan?\"",
        )
        .arg(model())
        .arg(Arg::new("words").value_name("PROMPT").num_args(0..).help(
            "The prompt; text from standard input is appended. Without either, a chat starts",
        ))
        .arg(
            Arg::new("prompt")
                .long("prompt")
                .short('p')
                .value_name("TEXT")
                .conflicts_with("words")
                .help(
                    "The prompt, with escape sequences as in llama.cpp: \\n, \\t, \\\", \\', \\\\ and \\xHH",
                ),
        )
        .arg(
            Arg::new("prompt_file")
                .long("prompt-file")
                .short('f')
                .value_name("FILE")
                .conflicts_with_all(["words", "prompt"])
                .help("A file that contains the prompt, with escape sequences; - is standard input"),
        )
        .arg(switch("no_escape", "Do not process escape sequences in -p and -f"))
        .arg(
            Arg::new("prompt_cache")
                .long("prompt-cache")
                .value_name("FILE")
                .help(
                    "Save the computed state of prompt and answer to this file, and load it the next time",
                ),
        )
        .arg(
            switch("prompt_cache_ro", "Load the file of --prompt-cache, but do not write it")
                .requires("prompt_cache"),
        )
        .arg(switch("no_pull", "Do not download: a model that is not in the local store is an error"))
        .arg(
            Arg::new("system")
                .long("system")
                .value_name("TEXT")
                .help("Instructions for the whole conversation"),
        )
        .arg(
            switch(
                "keep_context",
                "Continue the conversation of the last run with this flag, and save it for the next. Each model \
                 has its own",
            )
            .conflicts_with("raw"),
        )
        .arg(switch("raw", "Continue the prompt as it is, without the chat template"))
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("json|FILE")
                .conflicts_with_all(["json_schema", "grammar", "response_format"])
                .help("Answer in JSON: any object, or an answer that follows the JSON schema in a file"),
        )
        .arg(
            Arg::new("image")
                .long("image")
                .value_name("FILE")
                .action(ArgAction::Append)
                .conflicts_with("raw")
                .help("A picture for the first message (PNG, JPEG, GIF, BMP, WebP); may be given several times"),
        )
        .arg(
            Arg::new("verbose")
                .long("verbose")
                .short('v')
                .action(ArgAction::SetTrue)
                .help("Print times and rates to standard error"),
        )
        .args(load_flags())
        .args(chat_flags())
}

fn pull() -> Command {
    Command::new("pull")
        .about("Downloads a model into the store")
        .after_help(
            "An interrupted download resumes when the command is run again.\n\n\
             Examples:\n  mullama pull llama3.2:1b\n  \
                     mullama pull hf.co/user/repo-GGUF:Q4_K_M\n  \
                     mullama pull https://example.com/model.gguf",
        )
        .arg(name("name", "NAME").help(
            "A name, with a registry's host before it or without; hf.co/USER/REPO[:QUANT]; or the \
             address of a GGUF file",
        ))
        .arg(
            Arg::new("insecure")
                .long("insecure")
                .action(ArgAction::SetTrue)
                .help("Allow plain HTTP to hosts other than this machine"),
        )
}

fn list() -> Command {
    Command::new("list")
        .visible_alias("ls")
        .about("Lists the models that can be run")
        .after_help(
            "Models that other programs have downloaded are listed too, with the column SOURCE.\n\n\
             Examples:\n  mullama list\n  mullama list llama\n  mullama list --json",
        )
        .arg(
            Arg::new("name").value_name("PREFIX").help("List only names that begin with this text"),
        )
        .arg(json())
}

fn cp() -> Command {
    Command::new("cp")
        .about("Gives a model a second name; its files are shared")
        .after_help("Example:\n  mullama cp llama3.2:1b mine")
        .arg(name("from", "FROM").help("The name of a model in the store"))
        .arg(name("to", "TO").help("The new name"))
}

fn rm() -> Command {
    Command::new("rm")
        .about("Removes models, and the files that no other model uses")
        .after_help(
            "Models that other programs have downloaded are not touched.\n\n\
             Examples:\n  mullama rm mine\n  mullama rm llama3.2:1b llama3.2:3b",
        )
        .arg(name("name", "NAME").num_args(1..).help("The names of models in the store"))
}

fn create() -> Command {
    Command::new("create")
        .about("Creates a model from a Modelfile")
        .after_help(
            "A Modelfile consists of FROM and, optionally, PARAMETER, SYSTEM, TEMPLATE, ADAPTER, MESSAGE and LICENSE.\n\n\
             Examples:\n  mullama create french\n  \
             printf 'FROM llama3.2:1b\\nSYSTEM Answer in French.\\n' | mullama create french -f -",
        )
        .arg(name("name", "NAME").help("The name of the new model"))
        .arg(
            Arg::new("file")
                .long("file")
                .short('f')
                .value_name("FILE")
                .default_value("Modelfile")
                .help("The Modelfile; - is standard input"),
        )
}

fn show() -> Command {
    Command::new("show")
        .about("Shows what a model is, and where it would be placed on this machine")
        .after_help(
            "Examples:\n  mullama show demo\n  mullama show llama3.2:1b --modelfile\n  \
             mullama show model.gguf --tensors",
        )
        .arg(model())
        .arg(section_flag("tensors", "List the tensors"))
        .args([
            section_flag("modelfile", "Print the Modelfile and nothing else"),
            section_flag("parameters", "Print the parameters that come with the model"),
            section_flag("system", "Print the system message"),
            section_flag("template", "Print the chat template"),
            section_flag("license", "Print the license"),
        ])
        .arg(json().group("what"))
}

/// A flag that limits the output to one section.
fn section_flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).group("what").help(help)
}

fn devices() -> Command {
    Command::new("devices")
        .about("Lists the processors that models can run on")
        .after_help(
            "A backend module that could not be loaded is listed with the reason.\n\n\
             Examples:\n  mullama devices\n  mullama devices --rpc 10.0.0.7:50052\n  \
             mullama devices --json",
        )
        .arg(
            Arg::new("rpc")
                .long("rpc")
                .value_name("HOST:PORT,...")
                .value_delimiter(',')
                .action(ArgAction::Append)
                .help("List the devices of these workers too"),
        )
        .arg(json())
}

fn plan() -> Command {
    let device = "A device to plan for: a name of `mullama devices`; a card such as \"RTX 4090\" or \
                  \"2x RTX 3060 12GB\"; or a size such as 24GiB, after which backend=, bandwidth=, \
                  compute= and link= may follow with commas. May be repeated. Default: this \
                  machine's";
    Command::new("plan")
        .about("Shows where a model would be placed, and whether it fits, without loading it")
        .after_help(
            "The exit code is 7 if nothing fits. Flags of `mullama run`, llama.cpp and ik_llama.cpp are accepted; \
             those that do not affect placement are ignored.\n\n\
             Examples:\n  mullama plan model.gguf\n  \
             mullama plan model.gguf --device \"RTX 4090\" --device \"RTX 3060 12GB\"\n  \
             mullama plan model.gguf --compare \"RTX 3090\" \"2x RTX 4060 Ti 16GB\" \"M4 Max 64GB\"",
        )
        .arg(model())
        .arg(
            Arg::new("device")
                .long("device")
                .alias("devices")
                .short('d')
                .value_name("DEVICE")
                .allow_hyphen_values(true)
                .action(ArgAction::Append)
                .conflicts_with("compare")
                .help(device),
        )
        .arg(
            Arg::new("compare")
                .long("compare")
                .value_name("DEVICES")
                .num_args(1..)
                .action(ArgAction::Append)
                .help(
                    "Machines to compare, each written as for --device; \
                     \"RTX 3090 + RTX 3060 12GB\" has two cards",
                ),
        )
        .mut_arg("model", |model| {
            model.required(false).required_unless_present_any(["shape", "calibrate"])
        })
        .arg(
            Arg::new("shape").long("shape").value_name("KEY=VALUE,...").conflicts_with("model").help(
                "Plan for a model that need not exist: architecture=, quantization=, and the metadata \
                 of that architecture, such as block_count= and embedding_length=",
            ),
        )
        .arg(
            Arg::new("calibrate").long("calibrate").action(ArgAction::SetTrue).help(
                "Measure the memory bandwidth and compute rate of this machine's devices, and save them for predicted speeds",
            ),
        )
        .arg(
            Arg::new("sweep")
                .long("sweep")
                .value_name("layers|context|kv|quant")
                .value_parser(plot::sweep)
                .conflicts_with("compare")
                .help("Plan for every number of layers, context, KV type or quantisation"),
        )
        .arg(
            Arg::new("svg")
                .long("svg")
                .value_name("FILE")
                .requires("sweep")
                .help("Draw the results of a sweep into a file"),
        )
        .arg(switch("all", "Include settings that do not fit"))
        .arg(section_flag("explain", "Explain why each layer is placed where it is"))
        .arg(section_flag("summary", "State in one line whether it fits, and how"))
        .arg(json().group("what"))
        .args(plan_flags())
}

fn version() -> Command {
    Command::new("version").about("Prints the version").after_help("Example:\n  mullama version")
}

fn completions() -> Command {
    Command::new("completions")
        .about("Prints a script that lets a shell complete commands and flags")
        .after_help(
            "Examples:\n  \
             mullama completions bash > ~/.local/share/bash-completion/completions/mullama\n  \
             mullama completions fish > ~/.config/fish/completions/mullama.fish",
        )
        .arg(
            Arg::new("shell")
                .value_name("SHELL")
                .required(true)
                .value_parser(clap::value_parser!(clap_complete::Shell))
                .help("The shell"),
        )
}

/// First line of the list of exit codes.
pub const EXIT_CODES_HEADING: &str = "Exit codes:";

/// The meanings of the exit codes, and the environment variables.
fn exit_codes() -> String {
    let mut text = format!("{EXIT_CODES_HEADING}\n    0  success\n");
    let mut kinds = ErrorKind::ALL.to_vec();
    kinds.sort_by_key(|kind| kind.exit_status());
    for kind in kinds {
        let (code, meaning) = (kind.exit_status(), kind.exit_meaning());
        let _ = writeln!(text, "  {code:>3}  {:<16} {meaning}", kind.name());
    }
    text + "\nEnvironment:\n  \
            MULLAMA_MODELS           the folder of the store\n  \
            MULLAMA_REGISTRY         the registry of names without a host\n  \
            MULLAMA_PULL_TIMEOUT     seconds without data until a download fails: 30\n  \
            MULLAMA_PULL_LEAST_RATE  bytes per second that a download must reach, over a minute: 1000\n  \
            HF_TOKEN                 the token for Hugging Face\n  \
            HF_ENDPOINT              a mirror of Hugging Face\n  \
            HTTPS_PROXY              the proxy for downloads\n  \
            MULLAMA_RPC_TIMEOUT      seconds without an answer until a worker fails: 30\n  \
            MULLAMA_LOG              error, warn, info, debug or trace: the log on standard error\n  \
            NO_COLOR                 if it is set, output has no colours"
}

fn rpc_server() -> Command {
    Command::new("rpc-server")
        .about("Offers this machine's processors to models on other machines")
        .after_help(
            "The protocol has no authentication and no encryption: anyone who can reach the address can use the worker, and anyone who can read the network traffic sees the data.\n\n\
                     Examples:\n  mullama rpc-server\n  \
                     mullama rpc-server --host 10.0.0.7 --device CUDA0\n  \
                     mullama run model.gguf --rpc 10.0.0.7:50052 \"Hello!\"",
        )
        .arg(
            Arg::new("host")
                .long("host")
                .short('H')
                .value_name("ADDRESS")
                .default_value("127.0.0.1")
                .help("The address to listen on"),
        )
        .arg(
            Arg::new("port")
                .long("port")
                .short('p')
                .value_name("N")
                .value_parser(clap::value_parser!(u16).range(1..))
                .default_value("50052")
                .help("The port to listen on"),
        )
        .arg(
            Arg::new("device")
                .long("device")
                .alias("devices")
                .short('d')
                .value_name("NAME,...")
                .value_delimiter(',')
                .action(ArgAction::Append)
                .help(
                    "Devices to offer, as `mullama devices` names them. Default: the GPUs, or the processor if there are none",
                ),
        )
        .arg(
            Arg::new("threads")
                .long("threads")
                .short('t')
                .value_name("N")
                .value_parser(clap::value_parser!(u32).range(1..))
                .help(
                    "Threads to compute with, if the processor is offered. Default: one for \
                               each physical core",
                ),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_accepts_the_command_definition() {
        command().debug_assert();
    }
}
