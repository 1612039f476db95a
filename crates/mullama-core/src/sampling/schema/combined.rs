//! The schemas that apply to one value together, and what they cannot require of it together.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::subschemas::{children, target};

/// Keywords whose schemas apply to the value of the schema that they are in, or to no value.
const SAME_VALUE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "$defs", "definitions"];

/// A schema that applies to a value.
pub(super) struct Part<'a> {
    pub place: String,
    pub schema: &'a Value,
    pub keywords: &'a Map<String, Value>,
}

impl<'a> Part<'a> {
    /// The values of a keyword that is a list.
    pub fn list(&self, keyword: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.keywords.get(keyword).and_then(Value::as_array).into_iter().flatten()
    }

    /// The names of the properties that are required.
    pub fn required(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.list("required").filter_map(Value::as_str)
    }
}

/// The schemas that apply to each value of a schema: itself, those in its `allOf`, those that they refer to.
pub(super) fn parts<'a>(schema: &'a Value, place: &str, root: &'a Value) -> Vec<Part<'a>> {
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    let mut left = vec![(place.to_owned(), schema)];
    while let Some((place, schema)) = left.pop() {
        let Value::Object(keywords) = schema else { continue };
        if !seen.insert(std::ptr::from_ref(keywords)) {
            continue;
        }
        left.extend(target(keywords, root).map(|(place, schema)| (place.into_owned(), schema)));
        let part = Part { place, schema, keywords };
        let all = part.list("allOf").enumerate();
        left.extend(all.map(|(index, schema)| (format!("{}/allOf/{index}", part.place), schema)));
        found.push(part);
    }
    found
}

/// Fails if schemas of one value require together what cannot be enforced. The error names the place.
pub(super) fn check(root: &Value) -> Result<(), String> {
    let mut checker = Checker { root, seen: HashSet::new() };
    checker.check(root, "#", &HashSet::new(), 0)
}

struct Checker<'a> {
    root: &'a Value,
    seen: HashSet<*const Value>,
}

impl<'a> Checker<'a> {
    /// `required` and `multiples`: the properties and the number of `multipleOf` in other schemas of the value.
    fn check(
        &mut self,
        schema: &'a Value,
        place: &str,
        required: &HashSet<&'a str>,
        mut multiples: usize,
    ) -> Result<(), String> {
        if !self.seen.insert(std::ptr::from_ref(schema)) {
            return Ok(());
        }
        let parts = parts(schema, place, self.root);
        let mut required = required.clone();
        required.extend(parts.iter().flat_map(Part::required));
        for part in &parts {
            let (place, count) = (&part.place, required.len() as u64);
            if let Some(least) = part.keywords.get("minProperties").and_then(Value::as_u64)
                && least > count + 1
            {
                return Err(format!(
                    "{place}: `minProperties` {least} cannot be enforced with {count} required properties: \
                     others might have the same name"
                ));
            }
            multiples += usize::from(part.keywords.contains_key("multipleOf"));
            if multiples > 1 {
                return Err(format!(
                    "{place}: `multipleOf` cannot be enforced together with another of the same value"
                ));
            }
        }
        for part in &parts {
            for keyword in ["anyOf", "oneOf"] {
                for (index, choice) in part.list(keyword).enumerate() {
                    let place = format!("{}/{keyword}/{index}", part.place);
                    self.check(choice, &place, &required, multiples)?;
                }
            }
        }
        for part in &parts {
            for child in children(part.schema, &part.place) {
                if !SAME_VALUE.contains(&child.keyword) {
                    self.check(child.schema, &child.place, &HashSet::new(), 0)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn min_properties_needs_required_names() {
        let named = |names: &[&str]| json!({"required": names, "additionalProperties": {}});
        let at_least = |least: u64, more: Value| {
            let mut schema = json!({"minProperties": least});
            schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            schema
        };
        for (refused, place) in [
            (at_least(2, json!({"patternProperties": {"^[ab]$": {}}})), "#"),
            (at_least(2, json!({})), "#"),
            (at_least(3, named(&["a"])), "#"),
            (json!({"properties": {"a": at_least(2, json!({}))}}), "#/properties/a"),
            (
                json!({"items": {"allOf": [at_least(3, json!({})), named(&["a"])]}}),
                "#/items/allOf/0",
            ),
            (json!({"anyOf": [{}, at_least(2, json!({}))]}), "#/anyOf/1"),
            (
                json!({"additionalProperties": {"$ref": "#/$defs/a"}, "$defs": {"a": at_least(2, json!({}))}}),
                "#/$defs/a",
            ),
        ] {
            let problem = check(&refused).unwrap_err();
            assert!(
                problem.starts_with(&format!("{place}: `minProperties`")),
                "{refused}: {problem}"
            );
        }
        for sound in [
            at_least(1, json!({})),
            at_least(2, named(&["a"])),
            at_least(2, named(&["a", "b"])),
            json!({"allOf": [at_least(2, json!({})), named(&["a", "b"])]}),
            json!({"required": ["a", "b"], "anyOf": [at_least(3, json!({}))]}),
            json!({"$ref": "#/$defs/a", "required": ["a"], "$defs": {"a": at_least(2, json!({}))}}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}),
        ] {
            assert_eq!(check(&sound), Ok(()), "{sound}");
        }
    }

    #[test]
    fn only_one_multiple_of_is_supported_per_value() {
        let twice = json!({"items": {"allOf": [{"multipleOf": 2}, {"multipleOf": 3}]}});
        assert!(check(&twice).unwrap_err().contains("/items/allOf/"));
        let once = json!({"multipleOf": 2, "anyOf": [{"minimum": 1}, {"multipleOf": 3}]});
        assert!(check(&once).unwrap_err().starts_with("#/anyOf/1"));
        let apart = json!({"anyOf": [{"multipleOf": 2}, {"multipleOf": 3}]});
        assert_eq!(check(&apart), Ok(()));
    }

    #[test]
    fn shared_subschemas_are_visited_once() {
        let twice = |index: u32| {
            let part = json!({"$ref": format!("#/$defs/d{index}")});
            json!({"allOf": [part, part], "anyOf": [part, part]})
        };
        let mut links: Map<_, _> = (1..40).map(|i| (format!("d{i}"), twice(i - 1))).collect();
        links.insert("d0".to_owned(), json!({"minProperties": 2}));
        let schema = json!({"$ref": "#/$defs/d39", "$defs": links});
        assert!(check(&schema).unwrap_err().starts_with("#/$defs/d0"));
    }
}
