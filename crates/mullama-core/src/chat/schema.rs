//! Checks the arguments of tool calls against JSON schemas.
//!
//! Only keywords that determine the structure of a value are checked: types, properties, items, enumerations, and
//! references within the schema. Other keywords (patterns, ranges) are left to the tool.

use serde_json::{Map, Value};

/// References can be cyclic.
const MAX_DEPTH: usize = 64;

/// Returns an error such as "city: a string is needed" if the value does not match.
pub(crate) fn check(value: &Value, schema: &Value) -> Result<(), String> {
    Checker { root: schema }.check(value, schema, "", 0)
}

struct Checker<'a> {
    root: &'a Value,
}

impl Checker<'_> {
    fn check(&self, value: &Value, schema: &Value, path: &str, depth: usize) -> Result<(), String> {
        let Some(schema) = schema.as_object().filter(|_| depth < MAX_DEPTH) else { return Ok(()) };
        let problem =
            |what: String| Err(if path.is_empty() { what } else { format!("`{path}`: {what}") });
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target = reference.strip_prefix('#').and_then(|path| self.root.pointer(path));
            if let Some(target) = target {
                self.check(value, target, path, depth + 1)?;
            }
        }
        if let Some(types) = schema.get("type")
            && !is_of(value, types)
        {
            let names: Vec<_> = types.as_array().map_or_else(
                || types.as_str().into_iter().collect(),
                |list| list.iter().filter_map(Value::as_str).collect(),
            );
            return problem(format!("must be of type {}, not {value}", names.join(" or ")));
        }
        if let Some(Value::Array(listed)) = schema.get("enum")
            && !listed.contains(value)
        {
            let listed = Value::from(listed.clone());
            return problem(format!("must be one of {listed}, not {value}"));
        }
        if let Some(wanted) = schema.get("const")
            && wanted != value
        {
            return problem(format!("must be {wanted}, not {value}"));
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(Value::Array(choices)) = schema.get(keyword) {
                let first = choices.iter().map(|choice| self.check(value, choice, path, depth + 1));
                let failures: Vec<_> = first.collect();
                if !failures.is_empty() && failures.iter().all(Result::is_err) {
                    return failures.into_iter().next().unwrap_or(Ok(()));
                }
            }
        }
        match value {
            Value::Object(object) => self.check_object(object, schema, path, depth),
            Value::Array(items) => {
                let Some(item_schema) = schema.get("items") else { return Ok(()) };
                items.iter().enumerate().try_for_each(|(index, item)| {
                    self.check(item, item_schema, &format!("{path}[{index}]"), depth + 1)
                })
            }
            _ => Ok(()),
        }
    }

    fn check_object(
        &self,
        object: &Map<String, Value>,
        schema: &Map<String, Value>,
        path: &str,
        depth: usize,
    ) -> Result<(), String> {
        let within = |name: &str| {
            if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
        };
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        if let Some(name) =
            required.filter_map(Value::as_str).find(|name| !object.contains_key(*name))
        {
            return Err(format!("`{}` is missing", within(name)));
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        for (name, value) in object {
            match (properties.and_then(|properties| properties.get(name)), others) {
                // A tool without such a parameter cannot use the argument.
                (None, Some(Value::Bool(false)) | None) if properties.is_some() => {
                    return Err(format!("there is no `{}`", within(name)));
                }
                (Some(schema), _) | (None, Some(schema)) => {
                    self.check(value, schema, &within(name), depth + 1)?;
                }
                (None, None) => {}
            }
        }
        Ok(())
    }
}

fn is_of(value: &Value, types: &Value) -> bool {
    match types {
        Value::Array(types) => types.iter().any(|one| is_of(value, one)),
        Value::String(name) => match name.as_str() {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "number" => value.is_number(),
            "integer" => {
                value.is_i64()
                    || value.is_u64()
                    || value.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            _ => true,
        },
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_checked_against_schemas() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "unit": {"enum": ["C", "F"]},
                "where": {"$ref": "#/$defs/place"},
                "tags": {"type": "array", "items": {"type": ["string", "null"]}},
                "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            },
            "required": ["city"],
            "$defs": {"place": {"type": "object", "properties": {"x": {"type": "number"}}}},
        });
        for good in [
            json!({"city": "Oslo"}),
            json!({"city": "Oslo", "days": 2.0, "unit": "C", "where": {"x": 1.5}}),
            json!({"city": "Oslo", "tags": ["a", null], "either": "x"}),
        ] {
            assert_eq!(check(&good, &schema), Ok(()), "{good}");
        }
        for (bad, said) in [
            (json!({}), "`city` is missing"),
            (json!({"city": 3}), "`city`: must be of type string, not 3"),
            (json!({"city": "Oslo", "unit": "K"}), "`unit`: must be one of"),
            (json!({"city": "Oslo", "days": 1.5}), "`days`"),
            (json!({"city": "Oslo", "where": {"x": "y"}}), "`where.x`"),
            (json!({"city": "Oslo", "tags": ["a", 1]}), "`tags[1]`"),
            (json!({"city": "Oslo", "either": []}), "`either`"),
            (json!({"city": "Oslo", "town": "x"}), "there is no `town`"),
        ] {
            let problem = check(&bad, &schema).unwrap_err();
            assert!(problem.contains(said), "{problem}");
        }
    }

    #[test]
    fn unconstrained_and_circular_schemas_accept_all_values() {
        assert_eq!(check(&json!({"a": 1}), &json!({"type": "object"})), Ok(()));
        assert_eq!(check(&json!({"a": 1}), &json!(true)), Ok(()));
        let circular = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}});
        assert_eq!(check(&json!(1), &circular), Ok(()));
    }
}
