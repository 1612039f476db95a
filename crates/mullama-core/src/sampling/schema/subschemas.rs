//! The schemas within a JSON schema, and their places: JSON pointers with a leading `#`.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value};

/// Characters that a URI has only as `%` and two digits, after a `#` (RFC 3986, appendix A).
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Largest number of references that are followed one after the other.
pub(super) const MAX_REFERENCES: usize = 16;

/// Keywords that have one schema.
const SINGLE: [&str; 9] = [
    "additionalItems",
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
];

/// Keywords that have a list of schemas. `items` is a list in older drafts.
const LISTS: [&str; 5] = ["allOf", "anyOf", "items", "oneOf", "prefixItems"];

/// Keywords that have schemas by name.
const NAMED: [&str; 5] =
    ["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];

/// A schema within another one.
pub(super) struct Child<'a> {
    /// The keyword that it belongs to.
    pub keyword: &'a str,
    pub place: String,
    pub schema: &'a Value,
}

/// The schemas directly within a schema, in the order of its keywords.
pub(super) fn children<'a>(schema: &'a Value, place: &str) -> Vec<Child<'a>> {
    let mut found = Vec::new();
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        let keyword = keyword.as_str();
        let mut add = |place, schema| found.push(Child { keyword, place, schema });
        match value {
            Value::Object(parts) if NAMED.contains(&keyword) => {
                for (name, part) in parts {
                    add(format!("{place}/{keyword}/{}", escaped(name)), part);
                }
            }
            Value::Array(parts) if LISTS.contains(&keyword) => {
                for (index, part) in parts.iter().enumerate() {
                    add(format!("{place}/{keyword}/{index}"), part);
                }
            }
            part if SINGLE.contains(&keyword) => add(format!("{place}/{keyword}"), part),
            _ => {}
        }
    }
    found
}

/// The schemas directly within a schema, to change them.
pub(super) fn children_mut(schema: &mut Map<String, Value>) -> Vec<&mut Value> {
    let mut found: Vec<&mut Value> = Vec::new();
    for (keyword, value) in schema {
        let keyword = keyword.as_str();
        if NAMED.contains(&keyword) {
            found.extend(value.as_object_mut().into_iter().flat_map(Map::values_mut));
        } else if LISTS.contains(&keyword) && value.is_array() {
            found.extend(value.as_array_mut().into_iter().flatten());
        } else if SINGLE.contains(&keyword) {
            found.push(value);
        }
    }
    found
}

/// Visits a schema and all schemas within it.
pub(super) fn visit(
    schema: &Value,
    place: &str,
    look: &mut impl FnMut(&str, &Value) -> Result<(), String>,
) -> Result<(), String> {
    look(place, schema)?;
    children(schema, place).iter().try_for_each(|part| visit(part.schema, &part.place, look))
}

/// The place and the schema that a reference within the root schema leads to.
pub(super) fn target<'a>(
    schema: &'a Map<String, Value>,
    root: &'a Value,
) -> Option<(Cow<'a, str>, &'a Value)> {
    let place = referred_place(schema.get("$ref")?.as_str()?);
    let target = root.pointer(place.strip_prefix('#')?)?;
    Some((place, target))
}

/// The place that a reference leads to, which may be written as a part of a URI.
pub(super) fn referred_place(reference: &str) -> Cow<'_, str> {
    percent_decode_str(reference).decode_utf8_lossy()
}

/// A reference to a place of the root schema, as a part of a URI.
pub(super) fn reference_to(place: &str) -> String {
    let pointer = place.strip_prefix('#').unwrap_or(place);
    format!("#{}", utf8_percent_encode(pointer, ENCODED))
}

/// Escapes a name for a JSON pointer.
pub(crate) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_subschemas_are_visited_with_their_place() {
        let schema = json!({
            "properties": {"a/b": {"items": [true, {"not": {}}]}, "items": {"enum": [{"items": {}}]}},
            "anyOf": [{"$ref": "#/$defs/x"}],
            "additionalProperties": false,
            "$defs": {"x": {"prefixItems": [{}]}},
            "default": {"items": {}},
        });
        let mut places = Vec::new();
        visit(&schema, "#", &mut |place, part| {
            assert_eq!(schema.pointer(&place[1..]), Some(part));
            places.push(place.to_owned());
            Ok(())
        })
        .unwrap();
        places.sort_unstable();
        assert_eq!(
            places,
            [
                "#",
                "#/$defs/x",
                "#/$defs/x/prefixItems/0",
                "#/additionalProperties",
                "#/anyOf/0",
                "#/properties/a~1b",
                "#/properties/a~1b/items/0",
                "#/properties/a~1b/items/1",
                "#/properties/a~1b/items/1/not",
                "#/properties/items",
            ]
        );
        let reference = schema["anyOf"][0].as_object().unwrap();
        assert_eq!(target(reference, &schema).unwrap().0, "#/$defs/x");
    }

    #[test]
    fn references_may_be_parts_of_uris() {
        let schema = json!({"$defs": {"Page[int]": true, "a b%": false}});
        for (reference, place, encoded) in [
            ("#/$defs/Page[int]", "#/$defs/Page[int]", "#/$defs/Page%5Bint%5D"),
            ("#/$defs/Page%5Bint%5D", "#/$defs/Page[int]", "#/$defs/Page%5Bint%5D"),
            ("#/$defs/a b%", "#/$defs/a b%", "#/$defs/a%20b%25"),
        ] {
            let reference = json!({"$ref": reference});
            let found = target(reference.as_object().unwrap(), &schema).unwrap();
            assert_eq!(found.0, place);
            assert_eq!(reference_to(&found.0), encoded);
        }
    }
}
