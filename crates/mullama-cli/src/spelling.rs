//! Normalises a command line into the single form that the parser accepts: `--flag=value` and words.
//!
//! Flags of llama.cpp and `ik_llama.cpp` are translated ([`crate::llama_cpp`]). A flag with several letters is never
//! parsed as a one-letter flag with a value, and a flag takes the next argument only if it requires a value.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{Arg, Command};
use mullama::{Error, ErrorKind};
use mullama_base::{similar_by, similarity};
use serde_json::{Map, Value};

use crate::llama_cpp::{self, Flag, FlagMapping, FlagValue};
use crate::options::flag_for;
use crate::other_programs;

/// The default of the missing half of a flag with two values.
const DEFAULT_CACHE_TYPE: &str = "f16";

/// A normalised command line.
pub struct NormalizedArguments {
    /// The program's name, the command, flags, and words after `--`.
    pub arguments: Vec<OsString>,
    /// Notes for the user about flags without effect.
    pub notes: Vec<String>,
}

/// Normalises a command line. `root` must have been built.
pub fn normalize(root: &Command, arguments: Vec<OsString>) -> Result<NormalizedArguments, Error> {
    let as_it_is = |arguments| NormalizedArguments { arguments, notes: Vec::new() };
    let Some(first) = arguments.get(1).and_then(|first| first.to_str()) else {
        return Ok(as_it_is(arguments));
    };
    let Some(command) = root.find_subcommand(first) else {
        let is_theirs = first.starts_with('-') && llama_cpp::find(&normalize_name(first)).is_some();
        if is_theirs {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{first} requires a command before it"),
            )
            .with_hint(format!("write `mullama run {first} ...`")));
        }
        return Ok(as_it_is(arguments));
    };
    if command.get_name() == "help" {
        return Ok(as_it_is(arguments));
    }
    let mut arguments = arguments.into_iter();
    let start: Vec<_> = arguments.by_ref().take(2).collect();
    let mut line = Line::new(root, command);
    let mut rest = arguments.collect::<Vec<_>>().into_iter().peekable();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            line.words.extend(rest);
            break;
        }
        line.read(argument, &mut rest)?;
    }
    line.finish(start)
}

type RemainingArguments = std::iter::Peekable<std::vec::IntoIter<OsString>>;

/// The part of a command line that has been read.
struct Line<'a> {
    command: &'a Command,
    /// `mullama run`, whose flags `mullama plan` accepts and ignores.
    run: Option<&'a Command>,
    flags: Vec<OsString>,
    words: Vec<OsString>,
    model: Option<OsString>,
    /// The file in the repository `model`.
    file: Option<OsString>,
    /// Flags of mullama with two values, which may be set separately.
    halves: BTreeMap<&'static str, [Option<OsString>; 2]>,
    /// Flags of mullama with a JSON object, and its entries.
    entries: BTreeMap<&'static str, Map<String, Value>>,
    notes: Vec<String>,
    /// Flags that do not affect a plan.
    passed: Vec<String>,
}

impl<'a> Line<'a> {
    fn new(root: &'a Command, command: &'a Command) -> Self {
        Self {
            command,
            run: root.find_subcommand("run"),
            flags: Vec::new(),
            words: Vec::new(),
            model: None,
            file: None,
            halves: BTreeMap::new(),
            entries: BTreeMap::new(),
            notes: Vec::new(),
            passed: Vec::new(),
        }
    }

    /// Whether the command loads or plans a model, so that it accepts complete command lines of llama.cpp.
    fn takes_whole_lines(&self) -> bool {
        self.has("n-gpu-layers")
    }

    fn is_plan_command(&self) -> bool {
        self.command.get_name() == "plan"
    }

    fn has(&self, long: &str) -> bool {
        own_flag(self.command, &format!("--{long}")).is_some()
    }

    /// Reads an argument, and its value if it has one.
    fn read(&mut self, argument: OsString, rest: &mut RemainingArguments) -> Result<(), Error> {
        let Some(text) = argument.to_str().filter(|text| is_flag(text)) else {
            self.words.push(argument);
            return Ok(());
        };
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) => (normalize_name(name), Some(OsString::from(value))),
            None => (normalize_name(text), None),
        };
        let read = WrittenFlag { name, attached };
        if self.read_known(&read, rest)? {
            return Ok(());
        }
        // A letter with a number: `-c512`.
        if let Some((letter, number)) = letter_and_number(text) {
            let read = WrittenFlag { name: letter, attached: Some(number.into()) };
            if self.read_known(&read, rest)? {
                return Ok(());
            }
        }
        Err(self.unknown(&read))
    }

    /// Reads a flag. Returns false if the flag is unknown.
    fn read_known(
        &mut self,
        written: &WrittenFlag,
        rest: &mut RemainingArguments,
    ) -> Result<bool, Error> {
        let name = &*written.name;
        let theirs = llama_cpp::find(name).filter(|flag| match (&flag.meaning, flag.target()) {
            _ if self.takes_whole_lines() => true,
            (_, Some(ours)) => self.has(ours),
            (FlagMapping::Model(_), None) => {
                self.command.get_positionals().any(|arg| arg.get_id() == "model")
            }
            _ => false,
        });
        if let Some(flag) = theirs {
            self.read_llama_cpp_flag(written, flag, rest)?;
        } else if let Some(arg) = own_flag(self.command, name) {
            self.read_own_flag(written, arg, rest)?;
        } else if let Some(switch) =
            name.strip_prefix("--no-").filter(|switch| self.is_switch(switch))
        {
            self.flags.push(format!("--{switch}=false").into());
        } else if let Some(arg) =
            self.run.filter(|_| self.is_plan_command()).and_then(|run| own_flag(run, name))
        {
            if arg.get_action().takes_values() && !arg.is_require_equals_set() {
                self.value(written, !takes_text(arg), rest)?;
            }
            self.passed.push(name.to_owned());
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether a flag of mullama takes true or false.
    fn is_switch(&self, long: &str) -> bool {
        own_flag(self.command, &format!("--{long}")).is_some_and(Arg::is_require_equals_set)
    }

    fn read_own_flag(
        &mut self,
        written: &WrittenFlag,
        arg: &Arg,
        rest: &mut RemainingArguments,
    ) -> Result<(), Error> {
        let name = OsString::from(match arg.get_long() {
            Some(long) => format!("--{long}"),
            None => written.name.clone(),
        });
        let takes_many = arg.get_num_args().is_some_and(|number| number.max_values() > 1);
        if !arg.get_action().takes_values() || arg.is_require_equals_set() {
            self.flags.push(with_value(&name, written.attached.as_deref()));
        } else if takes_many && written.attached.is_none() {
            self.flags.push(name);
            let is_value = |next: &OsString| !next.to_str().is_some_and(is_flag);
            while let Some(value) = rest.next_if(is_value) {
                self.flags.push(value);
            }
        } else {
            let value = self.value(written, !takes_text(arg), rest)?;
            self.flags.push(with_value(&name, Some(&value)));
        }
        Ok(())
    }

    fn read_llama_cpp_flag(
        &mut self,
        written: &WrittenFlag,
        flag: &'static Flag,
        rest: &mut RemainingArguments,
    ) -> Result<(), Error> {
        let name = written.name.clone();
        let strict = !flag
            .target()
            .and_then(|ours| own_flag(self.run?, &format!("--{ours}")))
            .is_some_and(takes_text);
        let value = match flag.takes {
            FlagValue::Nothing => written.attached.clone(),
            FlagValue::Value => Some(self.value(written, strict, rest)?),
            FlagValue::Two => {
                self.value(written, strict, rest)?;
                rest.next()
            }
            FlagValue::Word(words) => {
                let is_one = |next: &OsString| {
                    next.to_str().is_some_and(|next| {
                        words.iter().any(|word| next.eq_ignore_ascii_case(word))
                    })
                };
                written.attached.clone().or_else(|| rest.next_if(is_one))
            }
        };
        if let Some(ours) = flag.target().filter(|ours| !self.has(ours)) {
            let known = self.run.is_some_and(|run| own_flag(run, &format!("--{ours}")).is_some());
            return if known {
                self.passed.push(name);
                Ok(())
            } else {
                Err(refused(&name, "it is not supported yet"))
            };
        }
        let value = value.unwrap_or_default();
        let problem = |problem| Error::argument(&name, problem);
        let text =
            || value.to_str().ok_or_else(|| problem("the value is not valid UTF-8".to_owned()));
        let mut give = |ours: &str, value: &OsStr| {
            let value =
                Some(value).filter(|value| !value.is_empty() || flag.takes != FlagValue::Nothing);
            self.flags.push(with_value(OsStr::new(&format!("--{ours}")), value));
        };
        match flag.meaning {
            FlagMapping::Model(prefix) => {
                let mut model =
                    OsString::from(if text().is_ok_and(|text| text.starts_with(prefix)) {
                        ""
                    } else {
                        prefix
                    });
                model.push(&value);
                if self.model.replace(model).is_some() {
                    return Err(problem("the model is given twice".to_owned()));
                }
            }
            FlagMapping::File => self.file = Some(value),
            FlagMapping::Ours(ours) => give(ours, &value),
            FlagMapping::Fixed(ours, value) => give(ours, OsStr::new(value)),
            FlagMapping::Converted(ours, convert) => {
                if let Some(value) = convert(text()?) {
                    give(ours, OsStr::new(&value));
                }
            }
            FlagMapping::Rewritten(ours, convert) => {
                let value = convert(text()?).map_err(problem)?;
                give(ours, OsStr::new(&value));
            }
            FlagMapping::Several(_, convert) => {
                for (ours, value) in convert(text()?).map_err(problem)? {
                    give(ours, OsStr::new(value));
                }
            }
            FlagMapping::Read(ours) => {
                let text = llama_cpp::text_of(Path::new(&value)).map_err(problem)?;
                give(ours, OsStr::new(&text));
            }
            FlagMapping::Half(ours, index) => {
                let half = self.halves.entry(ours).or_default().get_mut(index);
                if half.is_some_and(|half| half.replace(value.clone()).is_some()) {
                    return Err(problem("it is given twice".to_owned()));
                }
            }
            FlagMapping::Entries(ours, convert) => {
                self.entries.entry(ours).or_default().extend(convert(text()?).map_err(problem)?);
            }
            FlagMapping::Already(reason) => log::debug!("{name} is the default: {reason}"),
            FlagMapping::Unused(reason) => {
                self.notes.push(format!("{name} has no effect: {reason}"));
            }
            FlagMapping::Server | FlagMapping::Tool if self.is_plan_command() => {
                self.passed.push(name);
            }
            FlagMapping::Refused(instead) if self.is_plan_command() => {
                self.notes.push(format!("{name} is not supported: {instead}"));
            }
            FlagMapping::Refused(instead) => return Err(refused(&name, instead)),
            FlagMapping::Server => return Err(refused(&name, llama_cpp::SERVER)),
            FlagMapping::Tool => return Err(refused(&name, llama_cpp::TOOL)),
        }
        Ok(())
    }

    /// The value of a flag. If `strict`, it must not be the name of a flag.
    fn value(
        &self,
        written: &WrittenFlag,
        strict: bool,
        rest: &mut RemainingArguments,
    ) -> Result<OsString, Error> {
        if let Some(value) = &written.attached {
            return Ok(value.clone());
        }
        let name = &written.name;
        let problem = match rest.peek() {
            None => "a value is required".to_owned(),
            Some(next) if strict && self.is_known(next) => {
                format!("a value is required, but {} follows", next.display())
            }
            Some(_) => return Ok(rest.next().unwrap_or_default()),
        };
        Err(Error::argument(name, problem))
    }

    /// Whether this is an existing flag.
    fn is_known(&self, text: &OsStr) -> bool {
        let Some(text) = text.to_str().filter(|text| is_flag(text)) else { return false };
        let name = normalize_name(text.split('=').next().unwrap_or(text));
        own_flag(self.command, &name).is_some() || llama_cpp::find(&name).is_some()
    }

    fn unknown(&self, written: &WrittenFlag) -> Error {
        let name = &written.name;
        let command = self.command.get_name();
        let message = format!("`mullama {command}` has no flag {name}");
        let error = Error::new(ErrorKind::InvalidArgument, message);
        let bare = name.trim_start_matches('-');
        let known = self.command.get_arguments().flat_map(names);
        let theirs =
            llama_cpp::flags().filter(|_| self.takes_whole_lines()).flat_map(|flag| flag.names);
        let known = known.chain(theirs.map(|name| (*name).to_owned()));
        if let Some(answer) = other_programs::flag(name) {
            return error.with_hint(answer);
        }
        if let Some(ours) = flag_for(bare).filter(|ours| self.has(ours)) {
            return error.with_hint(format!("did you mean --{ours}?"));
        }
        // Short names are similar to many words.
        let alike = |known: &String| match known.trim_start_matches('-') {
            known if bare.len() < 2 || known.len() + 2 < bare.len() => 0.0,
            known => similarity(bare, known),
        };
        match similar_by(known, alike).into_iter().next() {
            Some(near) => error.with_hint(format!("did you mean {near}?")),
            None => error.with_hint(format!(
                "`mullama help {command}` lists the flags; put words that start with - after --"
            )),
        }
    }

    fn finish(mut self, mut arguments: Vec<OsString>) -> Result<NormalizedArguments, Error> {
        for (ours, halves) in self.halves {
            let mut value = OsString::from(format!("--{ours}="));
            let [keys, values] =
                halves.map(|half| half.unwrap_or_else(|| DEFAULT_CACHE_TYPE.into()));
            value.push(keys);
            value.push(",");
            value.push(values);
            self.flags.push(value);
        }
        for (ours, entries) in self.entries {
            self.flags.push(format!("--{ours}={}", Value::from(entries)).into());
        }
        if !self.passed.is_empty() {
            self.notes.push(format!("the plan does not depend on {}", self.passed.join(", ")));
        }
        let model = match (self.model, self.file) {
            (Some(model), Some(file)) => Some(repository_file(&model, &file)),
            (None, Some(_)) => {
                return Err(Error::argument(
                    "-hff",
                    "the repository is missing: add -hf USER/REPO",
                ));
            }
            (model, None) => model,
        };
        arguments.extend(self.flags);
        let words: Vec<_> = model.into_iter().chain(self.words).collect();
        if !words.is_empty() {
            arguments.push("--".into());
            arguments.extend(words);
        }
        Ok(NormalizedArguments { arguments, notes: self.notes })
    }
}

/// A flag as written by the user.
struct WrittenFlag {
    /// The name with its dashes.
    name: String,
    /// The value after `=`.
    attached: Option<OsString>,
}

/// Whether an argument is a flag, not a number or a single dash.
fn is_flag(text: &str) -> bool {
    text.strip_prefix('-')
        .and_then(|rest| rest.chars().next())
        .is_some_and(|first| first == '-' || first.is_ascii_alphabetic())
}

/// Normalises a name: flags may have `_` instead of `-`.
fn normalize_name(name: &str) -> String {
    name.replace('_', "-")
}

/// Splits a letter and a number without a space between them: `-c512`, `-t8`.
fn letter_and_number(text: &str) -> Option<(String, &str)> {
    let letter = text.get(..2).filter(|flag| !flag.ends_with('-'))?;
    let rest = text.get(2..)?;
    rest.starts_with(|first: char| first.is_ascii_digit()).then(|| (letter.to_owned(), rest))
}

fn refused(name: &str, instead: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{name} is not supported")).with_hint(instead)
}

/// Formats `--flag` or `--flag=value`.
fn with_value(flag: &OsStr, value: Option<&OsStr>) -> OsString {
    let mut written = flag.to_owned();
    if let Some(value) = value {
        written.push("=");
        written.push(value);
    }
    written
}

/// Combines a repository and a file, which replaces a quantisation.
fn repository_file(model: &OsStr, file: &OsStr) -> OsString {
    let text = model.to_string_lossy();
    let mut model = match text.split_once(':') {
        Some((repository, _)) => OsString::from(repository),
        None => model.to_owned(),
    };
    model.push(":");
    model.push(file);
    model
}

/// All names of an argument, with dashes.
fn names(arg: &Arg) -> Vec<String> {
    let long = arg.get_long().into_iter().chain(arg.get_all_aliases().into_iter().flatten());
    let short = arg.get_short().map(|short| format!("-{short}"));
    long.map(|long| format!("--{long}")).chain(short).collect()
}

/// The command's own flag with this name.
fn own_flag<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| names(arg).iter().any(|known| known == name))
}

/// Whether the value of a flag is free text, which may look like a flag.
fn takes_text(arg: &Arg) -> bool {
    arg.get_value_names().is_some_and(|names| names.iter().any(|name| *name == "TEXT"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::arguments::{Refusal, parse};
    use crate::options::{read, read_plan};

    /// Splits a line into words like a shell.
    fn words(line: &str) -> Vec<OsString> {
        let mut words = Vec::new();
        let (mut word, mut quote, mut is_word) = (String::new(), None, false);
        for letter in line.chars() {
            match (letter, quote) {
                (letter, Some(open)) if letter == open => quote = None,
                ('\'' | '"', None) => (quote, is_word) = (Some(letter), true),
                (' ', None) => {
                    if is_word {
                        words.push(OsString::from(std::mem::take(&mut word)));
                    }
                    is_word = false;
                }
                _ => {
                    word.push(letter);
                    is_word = true;
                }
            }
        }
        if is_word {
            words.push(word.into());
        }
        words
    }

    fn parsed(line: &str) -> Result<clap::ArgMatches, Refusal> {
        parse([OsString::from("mullama")].into_iter().chain(words(line)))
    }

    /// The model, the prompt, and the options from a line of `mullama run` or `mullama plan`.
    fn normalize_line(line: &str) -> (String, String, Value) {
        let matches = parsed(line).unwrap_or_else(|refusal| panic!("{line}: {refusal:?}"));
        let (command, matches) = matches.subcommand().unwrap();
        let options = if command == "run" { read(matches) } else { read_plan(matches) };
        let text = |id: &str| {
            matches.try_get_one::<String>(id).ok().flatten().cloned().unwrap_or_default()
        };
        let words = matches.try_get_many::<String>("words").ok().flatten();
        let words: Vec<_> = words.into_iter().flatten().map(String::as_str).collect();
        let prompt = if words.is_empty() { text("prompt") } else { words.join(" ") };
        (text("model"), prompt, options.unwrap().into())
    }

    fn refused(line: &str) -> String {
        match parsed(line) {
            Err(Refusal::Error(error)) => error.report(),
            Err(Refusal::Help(error)) => error.to_string(),
            Ok(_) => panic!("{line} is not refused"),
        }
    }

    /// Typical command lines for `llama-cli`, `llama-server` and `main`.
    #[test]
    #[allow(clippy::too_many_lines, reason = "it is a table")]
    fn llama_cpp_command_lines_are_translated() {
        let hello = "Hello!";
        for (line, model, prompt, options) in [
            // From the READMEs of llama.cpp.
            ("-m model.gguf", "model.gguf", "", json!({})),
            (
                "-m model.gguf -p 'I believe the meaning of life is' -n 128",
                "model.gguf",
                "I believe the meaning of life is",
                json!({"max_tokens": 128}),
            ),
            ("-hf ggml-org/gemma-3-1b-it-GGUF", "hf.co/ggml-org/gemma-3-1b-it-GGUF", "", json!({})),
            (
                "-hf user/repo-GGUF:Q8_0 -c 0 -fa",
                "hf.co/user/repo-GGUF:Q8_0",
                "",
                json!({"context_size": 0, "flash_attention": "on"}),
            ),
            (
                "--hf-repo user/repo --hf-file model-q4_0.gguf -p 'once upon a time'",
                "hf.co/user/repo:model-q4_0.gguf",
                "once upon a time",
                json!({}),
            ),
            (
                "--model-url https://example.com/m.gguf -ngl all",
                "https://example.com/m.gguf",
                "",
                json!({"n_gpu_layers": "all"}),
            ),
            ("-m model.gguf -cnv", "model.gguf", "", json!({})),
            (
                "-m model.gguf --jinja --color -i -sys 'You are terse.' -st",
                "model.gguf",
                "",
                json!({}),
            ),
            (
                "-m model.gguf -n 256 --grammar-file GRAMMAR -p 'Request: schedule a call at 8pm; Command:'",
                "model.gguf",
                "Request: schedule a call at 8pm; Command:",
                json!({"max_tokens": 256, "grammar": "root ::= \"a\""}),
            ),
            (
                "-m model.gguf -j '{\"type\": \"object\"}' -p Hello!",
                "model.gguf",
                hello,
                json!({"json_schema": {"type": "object"}}),
            ),
            (
                "-m ./models/7B/ggml-model-q4_0.gguf -t 8 -c 2048 -b 1024 --temp 0.7 --repeat_penalty 1.1 -n -1 -p Hello!",
                "./models/7B/ggml-model-q4_0.gguf",
                hello,
                json!({"n_threads": 8, "context_size": 2048, "batch_size": 1024, "temperature": 0.7, "repeat_penalty": 1.1}),
            ),
            // Offloading.
            (
                "--model model.gguf --n-gpu-layers 20 --ctx-size 4096 --prompt 'Explain transformer attention mechanisms'",
                "model.gguf",
                "Explain transformer attention mechanisms",
                json!({"n_gpu_layers": 20, "context_size": 4096}),
            ),
            (
                "--model m.gguf --n-gpu-layers 35 --ctx-size 2048 --threads 8 --prompt-cache ./cache.bin",
                "m.gguf",
                "",
                json!({"n_gpu_layers": 35, "context_size": 2048, "n_threads": 8}),
            ),
            (
                "--model m.gguf --n-gpu-layers 58 --ctx-size 4096 --threads 8 --flash-attn",
                "m.gguf",
                "",
                json!({"n_gpu_layers": 58, "context_size": 4096, "n_threads": 8, "flash_attention": "on"}),
            ),
            (
                "--model m.gguf --n-gpu-layers 99 --tensor-split 1,1 --ctx-size 8192",
                "m.gguf",
                "",
                json!({"n_gpu_layers": 99, "tensor_split": [1, 1], "context_size": 8192}),
            ),
            (
                "--model m.gguf --n-gpu-layers 30 --mmap --ctx-size 4096",
                "m.gguf",
                "",
                json!({"n_gpu_layers": 30, "use_mmap": true, "context_size": 4096}),
            ),
            (
                "-m m.gguf -ngl auto --no-mmap --mlock -p Hello!",
                "m.gguf",
                hello,
                json!({"n_gpu_layers": "auto", "use_mmap": false, "use_mlock": true}),
            ),
            (
                "-m m.gguf -ngl 999 -sm row -ts 3/1 -mg 1 -p Hello!",
                "m.gguf",
                hello,
                json!({"n_gpu_layers": 999, "split_mode": "row", "tensor_split": [3, 1], "main_gpu": 1}),
            ),
            (
                "-m m.gguf -dev CUDA0,CUDA1 -sm none -nkvo Hello!",
                "m.gguf",
                hello,
                json!({"devices": ["CUDA0", "CUDA1"], "split_mode": "none", "offload_kqv": false}),
            ),
            ("-m m.gguf -fa Hello!", "m.gguf", hello, json!({"flash_attention": "on"})),
            ("-m m.gguf -fa on Hello!", "m.gguf", hello, json!({"flash_attention": "on"})),
            (
                "-m m.gguf -fa 0 -cmoe Hello!",
                "m.gguf",
                hello,
                json!({"flash_attention": "off", "cpu_moe": true}),
            ),
            (
                "-m m.gguf -fa -ctk q8_0 -ctv q8_0 -ub 256 -p Hello!",
                "m.gguf",
                hello,
                json!({"flash_attention": "on", "kv_cache_type": ["q8_0", "q8_0"], "ubatch_size": 256}),
            ),
            (
                "-m m.gguf -ctk Q4_0 Hello!",
                "m.gguf",
                hello,
                json!({"kv_cache_type": ["q4_0", "f16"]}),
            ),
            (
                "-m m.gguf --cache-type-v q8_0 --flash-attn on -tb 16 -t 4",
                "m.gguf",
                "",
                json!({"kv_cache_type": ["f16", "q8_0"], "flash_attention": "on", "n_threads_batch": 16, "n_threads": 4}),
            ),
            (
                "-m m.gguf -ngl 99 -ncmoe 20 --no-warmup -np 2",
                "m.gguf",
                "",
                json!({"n_gpu_layers": 99, "n_cpu_moe": 20, "warmup": false, "n_parallel": 2}),
            ),
            ("-m m.gguf -np 0", "m.gguf", "", json!({"n_parallel": 0})),
            ("-m m.gguf -np -1", "m.gguf", "", json!({})),
            (
                "-m m.gguf -ngl 99 -ot '.ffn_.*_exps.=CPU'",
                "m.gguf",
                "",
                json!({"n_gpu_layers": 99, "tensor_overrides": {".ffn_.*_exps.": "CPU"}}),
            ),
            (
                "-m m.gguf -ot 'blk\\.[0-9]{1,2}\\.ffn=CPU,attn=CUDA0'",
                "m.gguf",
                "",
                json!({"tensor_overrides": {"blk\\.[0-9]{1,2}\\.ffn": "CPU", "attn": "CUDA0"}}),
            ),
            (
                "-m m.gguf -ot exps=CPU -ot 'blk.(0|1).attn=CUDA1'",
                "m.gguf",
                "",
                json!({"tensor_overrides": {"exps": "CPU", "blk.(0|1).attn": "CUDA1"}}),
            ),
            (
                "-m m.gguf --rpc 10.0.0.7:50052,10.0.0.8:50052 -ngl 99",
                "m.gguf",
                "",
                json!({"rpc_servers": ["10.0.0.7:50052", "10.0.0.8:50052"], "n_gpu_layers": 99}),
            ),
            (
                "-m m.gguf --lora a.gguf --lora-scaled b.gguf:0.5",
                "m.gguf",
                "",
                json!({"lora": ["a.gguf", ["b.gguf", 0.5]]}),
            ),
            (
                "-m m.gguf -s 42 --top-k 40 --top-p 0.9 --min-p 0.05 --typical 1 --mirostat 2 --mirostat-lr 0.1 --mirostat-ent 5",
                "m.gguf",
                "",
                json!({"seed": 42, "top_k": 40, "top_p": 0.9, "min_p": 0.05, "typical_p": 1, "mirostat": 2, "mirostat_eta": 0.1, "mirostat_tau": 5}),
            ),
            (
                "-m m.gguf -s -1 --temp 0 --ignore-eos -n 16 -r User: -r '\n'",
                "m.gguf",
                "",
                json!({"temperature": 0, "ignore_eos": true, "max_tokens": 16, "stop": ["User:", "\n"]}),
            ),
            (
                "-m m.gguf -l 15043+1 -l 29871-inf",
                "m.gguf",
                "",
                json!({"logit_bias": {"15043": 1.0, "29871": false}}),
            ),
            (
                "-m m.gguf --override-kv tokenizer.ggml.add_bos_token=bool:false,llama.context_length=int:4096",
                "m.gguf",
                "",
                json!({"metadata_overrides": {"tokenizer.ggml.add_bos_token": false, "llama.context_length": 4096}}),
            ),
            (
                "-m m.gguf -lm mlock -c4096 -t8 --rope-scale 2",
                "m.gguf",
                "",
                json!({"use_mmap": false, "use_mlock": true, "context_size": 4096, "n_threads": 8, "rope_freq_scale": 0.5}),
            ),
            (
                "-m m.gguf --reasoning-budget 0 -rea off --chat-template-kwargs '{\"enable_thinking\": false}'",
                "m.gguf",
                "",
                json!({"reasoning_budget": 0, "reasoning": false, "template_kwargs": {"enable_thinking": false}}),
            ),
            (
                "-m m.gguf --no-context-shift --cont-batching --no-perf --log-disable --simple-io -p Hello!",
                "m.gguf",
                hello,
                json!({}),
            ),
            // From the README and the forum of ik_llama.cpp.
            (
                "-m /models/model.gguf -ngl 999 -fa",
                "/models/model.gguf",
                "",
                json!({"n_gpu_layers": 999, "flash_attention": "on"}),
            ),
            (
                "-m /models/model.gguf -ngl 40 -fa -ctk q8_0 -ctv q8_0",
                "/models/model.gguf",
                "",
                json!({"n_gpu_layers": 40, "flash_attention": "on", "kv_cache_type": ["q8_0", "q8_0"]}),
            ),
            (
                "-m m.gguf -ngl 999 -sm graph -fa -ts 3,1 -grt q8_0 --max-gpu 2",
                "m.gguf",
                "",
                json!({"n_gpu_layers": 999, "split_mode": "tensor", "flash_attention": "on", "tensor_split": [3, 1], "max_gpus": 2}),
            ),
            (
                "-m m.gguf -ngl 999 -ot 'blk.(?:[0-9]|[1-7][0-9]|[8][0-7]).ffn._exps.=CPU' -mla 3 -amb 512 -fmoe -rtr -t 24 -b 4096 -ub 4096",
                "m.gguf",
                "",
                json!({"n_gpu_layers": 999, "tensor_overrides": {"blk.(?:[0-9]|[1-7][0-9]|[8][0-7]).ffn._exps.": "CPU"}, "n_threads": 24, "batch_size": 4096, "ubatch_size": 4096}),
            ),
            (
                "-m m.gguf -rtr -fmoe -mla 2 -ger -khad -smgs -no-ooae -c 32768 -ctk q8_0 -ngl 99 -ot exps=CPU --threads 16 -p Hello!",
                "m.gguf",
                hello,
                json!({"context_size": 32768, "kv_cache_type": ["q8_0", "f16"], "n_gpu_layers": 99, "tensor_overrides": {"exps": "CPU"}, "n_threads": 16}),
            ),
            // Without a flag for the model, and in mullama's own syntax.
            ("demo hi there, how are you?", "demo", "hi there, how are you?", json!({})),
            ("demo hi -ngl 0 there", "demo", "hi there", json!({"n_gpu_layers": 0})),
            (
                "demo --n_gpu_layers=-1 --ignore-eos=false -- -5 + 3",
                "demo",
                "-5 + 3",
                json!({"n_gpu_layers": -1, "ignore_eos": false}),
            ),
            (
                "demo --no-use-mmap --max-tokens -1 --stop -fa -v",
                "demo",
                "",
                json!({"use_mmap": false, "stop": ["-fa"]}),
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let grammar = folder.path().join("grammar.gbnf");
            std::fs::write(&grammar, "root ::= \"a\"\n").unwrap();
            let line = line.replace("GRAMMAR", grammar.to_str().unwrap());
            let expected = (model.to_owned(), prompt.to_owned(), options);
            assert_eq!(normalize_line(&format!("run {line}")), expected, "{line}");
            // A plan accepts the same line, and uses the flags that affect it.
            if prompt != "hi there, how are you?"
                && !line.starts_with("demo hi")
                && !line.contains("-- -5")
                && !line.ends_with(hello)
            {
                let (planned, _, options) = normalize_line(&format!("plan {line}"));
                assert_eq!(planned, model, "{line}");
                for (name, value) in options.as_object().unwrap() {
                    assert_eq!(&expected.2[name], value, "{line}");
                }
            }
        }
    }

    #[test]
    fn unsupported_flags_are_rejected_with_an_alternative() {
        for (line, said) in [
            ("run demo --mtp hi", "--prompt-lookup"),
            ("run demo -ncmoed 3 hi", "--draft-gpu-layers"),
            ("run demo --audio a.wav hi", "sound"),
            ("run demo --host 0.0.0.0", "server"),
            ("run demo --hellaswag", "llama.cpp"),
            ("run demo -hft secret", "HF_TOKEN"),
            ("run demo --list-devices", "`mullama devices`"),
            ("run demo --control-vector a.gguf", "control vectors"),
            ("run demo -ser 6,1", "expert_used_count"),
            // Misspelt flags.
            ("run demo -nlg 5", "did you mean"),
            ("run demo --ctx-sise 5", "did you mean --ctx-size?"),
            ("run demo --temprature 5", "did you mean --temperature?"),
            ("run demo --abacus", "`mullama help run`"),
            ("run demo -jon", "has no flag -jon"),
            ("create mine -force", "has no flag -force"),
            ("rm demo -rf", "has no flag -rf"),
            // Missing values.
            ("run demo -ngl", "a value is required"),
            ("run demo -ngl -fa", "but -fa follows"),
            ("run demo -c --temp 0", "but --temp follows"),
            ("run -m a.gguf -m b.gguf", "given twice"),
            ("run demo -ctk q8_0 -ctk f16", "given twice"),
            ("run demo -hff a.gguf", "add -hf"),
            ("run demo -lm fast", "not one of auto"),
            ("run demo -sysf /nonexistent hi", "cannot read /nonexistent"),
            ("run demo --override-kv a=list:3 hi", "KEY=TYPE:VALUE"),
            ("plan -m demo other", "unexpected argument `other`"),
            ("run demo -p a b", "cannot be combined with"),
            ("-m model.gguf -p hi", "`mullama run -m ...`"),
            // Commands of other programs.
            ("serve", "no server"),
            ("ps", "models do not stay loaded"),
            ("stop", "models do not stay loaded"),
            ("push", "does not upload"),
            ("chat", "`mullama run MODEL`"),
        ] {
            let words = refused(line);
            assert!(words.contains(said), "{line}: {words}");
        }
    }

    #[test]
    fn plan_ignores_flags_that_do_not_affect_placement() {
        let line = "plan -m demo -ngl 99 -md a --mtp -p hi --temp 0 --host 0.0.0.0 --hellaswag --top-k 5 --system x -v -n 5";
        let mut root = crate::arguments::command();
        root.build();
        let words = [OsString::from("mullama")].into_iter().chain(words(line)).collect();
        let NormalizedArguments { arguments, notes } = normalize(&root, words).unwrap();
        let planned = ["mullama", "plan", "--n-gpu-layers=99", "--draft-model=a", "--", "demo"];
        assert_eq!(arguments, planned);
        let [unsupported, note] = &notes[..] else { panic!("{notes:?}") };
        assert!(unsupported.starts_with("--mtp is not supported: "), "{unsupported}");
        for flag in ["-p", "--temp", "--host", "--hellaswag", "--top-k", "--system", "-v", "-n"] {
            assert!(note.split([' ', ',']).any(|word| word == flag), "{flag}: {note}");
        }
    }

    #[test]
    fn short_flags_depend_on_the_subcommand() {
        let matches = parsed("rpc-server -H 0.0.0.0 -p 50053 -dev CPU -t 2").unwrap();
        let (_, matches) = matches.subcommand().unwrap();
        assert_eq!(matches.get_one::<u16>("port"), Some(&50053));
        assert_eq!(matches.get_one::<u32>("threads"), Some(&2));
        assert_eq!(matches.get_one::<String>("device").unwrap(), "CPU");
        let matches = parsed("show -m demo --tensors").unwrap();
        let (_, matches) = matches.subcommand().unwrap();
        assert_eq!(matches.get_one::<String>("model").unwrap(), "demo");
        let matches = parsed("create mine -f -").unwrap();
        let (_, matches) = matches.subcommand().unwrap();
        assert_eq!(matches.get_one::<String>("file").unwrap(), "-");
    }
}
