//! Texts made by rules, which files of the corpus have.
//!
//! A line `<name>` begins a rule; each indented line below it is an alternative. In an alternative `<name>` stands
//! for what that rule makes, `\n` and `\r` for a line's end, `\\` for a backslash, and a lone `\` for nothing. `<number>` and
//! `<text>` are built in. Too deep, the first alternative is taken: it must come to an end.

use std::collections::HashMap;

use fastrand::Rng;
use serde_json::Value;

use crate::mutate;

/// So many rules may stand in each other.
const DEEPEST: u32 = 12;
/// Beyond so many bytes rules end as when they are too deep.
const LONGEST: usize = 4000;

pub struct Grammar {
    rules: HashMap<&'static str, Vec<Vec<Part>>>,
    /// Whether what is built in stands in strings of JSON.
    is_json: bool,
}

enum Part {
    Text(String),
    Rule(&'static str),
}

impl Grammar {
    /// Reads rules. What stands in angle brackets and is the name of no rule is text.
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

    /// Reads rules that make JSON.
    pub fn read_json(text: &'static str) -> Self {
        Self { is_json: true, ..Self::read(text) }
    }

    /// A text by this rule.
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
        let is_enough = depth >= DEEPEST || text.len() >= LONGEST;
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
