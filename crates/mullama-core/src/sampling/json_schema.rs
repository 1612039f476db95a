//! A JSON schema that llguidance can enforce, and its parts.

use std::panic::AssertUnwindSafe;

use llguidance::api::{GrammarInit, ParserLimits, TopLevelGrammar};
use llguidance::panic_utils::catch_unwind;
use serde_json::{Map, Value, json};

use super::schema::{MAX_REFERENCES, check_depth, check_numbers, simplified};
use super::text_schema::{Texts, texts_of};
use crate::engine::with_stack;
use crate::{Error, ErrorKind, Result};

/// White space between the parts of a value. It is limited to common forms, because a model might otherwise continue it
/// forever.
pub(super) const WHITE_SPACE: &str = r"(?: |\n{1,2}[ \t]{0,20})";

/// Bytes of stack for compiling a schema.
pub(super) const STACK: usize = 6 << 20;

/// Where a part contains the root schema that it refers to.
const ROOT: &str = "#/$defs/root";

/// All keywords that constrain a value.
const KEYWORDS: [&str; 36] = [
    "$dynamicRef",
    "$ref",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "if",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "required",
    "then",
    "uniqueItems",
];

/// Keywords that determine the structure of values.
const SHAPES: [&str; 13] = [
    "$defs",
    "$ref",
    "allOf",
    "anyOf",
    "const",
    "definitions",
    "enum",
    "items",
    "oneOf",
    "prefixItems",
    "properties",
    "required",
    "type",
];

/// A schema that can be enforced.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    root: Value,
}

impl Schema {
    /// Simplifies and checks a schema. Fails if a part of it cannot be enforced.
    pub fn new(schema: &Value) -> Result<Self> {
        let schema = match schema {
            Value::String(text) => serde_json::from_str(text)
                .map_err(|error| unusable(&format!("it is not valid JSON: {error}")))?,
            other => other.clone(),
        };
        check_depth(&schema)
            .and_then(|()| check_numbers(&schema, "#"))
            .map_err(|reason| unusable(&reason))?;
        let root = match simplified(schema) {
            Value::Bool(true) => json!({}),
            schema @ Value::Object(_) => schema,
            Value::Bool(false) => return Err(unusable("`false` allows nothing")),
            _ => return Err(unusable("an object, true or false is expected")),
        };
        let schema = Self { root };
        let grammar = TopLevelGrammar::from_json_schema(schema.at(""));
        let compile = || {
            let limits = ParserLimits { verbose_errors: false, ..ParserLimits::default() };
            let compile = || GrammarInit::Serialized(grammar).to_internal(None, limits).map(drop);
            // llguidance panics if it quotes a value and would have to cut it within a character.
            catch_unwind(AssertUnwindSafe(compile))
        };
        with_stack(STACK, compile)?
            .map_err(|reason| unusable(&single_line(&format!("{reason:#}"))))?;
        Ok(schema)
    }

    /// The schema at a place (a JSON pointer), in the form that llguidance compiles.
    pub fn at(&self, place: &str) -> Value {
        with_settings(self.whole(place))
    }

    /// The schema at a place, without its texts.
    pub fn without_texts(&self, place: &str) -> Value {
        let mut schema = self.whole(place);
        let definitions = schema.as_object_mut().and_then(|it| it.remove("$defs"));
        let others = json!({"type": ["object", "array", "number", "boolean", "null"]});
        let mut both = json!({"allOf": [schema, others]});
        if let Some(definitions) = definitions {
            both["$defs"] = definitions;
        }
        with_settings(both)
    }

    /// A part, together with the root schema if it refers to it.
    fn whole(&self, place: &str) -> Value {
        let part = self.root.pointer(place).cloned().unwrap_or_default();
        if place.is_empty() {
            return part;
        }
        let mut part = if part.is_object() { part } else { json!({"allOf": [part]}) };
        if has_reference(&part) {
            let mut root = self.root.clone();
            if let Some(root) = root.as_object_mut() {
                root.retain(|name, _| !matches!(name.as_str(), "$schema" | "$id" | "id"));
            }
            refer_to_root(&mut root);
            refer_to_root(&mut part);
            part["$defs"] = json!({ "root": root });
        }
        part
    }

    /// The texts that the schema at a place allows.
    pub fn texts(&self, place: &str) -> Result<Texts> {
        let schema = self.root.pointer(place).unwrap_or(&Value::Null);
        texts_of(schema, &self.root).map_err(|reason| unusable(&format!("{reason} (#{place})")))
    }

    /// Follows references that stand alone. Returns the last place, and its schema.
    pub fn resolved(&self, place: &str) -> (String, &Value) {
        let mut place = place.to_owned();
        for _ in 0..MAX_REFERENCES {
            let Some(Value::Object(schema)) = self.root.pointer(&place) else { break };
            let is_alone = schema.keys().all(|name| name == "$ref" || !Self::is_keyword(name));
            let reference = schema.get("$ref").and_then(Value::as_str);
            let Some(target) = reference.and_then(|it| it.strip_prefix('#')).filter(|_| is_alone)
            else {
                break;
            };
            if self.root.pointer(target).is_none() {
                break;
            }
            target.clone_into(&mut place);
        }
        let schema = self.root.pointer(&place).unwrap_or(&Value::Null);
        (place, schema)
    }

    /// The place of a property's schema in that of an object, or in one of its alternatives.
    pub fn property(&self, object: &str, name: &str) -> Option<String> {
        self.property_at(object, name, 0)
    }

    fn property_at(&self, object: &str, name: &str, depth: usize) -> Option<String> {
        let (place, schema) = self.resolved(object);
        let own = format!("{place}/properties/{}", Self::escaped(name));
        if self.root.pointer(&own).is_some() {
            return Some(own);
        }
        if depth > MAX_REFERENCES {
            return None;
        }
        ["anyOf", "oneOf"].into_iter().find_map(|keyword| {
            let count = schema.get(keyword)?.as_array()?.len();
            let choice = |at| self.property_at(&format!("{place}/{keyword}/{at}"), name, depth + 1);
            (0..count).find_map(choice)
        })
    }

    /// The place of the schema of an array's items.
    pub fn items(&self, array: &str) -> Option<String> {
        let (place, schema) = self.resolved(array);
        schema.get("items").map(|_| format!("{place}/items"))
    }

    /// The minimum and maximum number of items of an array.
    pub fn counts(&self, array: &str) -> Result<(u64, Option<u64>)> {
        let (place, schema) = self.resolved(array);
        if let Some(keyword) = ["prefixItems", "allOf"].iter().find(|it| schema.get(it).is_some()) {
            let what = format!("`{keyword}` at #{place} cannot be enforced between tags");
            return Err(unusable(&what));
        }
        let count = |keyword: &str| schema.get(keyword).and_then(Value::as_u64);
        Ok((count("minItems").unwrap_or(0), count("maxItems")))
    }

    /// The properties that an object must have.
    pub fn required(&self, object: &str) -> Vec<String> {
        let names = self.resolved(object).1.get("required").and_then(Value::as_array);
        let names = names.into_iter().flatten().filter_map(Value::as_str);
        names.map(str::to_owned).collect()
    }

    /// Whether a keyword constrains values.
    pub fn is_keyword(name: &str) -> bool {
        name == "type" || name == "properties" || KEYWORDS.contains(&name)
    }

    /// Escapes a name for a JSON pointer.
    pub fn escaped(name: &str) -> String {
        name.replace('~', "~0").replace('/', "~1")
    }
}

/// The structure that a schema requires, without limits on values. A schema that is a single reference is replaced by
/// its target.
pub(crate) fn shape_of(schema: &Value) -> Value {
    let mut schema = schema.clone();
    for _ in 0..MAX_REFERENCES {
        let reference = schema["$ref"].as_str().and_then(|it| it.strip_prefix('#'));
        let Some(Value::Object(target)) = reference.and_then(|at| schema.pointer(at)) else {
            break;
        };
        let mut target = target.clone();
        for name in ["$defs", "definitions"] {
            if let Some(definitions) = schema.get(name) {
                target.entry(name).or_insert_with(|| definitions.clone());
            }
        }
        schema = target.into();
    }
    shape(&mut schema);
    schema
}

fn shape(schema: &mut Value) {
    let Value::Object(object) = schema else {
        // `true`, in the form that the engine accepts.
        *schema = json!({});
        return;
    };
    object.retain(|name, _| SHAPES.contains(&name.as_str()));
    for (name, value) in object {
        match (name.as_str(), value) {
            ("properties" | "$defs" | "definitions", Value::Object(parts)) => {
                parts.values_mut().for_each(shape);
            }
            ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(parts)) => {
                parts.iter_mut().for_each(shape);
            }
            ("items", part) => shape(part),
            _ => {}
        }
    }
}

fn with_settings(mut schema: Value) -> Value {
    schema["x-guidance"] = json!({"whitespace_flexible": true, "whitespace_pattern": WHITE_SPACE});
    schema
}

fn has_reference(schema: &Value) -> bool {
    match schema {
        Value::Array(items) => items.iter().any(has_reference),
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name == "$ref" || has_reference(value))
        }
        _ => false,
    }
}

/// Adjusts references within a schema to its new place.
fn refer_to_root(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(refer_to_root),
        Value::Object(fields) => each_reference(fields),
        _ => {}
    }
}

fn each_reference(fields: &mut Map<String, Value>) {
    for (name, value) in fields {
        match value {
            Value::String(reference) if name == "$ref" => {
                if let Some(place) = reference.strip_prefix('#') {
                    *reference = format!("{ROOT}{place}");
                }
            }
            value => refer_to_root(value),
        }
    }
}

/// The error of a schema that cannot be enforced.
pub(crate) fn unusable(reason: &str) -> Error {
    unsupported_constraint(SCHEMA, reason)
}

/// The name of a schema in error messages.
pub(super) const SCHEMA: &str = "the JSON schema";

/// The error of a constraint that cannot be enforced.
pub(super) fn unsupported_constraint(what: &str, reason: &str) -> Error {
    Error::new(ErrorKind::InvalidGrammar, format!("{what} cannot be enforced: {reason}"))
}

/// Shortens a reason to one line: it may have several, quote a long schema, and contain a backtrace.
pub(super) fn single_line(reason: &str) -> String {
    const MAX_REASON_CHARACTERS: usize = 300;
    let reason = reason.split("\n<backtrace>").next().unwrap_or_default();
    let line = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_REASON_CHARACTERS) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_what_they_refer_to() {
        let schema = json!({
            "type": "object",
            "properties": {
                "a/b": {"$ref": "#/$defs/text"},
                "n": {"type": "integer"},
                "list": {"type": "array", "items": {"$ref": "#/properties/n"}},
            },
            "$defs": {"text": {"type": "string", "maxLength": 2}},
        });
        let schema = Schema::new(&schema).unwrap();
        let place = schema.property("", "a/b").unwrap();
        assert_eq!(place, "/properties/a~1b");
        assert_eq!(schema.resolved(&place).0, "/$defs/text");
        let list = schema.at("/properties/list");
        assert_eq!(list["items"]["$ref"], "#/$defs/root/properties/n");
        assert_eq!(list["$defs"]["root"]["properties"]["n"]["type"], "integer");
        assert_eq!(schema.at("/properties/n").get("$defs"), None);
        for place in ["", "/properties/list", "/properties/n", "/properties/a~1b"] {
            Schema::new(&schema.at(place)).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        for (schema, said) in [
            (json!({"properties": {"a": {"type": "array", "uniqueItems": true}}}), "uniqueItems"),
            (json!({"not": {"type": "string"}}), "not"),
            (json!({"properties": {"a": {"$ref": "#/nowhere"}}}), "nowhere"),
            (json!({"properties": {"a": {"type": "string", "pattern": "(?=a)b"}}}), "(?=a)b"),
            (json!(false), "`false`"),
            (
                json!({"type": "array", "minItems": {(format!("a{}", "é".repeat(99))): 1}}),
                "char boundary",
            ),
            (json!(3), "an object"),
        ] {
            let error = Schema::new(&schema).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidGrammar);
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn shapes_have_no_bounds() {
        let schema = json!({
            "$ref": "#/$defs/all",
            "$defs": {"all": {
                "type": "object",
                "properties": {"pattern": {"type": "string", "pattern": "^a$", "maxLength": 2}},
                "required": ["pattern"],
                "additionalProperties": false,
            }},
        });
        let shape = shape_of(&schema);
        assert_eq!(shape["properties"], json!({"pattern": {"type": "string"}}));
        assert_eq!(shape["required"], json!(["pattern"]));
    }
}
