//! Keywords of JSON Schema that llguidance does not know, in terms of those that it knows: where they require nothing,
//! or where other keywords say the same.

use serde_json::{Map, Value, json};

use super::keywords::{count, types};

/// Keywords that apply several schemas to the same value, which may evaluate its properties and items.
const EVALUATING: [&str; 8] =
    ["$ref", "allOf", "anyOf", "contains", "dependentSchemas", "if", "not", "oneOf"];

/// Rewrites the keywords of one schema. Returns whether a value can match it.
pub(super) fn rewrite(schema: &mut Map<String, Value>) -> bool {
    remove_without_effect(schema);
    if schema.get("not").is_some_and(is_any) {
        return false;
    }
    rewrite_dialect(schema);
    rewrite_unevaluated(schema);
    rewrite_dependencies(schema);
    rewrite_property_names(schema);
    rewrite_property_count(schema) && rewrite_listed(schema)
}

/// Whether a schema allows every value.
fn is_any(schema: &Value) -> bool {
    match schema {
        Value::Bool(is_any) => *is_any,
        Value::Object(keywords) => keywords.is_empty(),
        _ => false,
    }
}

fn is_nothing(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

/// Whether a schema allows values of a type.
fn allows(schema: &Map<String, Value>, name: &str) -> bool {
    match schema.get("type") {
        None => true,
        Some(Value::Array(names)) => names.iter().any(|it| it == name),
        Some(only) => only == name,
    }
}

/// Removes keywords that require nothing.
fn remove_without_effect(schema: &mut Map<String, Value>) {
    let (has_objects, has_arrays) = (allows(schema, "object"), allows(schema, "array"));
    let number = |keyword: &str| schema.get(keyword).and_then(count);
    let has_many = has_arrays && number("maxItems").is_none_or(|most| most > 1);
    let may_lack = number("minContains") == Some(0) && !schema.contains_key("maxContains");
    let has_contains = schema.contains_key("contains") && has_arrays && !may_lack;
    let has_condition = schema.contains_key("if");
    let has_branch = schema.contains_key("then") || schema.contains_key("else");
    schema.retain(|keyword, value| match keyword.as_str() {
        "not" => *value != Value::Bool(false),
        "if" => has_branch,
        "then" | "else" => has_condition,
        "uniqueItems" => *value != Value::Bool(false) && has_many,
        "contains" | "minContains" | "maxContains" => has_contains,
        "unevaluatedItems" => has_arrays && !is_any(value),
        "unevaluatedProperties" => has_objects && !is_any(value),
        "propertyNames" => has_objects && !is_any(value) && *value != json!({"type": "string"}),
        "dependentRequired" | "dependentSchemas" | "dependencies" => {
            has_objects && !is_nothing(value)
        }
        _ => true,
    });
}

/// Gives the name of a draft its usual form. An unknown one is removed, and the newest applies.
fn rewrite_dialect(schema: &mut Map<String, Value>) {
    let Some(dialect) = schema.get("$schema").and_then(Value::as_str) else { return };
    let name = dialect.trim_end_matches('#').split_once("://").map_or("", |(_, name)| name);
    let known = match name {
        "json-schema.org/draft-04/schema"
        | "json-schema.org/draft-06/schema"
        | "json-schema.org/draft-07/schema" => format!("http://{name}#"),
        "json-schema.org/draft/2019-09/schema" | "json-schema.org/draft/2020-12/schema" => {
            format!("https://{name}")
        }
        _ => {
            schema.remove("$schema");
            return;
        }
    };
    schema["$schema"] = known.into();
}

/// Without other schemas of the same value, the items and properties that are not evaluated are the additional ones.
fn rewrite_unevaluated(schema: &mut Map<String, Value>) {
    if EVALUATING.iter().any(|keyword| schema.contains_key(*keyword)) {
        return;
    }
    for (unevaluated, additional) in
        [("unevaluatedProperties", "additionalProperties"), ("unevaluatedItems", "items")]
    {
        if let Some(others) = schema.remove(unevaluated) {
            schema.entry(additional).or_insert(others);
        }
    }
}

/// `dependentRequired`: a property that is required brings its dependencies along; of one that is not, an object has
/// neither it, or also its dependencies.
fn rewrite_dependencies(schema: &mut Map<String, Value>) {
    rename_lists_of_dependencies(schema);
    let Some(Value::Object(dependencies)) = schema.remove("dependentRequired") else { return };
    let names = |value: Option<&Value>| -> Vec<String> {
        let names = value.and_then(Value::as_array).into_iter().flatten();
        names.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut required = names(schema.get("required"));
    let given = required.len();
    let mut at = 0;
    while at < required.len() {
        for name in names(dependencies.get(&required[at])) {
            if !required.contains(&name) {
                required.push(name);
            }
        }
        at += 1;
    }
    if required.len() > given {
        schema.insert("required".to_owned(), required.clone().into());
    }
    let is_open = |(name, needed): &(String, Value)| {
        !required.contains(name) && !names(Some(needed)).iter().all(|it| required.contains(it))
    };
    let choices = dependencies.into_iter().filter(is_open).map(|(name, needed)| {
        let mut with = names(Some(&needed));
        with.push(name.clone());
        json!({"anyOf": [{"properties": {(name): false}}, {"required": with}]})
    });
    let choices: Vec<_> = choices.collect();
    match (choices.is_empty(), schema.get_mut("allOf")) {
        (true, _) => {}
        (false, Some(Value::Array(all))) => all.extend(choices),
        (false, _) => _ = schema.insert("allOf".to_owned(), choices.into()),
    }
}

/// In older drafts, the lists of `dependentRequired` are in `dependencies`.
fn rename_lists_of_dependencies(schema: &mut Map<String, Value>) {
    let Some(Value::Object(dependencies)) = schema.get("dependencies") else { return };
    if !dependencies.values().all(Value::is_array) || schema.contains_key("dependentRequired") {
        return;
    }
    if let Some(lists) = schema.remove("dependencies") {
        schema.insert("dependentRequired".to_owned(), lists);
    }
}

/// `propertyNames` of an object without named properties: a pattern, lengths, or the names themselves.
fn rewrite_property_names(schema: &mut Map<String, Value>) {
    let is_named =
        |keyword: &str| schema.get(keyword).is_some_and(|properties| !is_nothing(properties));
    if is_named("properties") || is_named("patternProperties") {
        return;
    }
    let Some(Value::Object(names)) = schema.get("propertyNames") else { return };
    let mut rules: Vec<_> = names.iter().filter(|(keyword, _)| *keyword != "type").collect();
    rules.sort_unstable_by_key(|(keyword, _)| keyword.as_str());
    let length = |value: &Value| count(value).map(|length| length.to_string());
    let pattern = match rules.as_slice() {
        [(keyword, Value::String(pattern))] if *keyword == "pattern" => Some(pattern.clone()),
        [(keyword, least)] if *keyword == "minLength" => {
            length(least).map(|least| format!("^(?s:.){{{least},}}$"))
        }
        [(keyword, most)] if *keyword == "maxLength" => {
            length(most).map(|most| format!("^(?s:.){{0,{most}}}$"))
        }
        [(first, most), (second, least)] if *first == "maxLength" && *second == "minLength" => {
            let bounds = length(least).zip(length(most));
            bounds.map(|(least, most)| format!("^(?s:.){{{least},{most}}}$"))
        }
        _ => None,
    };
    let listed = match rules.as_slice() {
        [(keyword, Value::Array(values))] if *keyword == "enum" => Some(values.clone()),
        [(keyword, value)] if *keyword == "const" => Some(vec![(*value).clone()]),
        _ => None,
    };
    let property = schema.get("additionalProperties").cloned().unwrap_or(Value::Bool(true));
    let with_schema = |name: &str| (name.to_owned(), property.clone());
    let (keyword, properties): (_, Map<String, Value>) = match (pattern, listed) {
        (Some(pattern), _) => ("patternProperties", [with_schema(&pattern)].into_iter().collect()),
        (None, Some(listed)) => {
            ("properties", listed.iter().filter_map(Value::as_str).map(with_schema).collect())
        }
        (None, None) => return,
    };
    schema.remove("propertyNames");
    schema.insert(keyword.to_owned(), properties.into());
    schema.insert("additionalProperties".to_owned(), false.into());
}

/// `minProperties` of an object that has no others than its named properties. Returns whether an object can match.
fn rewrite_property_count(schema: &mut Map<String, Value>) -> bool {
    let Some(least) = schema.get("minProperties").and_then(count) else { return true };
    let is_closed = schema.get("additionalProperties") == Some(&Value::Bool(false))
        && schema.get("patternProperties").is_none_or(is_nothing);
    let named = schema.get("properties").and_then(Value::as_object);
    let named: Vec<_> = named.into_iter().flatten().filter(|(_, it)| **it != false).collect();
    if least == 0 {
        schema.remove("minProperties");
    } else if is_closed && least == named.len() as u64 {
        let names: Vec<Value> = named.iter().map(|(name, _)| name.as_str().into()).collect();
        schema.remove("minProperties");
        schema.insert("required".to_owned(), names.into());
    } else if is_closed && least > named.len() as u64 {
        return schema.get("type").is_none_or(|only| only != "object");
    }
    true
}

/// `enum` and `const`: removes the values of types that the schema does not name. Returns whether any is left.
fn rewrite_listed(schema: &mut Map<String, Value>) -> bool {
    let Some(names) = types(schema) else { return true };
    let is_allowed = |value: &Value| names.iter().any(|name| is_of_type(value, name));
    let listed = schema.get("enum").and_then(Value::as_array);
    let listed: Option<Vec<Value>> =
        listed.map(|values| values.iter().filter(|it| is_allowed(it)).cloned().collect());
    if schema.get("const").is_some_and(|value| !is_allowed(value)) {
        return false;
    }
    let Some(listed) = listed else { return true };
    let is_possible = !listed.is_empty();
    schema["enum"] = listed.into();
    is_possible
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match value {
        Value::Null => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::Number(number) => {
            let is_whole = || number.as_f64().is_some_and(|number| number.fract() == 0.0);
            name == "number" || name == "integer" && is_whole()
        }
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(schema: Value) -> Value {
        let Value::Object(mut schema) = schema else { panic!("{schema}") };
        if rewrite(&mut schema) { schema.into() } else { false.into() }
    }

    #[test]
    fn keywords_that_require_nothing_are_removed() {
        for keywords in [
            json!({"uniqueItems": false}),
            json!({"dependentRequired": {}, "dependentSchemas": {}, "dependencies": {}}),
            json!({"not": false}),
            json!({"propertyNames": true}),
            json!({"propertyNames": {"type": "string"}}),
            json!({"minContains": 2, "maxContains": 3}),
            json!({"contains": {"type": "null"}, "minContains": 0}),
            json!({"then": {"type": "null"}, "else": false}),
            json!({"if": {"type": "null"}}),
            json!({"unevaluatedProperties": true, "unevaluatedItems": {}}),
            json!({"minProperties": 0}),
            json!({"$schema": "https://example.org/dialect"}),
        ] {
            assert_eq!(rewritten(keywords.clone()), json!({}), "{keywords}");
        }
        let text = json!({"type": "string"});
        for keyword in ["uniqueItems", "contains", "propertyNames", "dependentRequired"] {
            let mut schema = text.clone();
            schema[keyword] = json!({"a": ["b"]});
            assert_eq!(rewritten(schema), text, "{keyword}");
        }
        let single = json!({"type": "array", "maxItems": 1});
        assert_eq!(rewritten(json!({"type": "array", "maxItems": 1, "uniqueItems": true})), single);
        for schema in [
            json!({"uniqueItems": true}),
            json!({"type": ["array", "null"], "contains": {"type": "null"}}),
            json!({"if": {"type": "null"}, "then": false}),
            json!({"allOf": [{}], "unevaluatedProperties": false}),
            json!({"propertyNames": {"format": "uuid"}}),
            json!({"properties": {"a": true}, "propertyNames": {"pattern": "a"}}),
        ] {
            assert_eq!(rewritten(schema.clone()), schema);
        }
    }

    #[test]
    fn other_keywords_say_the_same() {
        for (schema, same) in [
            (
                json!({"$schema": "https://json-schema.org/draft-07/schema"}),
                json!({"$schema": "http://json-schema.org/draft-07/schema#"}),
            ),
            (json!({"not": {}}), json!(false)),
            (
                json!({"type": ["integer", "null"], "enum": ["a", 1.0, null, 0.5]}),
                json!({"type": ["integer", "null"], "enum": [1.0, null]}),
            ),
            (json!({"type": "string", "enum": [1]}), json!(false)),
            (json!({"type": "string", "const": 1}), json!(false)),
            (
                json!({"unevaluatedProperties": false, "unevaluatedItems": {"type": "null"}}),
                json!({"additionalProperties": false, "items": {"type": "null"}}),
            ),
            (
                json!({"dependentRequired": {"a": ["b"], "b": ["c"]}, "required": ["a"]}),
                json!({"required": ["a", "b", "c"]}),
            ),
            (
                json!({"dependencies": {"a": ["b"]}, "required": ["a"]}),
                json!({"required": ["a", "b"]}),
            ),
            (
                json!({"dependentRequired": {"a": ["b"]}, "required": ["b"]}),
                json!({"required": ["b"]}),
            ),
            (
                json!({"dependentRequired": {"a": ["b"]}}),
                json!({"allOf": [{"anyOf": [{"properties": {"a": false}}, {"required": ["b", "a"]}]}]}),
            ),
            (
                json!({"propertyNames": {"type": "string", "pattern": "^x"}, "additionalProperties": {"type": "null"}}),
                json!({"additionalProperties": false, "patternProperties": {"^x": {"type": "null"}}}),
            ),
            (
                json!({"propertyNames": {"minLength": 2, "maxLength": 4}}),
                json!({"patternProperties": {"^(?s:.){2,4}$": true}, "additionalProperties": false}),
            ),
            (
                json!({"propertyNames": {"enum": ["a", "b"]}}),
                json!({"properties": {"a": true, "b": true}, "additionalProperties": false}),
            ),
            (
                json!({"properties": {"a": true, "b": {}}, "minProperties": 2, "additionalProperties": false}),
                json!({"properties": {"a": true, "b": {}}, "required": ["a", "b"], "additionalProperties": false}),
            ),
            (
                json!({"type": "object", "properties": {"a": {}}, "minProperties": 2, "additionalProperties": false}),
                json!(false),
            ),
        ] {
            assert_eq!(rewritten(schema.clone()), same, "{schema}");
        }
    }
}
