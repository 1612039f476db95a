//! Definitions of a grammar in llguidance's format.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value;

/// Optional white space.
pub(super) const SPACE: &str = r"/(?: |\n{1,2}[ \t]{0,20})?/";

/// Rules and terminals, each defined once.
#[derive(Default)]
pub(super) struct Lark {
    text: String,
    names: HashMap<String, String>,
}

impl Lark {
    /// A terminal: a regular expression, matched greedily and as a unit.
    pub fn terminal(&mut self, expression: &str) -> String {
        self.named('T', expression)
    }

    pub fn rule(&mut self, expression: &str) -> String {
        self.named('r', expression)
    }

    /// A JSON value that follows a schema.
    pub fn json(&mut self, schema: &Value) -> String {
        self.rule(&format!("%json {schema}"))
    }

    fn named(&mut self, kind: char, expression: &str) -> String {
        let name = self.names.get(expression).filter(|name| name.starts_with(kind));
        if let Some(name) = name {
            return name.clone();
        }
        let name = self.new_name(kind);
        self.define(&name, expression);
        self.names.insert(expression.to_owned(), name.clone());
        name
    }

    /// Reserves a name for a rule that is defined later.
    pub fn reserve(&mut self) -> String {
        self.new_name('r')
    }

    fn new_name(&mut self, kind: char) -> String {
        let name = format!("{kind}{}", self.names.len());
        self.names.insert(format!("= {name}"), name.clone());
        name
    }

    pub fn define(&mut self, name: &str, expression: &str) {
        let _ = writeln!(self.text, "{name}: {expression}");
    }

    /// Adds definitions whose names are not those of this type: `r` or `T` with a number.
    pub fn add(&mut self, definitions: &str) {
        self.text.push_str(definitions);
    }

    /// The whole grammar.
    pub fn finish(mut self, start: &str) -> String {
        self.define("start", start);
        self.text
    }
}
