//! Checks the values of a JSON schema's keywords: whether they are valid, and within the limits of what is enforced.

use serde_json::{Map, Value};

use super::bounds::{self, MAX_EXACT, is_above, is_below};
use super::ecma;
use super::subschemas::{target, visit};
use crate::sampling::refusal::single_line;

/// The types of values.
const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

/// Keywords that count items, properties or characters.
pub(super) const COUNTS: [&str; 6] =
    ["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"];

/// The largest count that is enforced. Larger maxima have no effect on a text of any length that can be generated.
pub(super) const MAX_COUNT: u64 = 1 << 31;

/// The largest `multipleOf` that is enforced, written without its decimal point: enforcing it takes as many states.
const MAX_MULTIPLE: u64 = 10_000;

/// The most properties of an object that may be missing. Compiling them takes time that grows with their square.
const MAX_OPTIONAL: usize = 3000;

/// Fails for a keyword whose value is invalid or cannot be enforced. The error names its place.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    visit(schema, "#", &mut |place, part| match part {
        Value::Bool(_) => Ok(()),
        Value::Object(keywords) => check_all(keywords)
            .and_then(|()| check_reference(keywords, schema))
            .map_err(|reason| format!("{place}: {reason}")),
        other => Err(format!("{place}: expected an object, true or false, not {}", shown(other))),
    })
}

/// Fails for a reference to a place that the schema does not have. llguidance does not say where such a reference is.
fn check_reference(keywords: &Map<String, Value>, root: &Value) -> Result<(), String> {
    let reference = keywords.get("$ref").and_then(Value::as_str).unwrap_or_default();
    // In a part with an id, places are those of the part.
    let mut has_own_places = |place: &str, part: &Value| match part.get("$id") {
        Some(_) if place != "#" => Err(String::new()),
        _ => Ok(()),
    };
    let is_nowhere = reference.starts_with("#/")
        && target(keywords, root).is_none()
        && visit(root, "#", &mut has_own_places).is_ok();
    if is_nowhere {
        Err(format!("`$ref` leads nowhere: {}", single_line(reference)))
    } else {
        Ok(())
    }
}

fn check_all(schema: &Map<String, Value>) -> Result<(), String> {
    for (keyword, value) in schema {
        check_one(keyword, value).map_err(|reason| format!("`{keyword}` {reason}"))?;
    }
    let count = |keyword: &str| match schema.get(keyword) {
        Some(Value::Object(properties)) => properties.len(),
        Some(Value::Array(names)) => names.len(),
        _ => 0,
    };
    let optional = count("properties").saturating_sub(count("required"));
    if optional > MAX_OPTIONAL {
        return Err(format!(
            "`properties` has {optional} that are not required, and {MAX_OPTIONAL} are the most that can be enforced"
        ));
    }
    bounds::check(schema)
}

fn check_one(keyword: &str, value: &Value) -> Result<(), String> {
    let wanted = |is_valid: bool, what: &str| {
        if is_valid { Ok(()) } else { Err(format!("must be {what}, not {}", shown(value))) }
    };
    match keyword {
        keyword if COUNTS.contains(&keyword) => match count(value) {
            None => wanted(false, "a whole number that is not negative"),
            Some(count) if keyword.starts_with("min") && count > MAX_COUNT => {
                Err(format!("is {value}, and {MAX_COUNT} is the most that can be enforced"))
            }
            Some(_) => Ok(()),
        },
        "minimum" | "maximum" => wanted(value.is_number(), "a number"),
        "exclusiveMinimum" | "exclusiveMaximum" => {
            wanted(value.is_number() || value.is_boolean(), "a number")
        }
        "multipleOf" => {
            wanted(value.as_f64().is_some_and(|it| it > 0.0), "a number above 0")?;
            match digits(value) {
                Some(digits) if digits > MAX_MULTIPLE => Err(format!(
                    "{value} has more digits than can be enforced: {MAX_MULTIPLE} at most"
                )),
                _ => match value.as_f64().map(scaled) {
                    Some(scaled) if scaled > f64::from(u32::MAX) => Err(format!(
                        "{value} cannot be enforced: without its decimal point, floating-point arithmetic makes it {scaled}"
                    )),
                    _ => Ok(()),
                },
            }
        }
        "type" => match value {
            Value::Array(names) if names.is_empty() => Err("lists no type".to_owned()),
            Value::Array(names) => names.iter().try_for_each(check_type),
            name => check_type(name),
        },
        "enum" | "const" => {
            let is_beyond =
                |value: &Value| is_above(value, MAX_EXACT) || is_below(value, -MAX_EXACT);
            if keyword == "enum" {
                wanted(value.as_array().is_some_and(|it| !it.is_empty()), "a list of values")?;
            }
            match find_number(value, &is_beyond) {
                Some(number) => Err(format!("has {number}, which is beyond {MAX_EXACT}")),
                None => Ok(()),
            }
        }
        "pattern" => {
            wanted(value.is_string(), "a text")?;
            value.as_str().and_then(ecma::problem).map_or(Ok(()), Err)
        }
        "format" | "$ref" => wanted(value.is_string(), "a text"),
        "required" => wanted(
            value.as_array().is_some_and(|names| names.iter().all(Value::is_string)),
            "a list of names",
        ),
        "anyOf" | "oneOf" | "allOf" => {
            wanted(value.as_array().is_some_and(|it| !it.is_empty()), "a list of schemas")
        }
        "prefixItems" => wanted(value.is_array(), "a list of schemas"),
        "properties" | "patternProperties" | "$defs" | "definitions" => {
            wanted(value.is_object(), "an object of schemas")?;
            let patterns = value.as_object().filter(|_| keyword == "patternProperties");
            let mut patterns = patterns.into_iter().flat_map(Map::keys);
            patterns.find_map(|pattern| ecma::problem(pattern)).map_or(Ok(()), Err)
        }
        _ => Ok(()),
    }
}

fn check_type(name: &Value) -> Result<(), String> {
    match name.as_str() {
        Some(known) if TYPES.contains(&known) => Ok(()),
        _ => Err(format!("has {}, and the types are {}", shown(name), TYPES.join(", "))),
    }
}

/// A value in an error message.
fn shown(value: &Value) -> String {
    single_line(&value.to_string())
}

/// A count: a whole number, which JSON Schema lets be written as 2.0.
pub(super) fn count(value: &Value) -> Option<u64> {
    let whole = || value.as_f64().filter(|it| *it >= 0.0 && it.fract() == 0.0);
    value.as_u64().or_else(|| whole().map(|count| count as u64))
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

/// A number without its decimal point, as llguidance computes it: 0.07 becomes 7000000000000001.
fn scaled(mut number: f64) -> f64 {
    while number.fract() != 0.0 {
        number *= 10.0;
    }
    number
}

/// The types that a schema names.
pub(crate) fn types(schema: &Map<String, Value>) -> Option<Vec<&str>> {
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
    fn optional_properties_are_limited() {
        let properties = |count: usize| {
            let properties = (0..count).map(|index| (format!("p{index}"), json!({})));
            json!({"items": {"properties": properties.collect::<Map<_, _>>()}})
        };
        let mut schema = properties(MAX_OPTIONAL + 1);
        let problem = check(&schema).unwrap_err();
        assert!(problem.starts_with("#/items: `properties` has 3001 that"), "{problem}");
        schema["items"]["required"] = json!(["p0"]);
        assert_eq!(check(&schema), Ok(()));
        assert_eq!(check(&properties(MAX_OPTIONAL)), Ok(()));
    }

    #[test]
    fn invalid_values_are_refused_by_their_place() {
        for (part, says) in [
            (json!({"minItems": -3}), "`minItems` must be a whole number"),
            (json!({"maxLength": 1.5}), "`maxLength`"),
            (json!({"minLength": 1_u64 << 40}), "`minLength` is 1099511627776"),
            (json!({"multipleOf": -2}), "`multipleOf` must be a number above 0"),
            (json!({"multipleOf": 0}), "`multipleOf`"),
            (json!({"multipleOf": 10_001}), "`multipleOf`"),
            (json!({"multipleOf": 0.07}), "`multipleOf` 0.07 cannot be enforced"),
            (json!({"minimum": "1"}), "`minimum`"),
            (json!({"type": "text"}), "`type` has \"text\""),
            (json!({"type": []}), "`type`"),
            (json!({"enum": []}), "`enum`"),
            (json!({"const": [1, 1e300]}), "`const` has 1e+300"),
            (json!({"pattern": 3}), "`pattern`"),
            (json!({"required": "a"}), "`required`"),
            (json!({"anyOf": []}), "`anyOf`"),
            (json!({"properties": []}), "`properties`"),
            (json!({"$ref": "#/$defs/a"}), "`$ref` leads nowhere: #/$defs/a"),
            (json!(null), "expected an object"),
        ] {
            let schema = json!({"properties": {"a": {"items": part}}});
            let problem = check(&schema).unwrap_err();
            assert!(problem.starts_with("#/properties/a/items: "), "{problem}");
            assert!(problem.contains(says), "{problem}");
        }
        let sound = json!({
            "type": ["integer", "null"],
            "minItems": 2.0,
            "maxLength": u64::MAX,
            "multipleOf": 0.25,
            "exclusiveMinimum": true,
            "properties": {"type": {"enum": [{"type": 3}]}, "minItems": true},
        });
        assert_eq!(check(&sound), Ok(()));
    }
}
