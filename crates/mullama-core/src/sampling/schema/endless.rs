//! Finds the schemas that only an endless value would match, such as a list of at least one such list.
//!
//! A value has one of six types. For each schema, the types that a finite value can have are the smallest solution of
//! equations: an object needs its required properties, a list its first items. What has no solution even as the
//! largest one is a contradiction, which llguidance explains.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::combined::{Part, parts};
use super::keywords::count;
use super::subschemas::{children, target, visit};

/// A set of types, one bit each.
type Types = u8;

const ARRAY: Types = 1 << 4;
const OBJECT: Types = 1 << 5;
const ALL: Types = (1 << 6) - 1;

/// Replaces the schemas that only an endless value would match by ones that nothing matches. Fails if the schema is
/// itself one. The error names the place of the cycle.
pub(super) fn remove(schema: &mut Value) -> Result<(), String> {
    let endless = {
        let (finite, possible) = (Solution::of(schema, 0), Solution::of(schema, ALL));
        let is_endless = |schema: &Value| {
            let types =
                |solution: &Solution<'_>| solution.types.get(&std::ptr::from_ref(schema)).copied();
            types(&finite) == Some(0) && types(&possible) != Some(0)
        };
        if is_endless(schema) {
            let place = cycle(schema, &is_endless);
            return Err(format!("{place}: no text matches it, because a value would never end"));
        }
        let mut places = Vec::new();
        let _ = visit(schema, "", &mut |place, part| {
            if is_endless(part) {
                places.push(place.to_owned());
            }
            Ok(())
        });
        places
    };
    for place in endless {
        if let Some(Value::Object(part)) = schema.pointer_mut(&place) {
            part.retain(|keyword, _| {
                !["$ref", "allOf", "anyOf", "oneOf", "const"].contains(&&**keyword)
            });
            part.insert("enum".to_owned(), Value::Array(Vec::new()));
        }
    }
    Ok(())
}

/// The place at which a schema that is endless leads back to itself.
fn cycle(root: &Value, is_endless: &impl Fn(&Value) -> bool) -> String {
    let (mut place, mut schema) = ("#".to_owned(), root);
    let mut seen = HashSet::new();
    while seen.insert(std::ptr::from_ref(schema)) {
        let referred = schema.as_object().and_then(|keywords| target(keywords, root));
        let referred = referred.map(|(place, schema)| (place.into_owned(), schema));
        let parts = children(schema, &place).into_iter().map(|part| (part.place, part.schema));
        let Some(next) = referred.into_iter().chain(parts).find(|(_, part)| is_endless(part))
        else {
            break;
        };
        (place, schema) = next;
    }
    place
}

/// For each schema, the types of the values that match it.
struct Solution<'a> {
    root: &'a Value,
    /// What is assumed of a schema at first.
    assumed: Types,
    types: HashMap<*const Value, Types>,
    /// The schemas, in the order in which they were found.
    found: Vec<&'a Value>,
}

impl<'a> Solution<'a> {
    fn of(root: &'a Value, assumed: Types) -> Self {
        let mut solution = Self { root, assumed, types: HashMap::new(), found: Vec::new() };
        visit_values(root, &mut |schema| _ = solution.types_of(schema));
        let mut is_settled = false;
        while !is_settled {
            is_settled = true;
            for index in (0..solution.found.len()).rev() {
                let schema = solution.found[index];
                let types = solution.computed(schema);
                is_settled &=
                    solution.types.insert(std::ptr::from_ref(schema), types) == Some(types);
            }
        }
        solution
    }

    fn types_of(&mut self, schema: &'a Value) -> Types {
        if let Some(types) = self.types.get(&std::ptr::from_ref(schema)) {
            return *types;
        }
        self.types.insert(std::ptr::from_ref(schema), self.assumed);
        self.found.push(schema);
        let types = self.computed(schema);
        self.types.insert(std::ptr::from_ref(schema), types);
        types
    }

    fn computed(&mut self, schema: &'a Value) -> Types {
        if let Value::Bool(is_any) = schema {
            return if *is_any { ALL } else { 0 };
        }
        let parts = parts(schema, "", self.root);
        let (mut types, mut is_listed) = (ALL, false);
        for part in &parts {
            if let Some(named) = part.keywords.get("type") {
                types &= named_types(named);
            }
            let listed = part.keywords.get("const").into_iter().chain(part.list("enum"));
            let listed = listed.map(type_of).reduce(|all, one| all | one);
            is_listed |= listed.is_some();
            types &= listed.unwrap_or(ALL);
            // Only references that lead back to themselves have no part.
            if let Some((_, referred)) = target(part.keywords, self.root) {
                types &= self.types_of(referred);
            }
            for keyword in ["anyOf", "oneOf"] {
                let choices: Vec<_> = part.list(keyword).collect();
                if !choices.is_empty() {
                    types &= choices.into_iter().fold(0, |all, it| all | self.types_of(it));
                }
            }
        }
        // Listed values are finite.
        if !is_listed && types & OBJECT != 0 && !self.has_object(&parts) {
            types &= !OBJECT;
        }
        if !is_listed && types & ARRAY != 0 && !self.has_array(&parts) {
            types &= !ARRAY;
        }
        types
    }

    fn has_object(&mut self, parts: &[Part<'a>]) -> bool {
        let names: HashSet<&str> = parts.iter().flat_map(Part::required).collect();
        let least = least(parts, "minProperties");
        names.iter().all(|name| self.is_matched(parts.iter().filter_map(|it| property(it, name))))
            && (least <= names.len() as u64 || parts.iter().all(|part| self.has_property(part)))
    }

    /// Whether an object can have a property, as far as one schema is concerned.
    fn has_property(&mut self, part: &Part<'a>) -> bool {
        let Some(others) = part.keywords.get("additionalProperties") else { return true };
        let named = ["properties", "patternProperties"].into_iter();
        let named = named.filter_map(|keyword| part.keywords.get(keyword)?.as_object());
        let mut properties = named.flat_map(Map::values).chain([others]);
        properties.any(|property| self.types_of(property) != 0)
    }

    fn has_array(&mut self, parts: &[Part<'a>]) -> bool {
        // Items after the listed ones are alike.
        let listed = parts.iter().map(|part| prefix(part).len() as u64).max().unwrap_or(0);
        let needed = least(parts, "minItems").min(listed + 1) as usize;
        (0..needed).all(|index| self.is_matched(parts.iter().filter_map(|it| item(it, index))))
    }

    /// Whether a value can match all of these schemas.
    fn is_matched(&mut self, schemas: impl Iterator<Item = &'a Value>) -> bool {
        schemas.fold(ALL, |types, schema| types & self.types_of(schema)) != 0
    }
}

/// Visits all schemas in the order of their depth, deepest first.
fn visit_values<'a>(schema: &'a Value, look: &mut impl FnMut(&'a Value)) {
    for part in children(schema, "") {
        visit_values(part.schema, look);
    }
    look(schema);
}

/// The largest value of a keyword that counts.
fn least(parts: &[Part<'_>], keyword: &str) -> u64 {
    parts.iter().filter_map(|part| count(part.keywords.get(keyword)?)).max().unwrap_or(0)
}

/// The schema of a property, unless a pattern may apply to its name.
fn property<'a>(part: &Part<'a>, name: &str) -> Option<&'a Value> {
    let named = part.keywords.get("properties").and_then(|properties| properties.get(name));
    let has_patterns = part.keywords.contains_key("patternProperties");
    let other = || part.keywords.get("additionalProperties").filter(|_| !has_patterns);
    named.or_else(other)
}

/// The schemas of the first items.
fn prefix<'a>(part: &Part<'a>) -> &'a [Value] {
    let listed = part.keywords.get("prefixItems").or_else(|| part.keywords.get("items"));
    listed.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn item<'a>(part: &Part<'a>, index: usize) -> Option<&'a Value> {
    let others = || match part.keywords.get("items") {
        Some(Value::Array(_)) => part.keywords.get("additionalItems"),
        items => items,
    };
    prefix(part).get(index).or_else(others)
}

fn named_types(named: &Value) -> Types {
    match named {
        Value::String(name) => match name.as_str() {
            "null" => type_of(&Value::Null),
            "boolean" => type_of(&Value::Bool(true)),
            "integer" | "number" => type_of(&Value::from(0)),
            "string" => type_of(&Value::from("")),
            "array" => ARRAY,
            "object" => OBJECT,
            _ => ALL,
        },
        Value::Array(names) => names.iter().fold(0, |all, name| all | named_types(name)),
        _ => ALL,
    }
}

fn type_of(value: &Value) -> Types {
    match value {
        Value::Null => 1,
        Value::Bool(_) => 1 << 1,
        Value::Number(_) => 1 << 2,
        Value::String(_) => 1 << 3,
        Value::Array(_) => ARRAY,
        Value::Object(_) => OBJECT,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn infinite_schemas_are_rejected_with_their_place() {
        let list = json!({"type": "array", "items": {"$ref": "#"}, "minItems": 1});
        let object = |of: &str| json!({"type": "object", "required": ["a"], "properties": {"a": {"$ref": of}}});
        for (schema, place) in [
            (json!({"$ref": "#"}), "#"),
            (list, "#"),
            (object("#"), "#"),
            (json!({"$ref": "#/$defs/x", "$defs": {"x": object("#/$defs/x")}}), "#/$defs/x"),
            (
                json!({"properties": {"b": object("#/properties/b")}, "required": ["b"], "type": "object"}),
                "#/properties/b",
            ),
            (
                json!({"anyOf": [object("#"), {"type": "array", "prefixItems": [{"$ref": "#"}], "minItems": 1}]}),
                "#",
            ),
            (
                json!({"allOf": [{"required": ["a"]}, {"type": "object", "properties": {"a": {"$ref": "#"}}}]}),
                "#",
            ),
            (
                json!({"$ref": "#/$defs/x", "$defs": {"x": object("#/$defs/y"), "y": object("#/$defs/x")}}),
                "#/$defs/x",
            ),
            (
                json!({"type": "object", "minProperties": 1, "additionalProperties": {"$ref": "#"}}),
                "#",
            ),
            (
                json!({"type": "object", "required": ["a"], "properties": {
                    "a": {"allOf": [{"$ref": "#/$defs/x"}, {"type": "object"}]},
                }, "$defs": {"x": {"type": ["null", "object"], "required": ["b"], "properties": {"b": {"$ref": "#"}}}}}),
                "#/properties/a",
            ),
        ] {
            let problem = remove(&mut schema.clone()).expect_err(&schema.to_string());
            assert!(problem.starts_with(&format!("{place}: no text")), "{schema}: {problem}");
        }
    }

    #[test]
    fn finite_recursive_schemas_are_unchanged() {
        for schema in [
            json!({"type": "array", "items": {"$ref": "#"}}),
            json!({"items": {"$ref": "#"}, "minItems": 1}),
            json!({"type": "object", "required": ["a"], "properties": {
                "a": {"anyOf": [{"type": "null"}, {"$ref": "#"}]},
            }}),
            json!({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}, "enum": [{"a": 1}]}),
            // A contradiction, not an endless value.
            json!({"properties": {"a": {"allOf": [{"type": "string"}, {"type": "null"}]}}}),
            json!({"properties": {"a": false}, "required": ["a"], "type": "object"}),
            json!({"$ref": "#/nowhere"}),
        ] {
            let mut kept = schema.clone();
            assert_eq!(remove(&mut kept), Ok(()), "{schema}");
            assert_eq!(kept, schema);
        }
    }

    #[test]
    fn infinite_optional_parts_are_removed() {
        let mut schema = json!({
            "properties": {"a": {"$ref": "#/$defs/x"}, "b": {"type": "null"}},
            "$defs": {"x": {"type": "array", "items": {"$ref": "#/$defs/x"}, "minItems": 1}},
        });
        remove(&mut schema).unwrap();
        assert_eq!(schema["properties"]["a"], json!({"enum": []}));
        assert_eq!(schema["properties"]["b"], json!({"type": "null"}));
    }
}
