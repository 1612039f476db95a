//! Modelfiles: text files that describe how to create a model.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::str::FromStr;

use mullama_base::{Text, nearest, read_file};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, ErrorKind, Result, StoredModel};

/// Maximum size of a Modelfile, in bytes.
const MAX_SIZE: u64 = 16 << 20;
const TOO_LONG: &str = "a Modelfile has 16 MiB at most";

/// An initial message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    #[serde(default)]
    pub content: String,
}

/// Generation options that are stored with a model, by Ollama's names: `temperature`, `num_ctx`, `stop`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Parameters(BTreeMap<String, Value>);

#[derive(Clone, Copy)]
enum Type {
    Integer,
    Number,
    Flag,
    Texts,
}

const TYPES: [(&str, Type); 31] = [
    ("num_keep", Type::Integer),
    ("seed", Type::Integer),
    ("num_predict", Type::Integer),
    ("draft_num_predict", Type::Integer),
    ("top_k", Type::Integer),
    ("repeat_last_n", Type::Integer),
    ("num_ctx", Type::Integer),
    ("num_batch", Type::Integer),
    ("num_gpu", Type::Integer),
    ("main_gpu", Type::Integer),
    ("num_thread", Type::Integer),
    ("mirostat", Type::Integer),
    ("top_p", Type::Number),
    ("min_p", Type::Number),
    ("typical_p", Type::Number),
    ("tfs_z", Type::Number),
    ("temperature", Type::Number),
    ("repeat_penalty", Type::Number),
    ("presence_penalty", Type::Number),
    ("frequency_penalty", Type::Number),
    ("mirostat_tau", Type::Number),
    ("mirostat_eta", Type::Number),
    ("use_mmap", Type::Flag),
    ("use_mlock", Type::Flag),
    ("numa", Type::Flag),
    ("low_vram", Type::Flag),
    ("f16_kv", Type::Flag),
    ("logits_all", Type::Flag),
    ("vocab_only", Type::Flag),
    ("penalize_newline", Type::Flag),
    ("stop", Type::Texts),
];

impl Parameters {
    /// The value of this option: a number or boolean; for `stop`, a list of strings.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All options, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether no option is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets an option like `PARAMETER`: `stop` appends to its list, other options are replaced.
    ///
    /// Returns `InvalidArgument` for an unknown option or an invalid value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let lower = name.to_ascii_lowercase();
        let Some((name, ty)) = TYPES.iter().find(|(known, _)| *known == lower) else {
            let error =
                Error::new(ErrorKind::InvalidArgument, format!("there is no parameter {name:?}"))
                    .with_context("parameter", name);
            let meant = Self::name_of(&lower);
            let near = || nearest(name, TYPES.iter().map(|(known, _)| *known));
            return Err(if meant != lower {
                error.with_hint(format!("in a Modelfile, its name is {meant}"))
            } else if let Some(known) = near() {
                error.with_hint(format!("did you mean {known}?"))
            } else {
                error
            });
        };
        let refuse = |wanted: &str| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("parameter {name} must be {wanted}, not {value:?}"),
            )
            .with_context("parameter", name)
        };
        let json = match ty {
            Type::Integer => value.parse::<i64>().map_err(|_| refuse("a whole number"))?.into(),
            Type::Number => value
                .parse::<f64>()
                .ok()
                .and_then(serde_json::Number::from_f64)
                .ok_or_else(|| refuse("a number"))?
                .into(),
            Type::Flag => match value.to_ascii_lowercase().as_str() {
                "true" | "1" | "t" => true.into(),
                "false" | "0" | "f" => false.into(),
                _ => return Err(refuse("true or false")),
            },
            Type::Texts => {
                let list = self.0.entry((*name).to_owned()).or_insert_with(|| Value::Array(vec![]));
                // Registries may have a single string instead of a list.
                if !list.is_array() {
                    *list = Value::Array(vec![list.take()]);
                }
                if let Value::Array(list) = list {
                    list.push(value.into());
                }
                return Ok(());
            }
        };
        self.0.insert((*name).to_owned(), json);
        Ok(())
    }

    /// Sets all options that the other sets.
    pub(crate) fn override_with(&mut self, other: &Self) {
        self.0.extend(other.0.clone());
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A parsed Modelfile.
///
/// ```
/// use mullama_hub::Modelfile;
///
/// let file: Modelfile = "FROM llama3.2\nPARAMETER temperature 0.2\nSYSTEM Answer in French.".parse()?;
/// assert_eq!(file.from, ["llama3.2"]);
/// assert_eq!(file.system.as_deref(), Some("Answer in French."));
/// # Ok::<(), mullama_hub::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Modelfile {
    /// `FROM`: the model, as a name or path; optionally followed by a projector.
    pub from: Vec<String>,
    /// `ADAPTER`: paths of `LoRA` adapters.
    pub adapters: Vec<String>,
    /// `DRAFT`: the path of a draft model.
    pub draft: Option<String>,
    /// `TEMPLATE`: the prompt template.
    pub template: Option<String>,
    /// `SYSTEM`: the system message.
    pub system: Option<String>,
    /// `PARAMETER`: generation options.
    pub parameters: Parameters,
    /// `MESSAGE`: initial messages of a chat.
    pub messages: Vec<Message>,
    /// `LICENSE`: licences.
    pub licenses: Vec<String>,
    /// `RENDERER`: Ollama's renderer of prompts. Stored, but without effect.
    pub renderer: Option<String>,
    /// `PARSER`: Ollama's parser of answers. Stored, but without effect.
    pub parser: Option<String>,
    /// `REQUIRES`: the minimum version of Ollama. Stored, but without effect.
    pub requires: Option<String>,
}

const INSTRUCTIONS: [&str; 11] = [
    "FROM",
    "PARAMETER",
    "TEMPLATE",
    "SYSTEM",
    "ADAPTER",
    "LICENSE",
    "MESSAGE",
    "REQUIRES",
    "DRAFT",
    "RENDERER",
    "PARSER",
];

impl Modelfile {
    /// A Modelfile with only a `FROM` instruction.
    pub fn from_model(from: impl Into<String>) -> Self {
        Self { from: vec![from.into()], ..Self::default() }
    }

    /// Parses a Modelfile.
    ///
    /// Returns `InvalidArgument`, with the line number, if it is invalid.
    pub fn parse(text: &str) -> Result<Self> {
        let mut file = Self::default();
        let mut lines = Lines { rest: text.strip_prefix('\u{feff}').unwrap_or(text), number: 0 };
        while let Some(line) = lines.next() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = lines.number;
            file.instruction(line, &mut lines).map_err(|error| {
                let message = format!("Modelfile, line {number}: {error}");
                let with_line =
                    Error::new(error.kind(), message).with_context("line", number.to_string());
                match error.hint() {
                    Some(hint) => with_line.with_hint(hint),
                    None => with_line,
                }
            })?;
        }
        if file.from.is_empty() {
            return Err(invalid("the Modelfile has no FROM")
                .with_hint("write FROM and the name or the path of a model"));
        }
        Ok(file)
    }

    /// Reads a Modelfile from a file.
    ///
    /// Returns `NotFound` if there is none, `Io` if it cannot be read, and the errors of [`Self::from_bytes`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = read_file(path, MAX_SIZE).map_err(|error| {
            let (kind, hint) = match error.kind() {
                io::ErrorKind::NotFound => (ErrorKind::NotFound, "check its path"),
                io::ErrorKind::FileTooLarge => (ErrorKind::InvalidArgument, TOO_LONG),
                io::ErrorKind::InvalidInput => (
                    ErrorKind::InvalidArgument,
                    "name a file; what comes through a pipe is read from -",
                ),
                _ => (ErrorKind::Io, "check its path and permissions"),
            };
            Error::new(kind, format!("cannot read the Modelfile {}: {error}", path.display()))
                .with_context("path", path.display())
                .with_hint(hint)
                .with_source(error)
        })?;
        Self::from_bytes(&bytes).map_err(|error| error.with_context("path", path.display()))
    }

    /// Parses the bytes of a Modelfile: UTF-8, or UTF-16 as written by PowerShell, with or without a byte order mark.
    /// Lines may end in CR LF.
    ///
    /// Returns `InvalidArgument` if it is not text or is invalid.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > MAX_SIZE {
            return Err(invalid("the Modelfile is too long").with_hint(TOO_LONG));
        }
        Self::parse(&decoded(bytes)?.replace("\r\n", "\n"))
    }

    fn instruction<'a>(&mut self, line: &'a str, lines: &mut Lines<'a>) -> Result<()> {
        let (word, rest) = first_word(line);
        let instruction = word.to_ascii_uppercase();
        let once = |slot: &mut Option<String>, value| *slot = Some(value);
        match instruction.as_str() {
            "FROM" => self.from.push(non_empty(&instruction, lines.value(rest)?)?),
            "ADAPTER" => self.adapters.push(non_empty(&instruction, lines.value(rest)?)?),
            "DRAFT" => once(&mut self.draft, non_empty(&instruction, lines.value(rest)?)?),
            "RENDERER" => once(&mut self.renderer, non_empty(&instruction, lines.value(rest)?)?),
            "PARSER" => once(&mut self.parser, non_empty(&instruction, lines.value(rest)?)?),
            "REQUIRES" => once(&mut self.requires, non_empty(&instruction, lines.value(rest)?)?),
            "TEMPLATE" => once(&mut self.template, lines.value(rest)?),
            "SYSTEM" => once(&mut self.system, lines.value(rest)?),
            "LICENSE" => self.licenses.push(lines.value(rest)?),
            "PARAMETER" => {
                let (name, rest) = first_word(rest);
                let value = non_empty("PARAMETER", lines.value(rest)?)?;
                self.parameters.set(name, &value)?;
            }
            "MESSAGE" => {
                let (role, rest) = first_word(rest);
                let role = role.to_ascii_lowercase();
                if !["system", "user", "assistant"].contains(&role.as_str()) {
                    return Err(invalid(format!("a message cannot be from {role:?}"))
                        .with_hint("the role is system, user or assistant"));
                }
                self.messages.push(Message { role, content: lines.value(rest)? });
            }
            _ => {
                let error = invalid(format!("there is no instruction {word:?}"));
                return Err(match nearest(&instruction, INSTRUCTIONS) {
                    Some(known) => error.with_hint(format!("did you mean {known}?")),
                    None => error.with_hint(format!("there are {}", INSTRUCTIONS.join(", "))),
                });
            }
        }
        Ok(())
    }

    /// A Modelfile that recreates this model from its existing files.
    pub fn of(model: &StoredModel) -> Self {
        let text = |path: &std::path::PathBuf| path.to_string_lossy().into_owned();
        Self {
            from: std::iter::once(&model.path).chain(&model.projector).map(text).collect(),
            adapters: model.adapters.iter().map(text).collect(),
            draft: model.draft.as_ref().map(text),
            template: model.template.clone(),
            system: model.system.clone(),
            parameters: model.parameters.clone(),
            messages: model.messages.clone(),
            licenses: model.licenses.clone(),
            renderer: model.config.renderer.clone(),
            parser: model.config.parser.clone(),
            requires: model.config.requires.clone(),
        }
    }

    /// Serialises the Modelfile. Parsing the result yields the same Modelfile.
    ///
    /// Returns `Unsupported` for text that a Modelfile cannot represent: the format has no escapes, which rules out
    /// most texts that contain `"""`.
    pub fn to_text(&self) -> Result<String> {
        let mut text = String::new();
        let mut line = |head: &str, value: &str| -> Result<()> {
            let quoted = quote(value).ok_or_else(|| {
                Error::new(
                    ErrorKind::Unsupported,
                    format!("the text of {head} cannot be written in a Modelfile"),
                )
                .with_context("text", value)
            })?;
            let _ = writeln!(text, "{head} {quoted}");
            Ok(())
        };
        let many = |head: &'static str, values: &'_ [String]| -> Vec<(&'static str, String)> {
            values.iter().map(|value| (head, value.clone())).collect()
        };
        let mut pairs = many("FROM", &self.from);
        pairs.extend(many("ADAPTER", &self.adapters));
        for (head, value) in [
            ("DRAFT", &self.draft),
            ("TEMPLATE", &self.template),
            ("SYSTEM", &self.system),
            ("RENDERER", &self.renderer),
            ("PARSER", &self.parser),
            ("REQUIRES", &self.requires),
        ] {
            pairs.extend(value.clone().map(|value| (head, value)));
        }
        for (head, value) in pairs {
            line(head, &value)?;
        }
        for (name, value) in self.parameters.iter() {
            let head = format!("PARAMETER {name}");
            let one = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
            match value {
                Value::Array(values) => {
                    values.iter().try_for_each(|value| line(&head, &one(value)))?;
                }
                value => line(&head, &one(value))?,
            }
        }
        for message in &self.messages {
            line(&format!("MESSAGE {}", message.role), &message.content)?;
        }
        for license in &self.licenses {
            line("LICENSE", license)?;
        }
        Ok(text)
    }
}

impl FromStr for Modelfile {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

fn invalid(message: impl Into<Text>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

/// Decodes the text of a file. A Modelfile starts with an ASCII character, so a zero byte next to it means UTF-16.
fn decoded(bytes: &[u8]) -> Result<String> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        String::from_utf16(&units).ok().filter(|_| rest.is_empty())
    };
    let text = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [1..=127, 0, ..] => utf16(bytes, u16::from_le_bytes),
        [0, 1..=127, ..] => utf16(bytes, u16::from_be_bytes),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    };
    text.filter(|text| !text.contains('\0')).ok_or_else(|| {
        let error = invalid("the Modelfile is not text in UTF-8 or UTF-16");
        if bytes.starts_with(&mullama_gguf::MAGIC) {
            return error.with_hint("it is a model: write FROM and its path into a Modelfile");
        }
        error.with_hint("save it in UTF-8")
    })
}

fn non_empty(what: &str, value: String) -> Result<String> {
    if value.is_empty() { Err(invalid(format!("{what} without a value"))) } else { Ok(value) }
}

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

/// Iterator over lines, and parser of values that span several lines.
struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        self.number += 1;
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        Some(line)
    }

    /// The value that starts here: the rest of the line, `"..."` or `"""..."""`.
    fn value(&mut self, start: &'a str) -> Result<String> {
        let start = start.trim();
        if let Some(start) = start.strip_prefix("\"\"\"") {
            return self.until(start, |line| line.split_once("\"\"\""));
        }
        if let Some(start) = start.strip_prefix('"') {
            return self.until(start, |line| Some((line.trim_end().strip_suffix('"')?, "")));
        }
        Ok(start.to_owned())
    }

    /// Appends lines until `end` finds the end of the value in one. It returns the part of the line that belongs to the
    /// value, and the text after the quotes.
    fn until(
        &mut self,
        start: &'a str,
        end: impl Fn(&'a str) -> Option<(&'a str, &'a str)>,
    ) -> Result<String> {
        let (mut text, mut line) = (String::new(), start);
        loop {
            if let Some((last, rest)) = end(line) {
                if !rest.trim().is_empty() {
                    return Err(invalid(format!("{:?} after the closing quotes", rest.trim())));
                }
                text.push_str(last);
                return Ok(text);
            }
            text.push_str(line);
            text.push('\n');
            line = self.next().ok_or_else(|| invalid("the quotes are not closed"))?;
        }
    }
}

/// Quotes the value in the simplest of the three forms that can represent it.
fn quote(value: &str) -> Option<String> {
    let forms = [value.to_owned(), format!("\"\"\"{value}\"\"\""), format!("\"{value}\"")];
    forms.into_iter().find(|form| {
        let (start, rest) = form.split_once('\n').unwrap_or((form, ""));
        let mut lines = Lines { rest, number: 0 };
        // As `instruction` reads it: without trailing white space.
        lines.value(start.trim_end()).is_ok_and(|read| read == value) && lines.rest.is_empty()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_values_are_read_line_by_line() {
        // Rescanning them for each line would take hours.
        let text = "a line\n\n".repeat(500_000);
        for quotes in ["\"", "\"\"\""] {
            let file = Modelfile::parse(&format!("FROM x\nSYSTEM {quotes}{text}{quotes}")).unwrap();
            assert_eq!(file.system.as_deref(), Some(text.as_str()));
            assert_eq!(Modelfile::parse(&file.to_text().unwrap()).unwrap(), file);
        }
        let open = format!("FROM x\nSYSTEM \"{text}");
        assert!(Modelfile::parse(&open).unwrap_err().to_string().contains("not closed"));
    }

    #[test]
    fn every_instruction_is_read() {
        let file = Modelfile::parse(
            r#"# a comment
from ./model.gguf
FROM ./mmproj.gguf
PARAMETER temperature 0.5
parameter NUM_CTX 4096
PARAMETER stop "<|end|>"
PARAMETER stop User:
PARAMETER use_mmap false
TEMPLATE """{{ if .System }}{{ .System }}
{{ end }}{{ .Prompt }}"""
SYSTEM "You are "Bob"."

ADAPTER ./lora.gguf
DRAFT ./small.gguf
LICENSE """
MIT
"""
LICENSE Apache-2.0
MESSAGE user Is 2 even?
MESSAGE Assistant "yes"
REQUIRES 0.14.0
RENDERER qwen3
PARSER qwen3
"#,
        )
        .unwrap();
        assert_eq!(file.from, ["./model.gguf", "./mmproj.gguf"]);
        assert_eq!(file.parameters.get("temperature"), Some(&0.5.into()));
        assert_eq!(file.parameters.get("num_ctx"), Some(&4096.into()));
        assert_eq!(file.parameters.get("use_mmap"), Some(&false.into()));
        assert_eq!(file.parameters.get("stop").unwrap().to_string(), r#"["<|end|>","User:"]"#);
        assert!(
            file.template.as_deref().unwrap().ends_with("{{ .System }}\n{{ end }}{{ .Prompt }}")
        );
        assert_eq!(file.system.as_deref(), Some("You are \"Bob\"."));
        assert_eq!(file.licenses, ["\nMIT\n", "Apache-2.0"]);
        assert_eq!(file.messages[1].role, "assistant");
        assert_eq!(file.messages[1].content, "yes");
        assert_eq!(file.draft.as_deref(), Some("./small.gguf"));
        assert_eq!(file.requires.as_deref(), Some("0.14.0"));
        assert_eq!(Modelfile::parse(&file.to_text().unwrap()).unwrap(), file);
    }

    #[test]
    fn invalid_instructions_are_rejected_with_their_line() {
        for (text, line, says) in [
            ("FORM x", Some("1"), "FORM"),
            ("FROM x\nPARAMETER temprature 1", Some("2"), "temprature"),
            ("FROM x\n\nPARAMETER seed abc", Some("3"), "whole number"),
            ("FROM x\nPARAMETER temperature NaN", Some("2"), "a number"),
            ("FROM x\nMESSAGE robot hi", Some("2"), "robot"),
            ("FROM x\nSYSTEM \"\"\"a\nb", Some("2"), "not closed"),
            ("FROM x\nSYSTEM \"\"\"a\"\"\" b", Some("2"), "after the closing"),
            ("FROM", Some("1"), "without a value"),
            ("# nothing", None, "no FROM"),
            ("", None, "no FROM"),
        ] {
            let error = Modelfile::parse(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert_eq!(error.get("line"), line, "{text}");
            assert!(error.to_string().contains(says), "{error}");
        }
        let error = Modelfile::parse("FROM x\nPARAMETER temprature 1").unwrap_err();
        assert_eq!(error.hint(), Some("did you mean temperature?"));
    }

    #[test]
    fn any_encoding_of_text_is_read() {
        let text = "FROM x\r\nSYSTEM \"\"\"Grüße \u{1f600}\r\nzwei\"\"\"\r\nMESSAGE user hi\r\n";
        let expected = Modelfile::parse(&text.replace('\r', "")).unwrap();
        let utf16 = |bytes: fn(u16) -> [u8; 2], marked: bool| -> Vec<u8> {
            let mark = marked.then_some(0xfeff);
            mark.into_iter().chain(text.encode_utf16()).flat_map(bytes).collect()
        };
        for bytes in [
            text.as_bytes().to_vec(),
            format!("\u{feff}{text}").into_bytes(),
            utf16(u16::to_le_bytes, true),
            utf16(u16::to_be_bytes, true),
            utf16(u16::to_le_bytes, false),
            utf16(u16::to_be_bytes, false),
        ] {
            assert_eq!(Modelfile::from_bytes(&bytes).unwrap(), expected, "{bytes:?}");
        }
        let cut = utf16(u16::to_le_bytes, true);
        for bytes in [
            &b"FROM x\nSYSTEM Gr\xfc\xdfe"[..],
            &cut[..cut.len() - 1],
            b"\xff\xfe\x00\xd8",
            b"\xff\xfe\0\0F\0\0\0",
            b"FROM x\nSYSTEM a\0b",
            b"GGUF\x03\0\0\0\xff",
        ] {
            let error = Modelfile::from_bytes(bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bytes:?}");
            assert!(error.to_string().contains("not text"), "{error}");
            let is_model = bytes.starts_with(b"GGUF");
            assert_eq!(error.hint().unwrap().contains("UTF-8"), !is_model, "{error:?}");
        }
        assert!(Modelfile::from_bytes(b"").unwrap_err().to_string().contains("no FROM"));
    }

    #[test]
    fn a_modelfile_that_cannot_be_read_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Modelfile");
        assert_eq!(Modelfile::read(&path).unwrap_err().kind(), ErrorKind::NotFound);
        let error = Modelfile::read(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
        std::fs::write(&path, "FROM x").unwrap();
        assert_eq!(Modelfile::read(&path).unwrap(), Modelfile::from_model("x"));
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(MAX_SIZE + 1).unwrap();
        assert_eq!(Modelfile::read(&path).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn texts_that_cannot_be_quoted_are_unsupported() {
        let file =
            Modelfile { system: Some("\"\"\"\n\"".to_owned()), ..Modelfile::from_model("x") };
        assert_eq!(file.to_text().unwrap_err().kind(), ErrorKind::Unsupported);
    }

    proptest! {
        #[test]
        fn modelfiles_round_trip(
            from in "[a-z./]{1,9}",
            system in proptest::option::of("[ab\" \n\r#\t]{0,12}"),
            template in proptest::option::of(".{0,20}"),
            content in "[a\"\n]{0,6}",
            stop in proptest::collection::vec("[a\" <|]{1,5}", 0..3),
            temperature in 0.0..2.0f64,
        ) {
            let mut file = Modelfile { template, system, ..Modelfile::from_model(from) };
            file.messages.push(Message { role: "user".to_owned(), content });
            file.parameters.set("temperature", &temperature.to_string()).unwrap();
            for stop in stop {
                file.parameters.set("stop", &stop).unwrap();
            }
            if let Ok(text) = file.to_text() {
                prop_assert_eq!(Modelfile::parse(&text).unwrap(), file, "{}", text);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in "(FROM|SYSTEM|\"\"\"|\"|PARAMETER|\n| |.){0,40}") {
            let _ = Modelfile::parse(&text);
        }
    }
}
