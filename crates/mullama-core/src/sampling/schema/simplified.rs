//! Simplifies a JSON schema before it is compiled. All values that it then allows also follow the original schema.
//!
//! - Keywords that llguidance does not know are written in terms of others, where that is possible ([`equivalent`]).
//! - Formats become patterns. Unknown ones are annotations, as JSON Schema defines.
//! - `oneOf` becomes `anyOf` if no value can follow two of its schemas: that can be enforced token by token.
//! - Bounds of numbers become bounds that can be enforced ([`bounds`]).
//! - Objects that list their properties have no others, unless the schema allows them explicitly: a model could add
//!   more without end.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::keywords::{COUNTS, MAX_COUNT, count, types};
use super::subschemas::{
    MAX_REFERENCES, children_mut, escaped, reference_to, referred_place, target,
};
use super::{bounds, equivalent, pattern, texts};

/// Keywords that combine schemas of the same value.
const COMBINING: [&str; 5] = ["allOf", "anyOf", "oneOf", "$ref", "if"];

/// Keywords that define which properties objects may have in addition to the listed ones.
const EXTRA_PROPERTY_KEYWORDS: [&str; 3] =
    ["additionalProperties", "patternProperties", "unevaluatedProperties"];

pub(super) fn simplified(mut schema: Value) -> Value {
    let root = schema.clone();
    let mut combined = BTreeSet::new();
    find_combined_references(&root, false, &mut combined);
    rewrite(&mut schema, &root);
    close(&mut schema, "#", &combined);
    schema
}

/// Largest depth of a schema, including references: compiling it recurses for each level.
pub(super) const MAX_DEPTH: usize = 100;

/// Whether a schema is nested too deeply.
pub(super) fn is_too_deep(schema: &Value) -> bool {
    !Depths { root: schema, deepest: HashMap::new(), open: HashSet::new() }.are_bounded(schema, 0)
}

struct Depths<'a> {
    root: &'a Value,
    /// The greatest depth at which each schema was referred to.
    deepest: HashMap<*const Value, usize>,
    /// Schemas whose references are being followed: recursion does not add depth.
    open: HashSet<*const Value>,
}

impl<'a> Depths<'a> {
    fn are_bounded(&mut self, schema: &'a Value, depth: usize) -> bool {
        if depth > MAX_DEPTH {
            return false;
        }
        match schema {
            Value::Array(items) => items.iter().all(|item| self.are_bounded(item, depth + 1)),
            Value::Object(object) => {
                self.is_bounded_at(object, depth + 1)
                    && object.values().all(|value| self.are_bounded(value, depth + 1))
            }
            _ => true,
        }
    }

    /// Follows the reference of a schema.
    fn is_bounded_at(&mut self, schema: &'a Map<String, Value>, depth: usize) -> bool {
        let Some((_, target)) = target(schema, self.root) else { return true };
        let key = std::ptr::from_ref(target);
        let is_known = self.deepest.get(&key).is_some_and(|&before| before >= depth);
        if is_known || self.open.contains(&key) {
            return true;
        }
        self.deepest.insert(key, depth);
        self.open.insert(key);
        let is_bounded = self.are_bounded(target, depth);
        self.open.remove(&key);
        is_bounded
    }
}

fn rewrite(schema: &mut Value, root: &Value) {
    let Value::Object(object) = schema else { return };
    if !equivalent::rewrite(object) {
        *schema = false.into();
        return;
    }
    if let Some((place, _)) = target(object, root) {
        object["$ref"] = reference_to(&place).into();
    }
    rewrite_patterns(object);
    if let Some(Value::Array(choices)) = object.get("oneOf")
        && !object.contains_key("anyOf")
        && exclude_each_other(choices, root)
        && let Some(choices) = object.remove("oneOf")
    {
        object.insert("anyOf".to_owned(), choices);
    }
    for keyword in COUNTS {
        match object.get(keyword).and_then(count) {
            None => {}
            Some(MAX_COUNT..) if keyword.starts_with("max") => _ = object.remove(keyword),
            Some(count) => object[keyword] = count.into(),
        }
    }
    bounds::narrow(object);
    for part in children_mut(object) {
        rewrite(part, root);
    }
}

/// Replaces a format by its pattern, and patterns by those that are enforced.
fn rewrite_patterns(object: &mut Map<String, Value>) {
    if let Some(Value::String(pattern)) = object.get_mut("pattern") {
        *pattern = pattern::enforced(pattern);
    }
    if let Some(Value::Object(properties)) = object.get_mut("patternProperties") {
        let enforced = |(pattern, schema): (String, Value)| (pattern::enforced(&pattern), schema);
        *properties = std::mem::take(properties).into_iter().map(enforced).collect();
    }
    let format = object.remove("format");
    let Some(texts) = format.as_ref().and_then(Value::as_str).and_then(texts::format) else {
        return;
    };
    let texts = format!("^(?:{texts})$").into();
    match (object.contains_key("pattern"), object.get_mut("allOf")) {
        (false, _) => _ = object.insert("pattern".to_owned(), texts),
        (true, Some(Value::Array(all))) => all.push(json!({"pattern": texts})),
        (true, _) => _ = object.insert("allOf".to_owned(), json!([{"pattern": texts}])),
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
                found.insert(referred_place(reference).into_owned());
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
                    close(value, &format!("{place}/{key}/{}", escaped(name)), combined);
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
        if !schema.contains_key("$ref") {
            return Some(schema);
        }
        schema = target(schema, root)?.1.as_object()?;
    }
    None
}

fn are_disjoint(one: &Map<String, Value>, other: &Map<String, Value>, root: &Value) -> bool {
    if let (Some(one), Some(other)) = (listed_values(one), listed_values(other)) {
        return one.iter().all(|value| !other.iter().any(|it| are_equal(value, it)));
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

/// Whether values are the same in JSON: 1 and 1.0 are.
fn are_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| are_equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, value)| other.get(name).is_some_and(|it| are_equal(value, it)))
        }
        _ => one == other,
    }
}

/// The values that a schema enumerates.
fn listed_values(schema: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(Value::Array(values))) => Some(values.iter().collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusive_one_of_becomes_any_of() {
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
        assert!(!is_any_of(json!([{"const": {"a": [1]}}, {"enum": [2, {"a": [1.0]}]}])));
        assert!(!is_any_of(json!([{"type": "string"}, {"minLength": 3}])));
        assert!(!is_any_of(json!([{"type": "string"}, {"$ref": "#/nowhere"}])));
    }

    #[test]
    fn standalone_objects_reject_additional_properties() {
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
        assert_eq!(text["properties"]["b"].get("format"), None);
        assert!(
            text["properties"]["b"]["pattern"].as_str().unwrap().starts_with("^(?:(?:[0-9]{4}-")
        );
        let both = simplified(json!({"format": "date", "pattern": "^2", "allOf": [{}]}));
        assert_eq!(both["pattern"], "^2");
        assert!(both["allOf"][1]["pattern"].is_string());
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
        assert!(!is_too_deep(&chain(10)));
        assert!(is_too_deep(&chain(4000)));
        let circle = json!({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}});
        assert!(!is_too_deep(&circle));
        // It has two to the power of its number of parts paths.
        let twice = |index| json!({"items": {"$ref": format!("#/$defs/d{index}")}, "not": {"$ref": format!("#/$defs/d{index}")}});
        let links: Map<_, _> = (1..40).map(|i| (format!("d{i}"), twice(i - 1))).collect();
        assert!(!is_too_deep(&json!({"$ref": "#/$defs/d39", "$defs": links})));
    }
}
