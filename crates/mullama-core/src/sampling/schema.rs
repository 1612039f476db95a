//! Simplifies a JSON schema before it is compiled. All values that it then allows also follow the original schema.
//!
//! - Unknown formats are annotations, as JSON Schema defines.
//! - `oneOf` becomes `anyOf` if no value can follow two of its schemas: that can be enforced token by token.
//! - Bounds beyond the integers that floating-point numbers represent exactly are moved to the largest of these.
//! - Objects that list their properties have no others, unless the schema allows them explicitly: a model could add
//!   more without end.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Largest number of references that are followed one after the other.
pub(super) const MAX_REFERENCES: usize = 16;

/// Formats that are enforced.
const FORMATS: [&str; 11] = [
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
    "uri",
    "unknown",
];

/// Keywords that combine schemas of the same value.
const COMBINING: [&str; 5] = ["allOf", "anyOf", "oneOf", "$ref", "if"];

/// Keywords that define which properties objects may have in addition to the listed ones.
const EXTRA_PROPERTY_KEYWORDS: [&str; 3] =
    ["additionalProperties", "patternProperties", "unevaluatedProperties"];

/// Keywords whose contents are values, not schemas.
const VALUES: [&str; 4] = ["const", "default", "enum", "examples"];

/// The largest integer up to which floating-point numbers, as JSON readers use them, are exact.
const MAX_EXACT: i64 = 1 << 53;

/// The largest `multipleOf` that is enforced, written without its decimal point: enforcing it takes as many states.
const MAX_MULTIPLE: u64 = 10_000;

/// Fails for numbers that cannot be enforced. The error names their place.
pub(super) fn check_numbers(schema: &Value, place: &str) -> Result<(), String> {
    let is_beyond = |value: &Value| is_above(value, MAX_EXACT) || is_below(value, -MAX_EXACT);
    match schema {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| check_numbers(item, &format!("{place}/{index}"))),
        Value::Object(object) => object.iter().try_for_each(|(key, value)| match key.as_str() {
            "enum" | "const" => match find_number(value, &is_beyond) {
                Some(number) => Err(format!("{place}/{key}: {number} is beyond {MAX_EXACT}")),
                None => Ok(()),
            },
            "minimum" | "exclusiveMinimum" if is_above(value, MAX_EXACT) => {
                Err(format!("{place}: {key} is above {MAX_EXACT}"))
            }
            "maximum" | "exclusiveMaximum" if is_below(value, -MAX_EXACT) => {
                Err(format!("{place}: {key} is below -{MAX_EXACT}"))
            }
            "multipleOf" if digits(value).is_some_and(|digits| digits > MAX_MULTIPLE) => {
                Err(format!(
                    "{place}: {key} {value} has more digits than can be enforced: {MAX_MULTIPLE} at most"
                ))
            }
            key if VALUES.contains(&key) => Ok(()),
            key => check_numbers(value, &format!("{place}/{key}")),
        }),
        _ => Ok(()),
    }
}

/// Whether a number is above an integer. Floating-point numbers cannot represent the next integers above the bound.
fn is_above(number: &Value, bound: i64) -> bool {
    let is_above = |number: f64| number > bound as f64;
    number.as_i64().map_or_else(|| number.as_f64().is_some_and(is_above), |number| number > bound)
}

fn is_below(number: &Value, bound: i64) -> bool {
    let is_below = |number: f64| number < bound as f64;
    number.as_i64().map_or_else(|| number.as_f64().is_some_and(is_below), |number| number < bound)
}

/// Finds a number in a value for which `holds` returns true.
fn find_number<'a>(value: &'a Value, holds: &impl Fn(&Value) -> bool) -> Option<&'a Value> {
    match value {
        Value::Number(_) => holds(value).then_some(value),
        Value::Array(items) => items.iter().find_map(|item| find_number(item, holds)),
        Value::Object(object) => object.values().find_map(|value| find_number(value, holds)),
        _ => None,
    }
}

/// The digits of a number without the decimal point: 25 for 0.25.
fn digits(number: &Value) -> Option<u64> {
    let number = number.as_number()?.to_string();
    let mantissa = number.split(['e', 'E']).next()?;
    let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    Some(digits.parse().unwrap_or(u64::MAX))
}

pub(super) fn simplified(mut schema: Value) -> Value {
    let root = schema.clone();
    let mut combined = BTreeSet::new();
    find_combined_references(&root, false, &mut combined);
    rewrite(&mut schema, &root);
    close(&mut schema, "#", &combined);
    schema
}

/// Largest depth of a schema, including references: compiling it recurses for each level.
const MAX_DEPTH: usize = 100;

/// Fails for a schema that is nested too deeply.
pub(super) fn check_depth(schema: &Value) -> Result<(), String> {
    Depths { root: schema, deepest: BTreeMap::new(), open: BTreeSet::new() }.check(schema, 0)
}

struct Depths<'a> {
    root: &'a Value,
    /// The greatest depth at which each reference was followed.
    deepest: BTreeMap<&'a str, usize>,
    /// References that are being followed: recursion does not add depth.
    open: BTreeSet<&'a str>,
}

impl<'a> Depths<'a> {
    fn check(&mut self, schema: &'a Value, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("it has more than {MAX_DEPTH} levels"));
        }
        match schema {
            Value::Array(items) => items.iter().try_for_each(|item| self.check(item, depth + 1)),
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    self.follow(reference, depth + 1)?;
                }
                object.values().try_for_each(|value| self.check(value, depth + 1))
            }
            _ => Ok(()),
        }
    }

    fn follow(&mut self, reference: &'a str, depth: usize) -> Result<(), String> {
        let target = reference.strip_prefix('#').and_then(|at| self.root.pointer(at));
        let known = self.deepest.get(reference).is_some_and(|&before| before >= depth);
        let Some(target) = target.filter(|_| !known && !self.open.contains(reference)) else {
            return Ok(());
        };
        self.deepest.insert(reference, depth);
        self.open.insert(reference);
        let outcome = self.check(target, depth);
        self.open.remove(reference);
        outcome
    }
}

fn rewrite(schema: &mut Value, root: &Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, root)),
        Value::Object(object) => {
            let format = object.get("format").and_then(Value::as_str);
            if format.is_some_and(|format| !FORMATS.contains(&format)) {
                object.remove("format");
            }
            if let Some(Value::Array(choices)) = object.get("oneOf")
                && !object.contains_key("anyOf")
                && exclude_each_other(choices, root)
                && let Some(choices) = object.remove("oneOf")
            {
                object.insert("anyOf".to_owned(), choices);
            }
            for (key, value) in object {
                match key.as_str() {
                    "minimum" | "exclusiveMinimum" if is_below(value, -MAX_EXACT) => {
                        *value = (-MAX_EXACT).into();
                    }
                    "maximum" | "exclusiveMaximum" if is_above(value, MAX_EXACT) => {
                        *value = MAX_EXACT.into();
                    }
                    key if VALUES.contains(&key) => {}
                    _ => rewrite(value, root),
                }
            }
        }
        _ => {}
    }
}

/// Finds references that are combined with other schemas of the same value.
fn find_combined_references(schema: &Value, is_combined: bool, found: &mut BTreeSet<String>) {
    match schema {
        Value::Array(items) => {
            for item in items {
                find_combined_references(item, is_combined, found);
            }
        }
        Value::Object(object) => {
            let is_alone = object.len() == 1;
            if let Some(Value::String(reference)) = object.get("$ref")
                && (is_combined || !is_alone)
            {
                found.insert(reference.clone());
            }
            for (key, value) in object {
                let combines = key == "allOf" || (COMBINING.contains(&key.as_str()) && !is_alone);
                find_combined_references(value, combines, found);
            }
        }
        _ => {}
    }
}

/// Closes the objects of a schema that are not combined with others.
fn close(schema: &mut Value, place: &str, combined: &BTreeSet<String>) {
    let Value::Object(object) = schema else { return };
    let combines = COMBINING.iter().any(|keyword| object.contains_key(*keyword));
    if !combines && !combined.contains(place) {
        close_object(object);
    }
    let is_alone = object.len() == 1;
    for (key, value) in object {
        match (key.as_str(), value) {
            (
                "properties" | "patternProperties" | "$defs" | "definitions",
                Value::Object(inner),
            ) => {
                for (name, value) in inner {
                    close(value, &format!("{place}/{key}/{name}"), combined);
                }
            }
            ("items" | "additionalProperties", value) => {
                close(value, &format!("{place}/{key}"), combined);
            }
            ("prefixItems", Value::Array(items)) => {
                for (index, value) in items.iter_mut().enumerate() {
                    close(value, &format!("{place}/{key}/{index}"), combined);
                }
            }
            ("anyOf" | "oneOf", Value::Array(items)) if is_alone => {
                for (index, value) in items.iter_mut().enumerate() {
                    close(value, &format!("{place}/{key}/{index}"), combined);
                }
            }
            _ => {}
        }
    }
}

fn close_object(object: &mut Map<String, Value>) {
    let Some(Value::Object(properties)) = object.get("properties") else { return };
    let required = object.get("required").and_then(Value::as_array).into_iter().flatten();
    let mut names = required.filter_map(Value::as_str);
    if names.any(|name| !properties.contains_key(name))
        || EXTRA_PROPERTY_KEYWORDS.iter().any(|keyword| object.contains_key(*keyword))
        || object.contains_key("minProperties")
    {
        return;
    }
    object.insert("additionalProperties".to_owned(), false.into());
    object.entry("type").or_insert_with(|| "object".into());
}

fn exclude_each_other(choices: &[Value], root: &Value) -> bool {
    let choices: Vec<_> = choices.iter().map(|choice| resolve(choice, root)).collect();
    choices.iter().enumerate().all(|(index, one)| {
        choices[index + 1..].iter().all(|other| match (one, other) {
            (Some(one), Some(other)) => are_disjoint(one, other, root),
            _ => false,
        })
    })
}

/// Follows the references of a schema; `None` if they lead nowhere.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> Option<&'a Map<String, Value>> {
    let mut schema = schema.as_object()?;
    for _ in 0..MAX_REFERENCES {
        let Some(reference) = schema.get("$ref") else { return Some(schema) };
        schema = root.pointer(reference.as_str()?.strip_prefix('#')?)?.as_object()?;
    }
    None
}

fn are_disjoint(one: &Map<String, Value>, other: &Map<String, Value>, root: &Value) -> bool {
    if let (Some(one), Some(other)) = (listed_values(one), listed_values(other)) {
        return one.iter().all(|value| !other.contains(value));
    }
    if let (Some(one), Some(other)) = (types(one), types(other))
        && one.iter().all(|name| !other.contains(name))
        // Every integer is a number.
        && !(one.contains(&"number") && other.contains(&"integer"))
        && !(one.contains(&"integer") && other.contains(&"number"))
    {
        return true;
    }
    // Objects that both require a property whose values differ: a discriminator.
    let required = |schema: &Map<String, Value>| {
        let names = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        names.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let property = |schema: &Map<String, Value>, name: &str| {
        resolve(schema.get("properties")?.get(name)?, root).cloned()
    };
    let is_object = |schema| types(schema).is_some_and(|types| types == ["object"]);
    is_object(one)
        && is_object(other)
        && required(one).iter().filter(|name| required(other).contains(name)).any(|name| {
            match (property(one, name), property(other, name)) {
                (Some(one), Some(other)) => are_disjoint(&one, &other, root),
                _ => false,
            }
        })
}

/// The values that a schema enumerates.
fn listed_values(schema: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(Value::Array(values))) => Some(values.iter().collect()),
        _ => None,
    }
}

fn types(schema: &Map<String, Value>) -> Option<Vec<&str>> {
    match schema.get("type")? {
        Value::String(name) => Some(vec![name]),
        Value::Array(names) => names.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_excludes_each_other_is_any_of() {
        let is_any_of = |choices: Value| {
            let schema = json!({"oneOf": choices, "$defs": {"text": {"type": "string"}}});
            simplified(schema).get("anyOf").is_some()
        };
        assert!(is_any_of(json!([{"type": "string"}, {"type": "integer"}])));
        assert!(is_any_of(json!([{"$ref": "#/$defs/text"}, {"type": ["null", "array"]}])));
        assert!(is_any_of(json!([{"const": "a"}, {"enum": ["b", "c"]}])));
        let tagged = |tag: &str| json!({"type": "object", "required": ["kind"], "properties": {"kind": {"const": tag}}});
        assert!(is_any_of(json!([tagged("cat"), tagged("dog")])));
        assert!(!is_any_of(json!([tagged("cat"), tagged("cat")])));
        assert!(!is_any_of(json!([{"type": "number"}, {"type": "integer"}])));
        assert!(!is_any_of(json!([{"type": "string"}, {"minLength": 3}])));
        assert!(!is_any_of(json!([{"type": "string"}, {"$ref": "#/nowhere"}])));
    }

    #[test]
    fn objects_that_stand_alone_are_closed() {
        let closed = |schema: &Value, place: &str| {
            simplified(schema.clone()).pointer(place).unwrap()["additionalProperties"] == false
        };
        let open = json!({"properties": {"a": {"type": "integer"}}});
        assert!(closed(&open, ""));
        assert!(closed(&json!({"type": "array", "items": open}), "/items"));
        assert!(closed(&json!({"anyOf": [open, {"type": "null"}]}), "/anyOf/0"));
        let alone = json!({"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": open}});
        assert!(closed(&alone, "/$defs/a"));
        assert!(!closed(&json!({"allOf": [open, open]}), "/allOf/0"));
        let with = json!({"allOf": [{"$ref": "#/$defs/a"}, open], "$defs": {"a": open}});
        assert!(!closed(&with, "/$defs/a"));
        assert!(!closed(&json!({"properties": {"a": true}, "anyOf": [open]}), ""));
        assert!(!closed(&json!({"properties": {"a": true}, "anyOf": [open]}), "/anyOf/0"));
        assert!(!closed(&json!({"properties": {}, "required": ["b"]}), ""));
        let text = json!({"properties": {"a": {"format": "int32"}, "b": {"format": "date"}}});
        let text = simplified(text);
        assert!(text["properties"]["a"].get("format").is_none());
        assert_eq!(text["properties"]["b"]["format"], "date");
    }

    #[test]
    fn depth_is_bounded() {
        let chain = |count: usize| {
            let link = |index| json!({"properties": {"a": {"$ref": format!("#/$defs/d{index}")}}});
            let links: Map<_, _> = (1..count).map(|i| (format!("d{i}"), link(i - 1))).collect();
            let mut schema = json!({"$ref": format!("#/$defs/d{}", count - 1), "$defs": links});
            schema["$defs"]["d0"] = json!({"type": "object"});
            schema
        };
        assert!(check_depth(&chain(10)).is_ok());
        assert!(check_depth(&chain(4000)).unwrap_err().contains("levels"));
        let circle = json!({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}});
        assert!(check_depth(&circle).is_ok());
        // It has two to the power of its number of parts paths.
        let twice = |index| json!({"items": {"$ref": format!("#/$defs/d{index}")}, "not": {"$ref": format!("#/$defs/d{index}")}});
        let links: Map<_, _> = (1..40).map(|i| (format!("d{i}"), twice(i - 1))).collect();
        assert!(check_depth(&json!({"$ref": "#/$defs/d39", "$defs": links})).is_ok());
    }
}
