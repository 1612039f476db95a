//! Generates texts from the rules in files of the corpus.
//!
//! A line `<name>` begins a rule; each indented line below it is an alternative. In an alternative, `<name>` is
//! replaced by the output of that rule, `\n` and `\r` are line breaks, `\\` is a backslash, and a lone `\` is empty.
//! `<number>` and `<text>` are built in. Beyond the maximum depth, the first alternative is taken, which must
//! terminate.

use std::collections::HashMap;

use fastrand::Rng;
use serde_json::Value;

use crate::mutate;

/// Maximum nesting depth of rules.
const MAX_DEPTH: u32 = 12;
/// Number of bytes after which rules end as if they were too deep.
const MAX_LENGTH: usize = 4000;

pub struct Grammar {
    rules: HashMap<&'static str, Vec<Vec<Part>>>,
    /// Whether built-in texts are escaped for JSON strings.
    is_json: bool,
}

enum Part {
    Text(String),
    Rule(&'static str),
}

impl Grammar {
    /// Reads rules. Text in angle brackets that is not the name of a rule is literal.
    pub fn read(text: &'static str) -> Self {
        let heading = |line: &'static str| line.strip_prefix('<')?.strip_suffix('>');
        let names: Vec<_> = text.lines().filter_map(heading).collect();
        let mut rules = HashMap::<_, Vec<_>>::new();
        let mut name = "";
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(next) = heading(line) {
                name = next;
            } else {
                let line =
                    line.strip_prefix("    ").unwrap_or_else(|| panic!("{line} is not indented"));
                rules.entry(name).or_default().push(parts(line, &names));
            }
        }
        Self { rules, is_json: false }
    }

    /// Reads rules that generate JSON.
    pub fn read_json(text: &'static str) -> Self {
        Self { is_json: true, ..Self::read(text) }
    }

    /// Generates a text from a rule.
    pub fn make(&self, rule: &str, rng: &mut Rng) -> String {
        let mut text = String::new();
        self.add(rule, rng, 0, &mut text);
        text
    }

    fn add(&self, rule: &str, rng: &mut Rng, depth: u32, text: &mut String) {
        match rule {
            "number" => return text.push_str(&mutate::number(rng)),
            "text" if self.is_json => {
                let quoted = Value::from(mutate::words(rng)).to_string();
                return text.push_str(&quoted[1..quoted.len() - 1]);
            }
            "text" => return text.push_str(&mutate::words(rng)),
            _ => {}
        }
        let alternatives = &self.rules[rule];
        let is_enough = depth >= MAX_DEPTH || text.len() >= MAX_LENGTH;
        let choice = if is_enough { 0 } else { rng.usize(..alternatives.len()) };
        for part in &alternatives[choice] {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Rule(name) => self.add(name, rng, depth + 1, text),
            }
        }
    }
}

fn parts(line: &'static str, names: &[&'static str]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = line;
    let mut literal = String::new();
    while let Some(next) = rest.chars().next() {
        let name =
            rest.strip_prefix('<').and_then(|rest| rest.split_once('>')).map(|(name, _)| name);
        if let Some(name) =
            name.filter(|name| names.contains(name) || ["number", "text"].contains(name))
        {
            parts.push(Part::Text(std::mem::take(&mut literal)));
            parts.push(Part::Rule(name));
            rest = &rest[name.len() + 2..];
        } else if let Some(after) = rest.strip_prefix("\\n") {
            literal.push('\n');
            rest = after;
        } else if let Some(after) = rest.strip_prefix("\\r") {
            literal.push('\r');
            rest = after;
        } else if let Some(after) = rest.strip_prefix("\\\\") {
            literal.push('\\');
            rest = after;
        } else if rest == "\\" {
            break;
        } else {
            literal.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    parts.push(Part::Text(literal));
    parts
}
