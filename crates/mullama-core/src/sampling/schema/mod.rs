//! A JSON schema that llguidance can enforce, and its parts.

mod bounds;
mod combined;
mod ecma;
mod endless;
mod equivalent;
mod keywords;
mod pattern;
mod simplified;
mod subschemas;
mod texts;

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use llguidance::api::{GrammarInit, ParserLimits, TopLevelGrammar};
use llguidance::panic_utils::catch_unwind;
use serde_json::{Map, Value, json};

pub(crate) use self::keywords::types;
use self::simplified::{MAX_DEPTH, is_too_deep, simplified};
pub(crate) use self::subschemas::escaped;
use self::subschemas::{MAX_REFERENCES, children, children_mut, target, visit};
use self::texts::texts_of;
pub(crate) use self::texts::{ANY_TEXT, Texts, quoted};
use super::refusal::{single_line, unusable};
use crate::engine::with_stack;
use crate::{Error, ErrorKind, Result};

/// White space between the parts of a value. It is limited to common forms, because a model might otherwise continue it
/// forever.
pub(super) const WHITE_SPACE: &str = r"(?: |\n{1,2}[ \t]{0,20})";

/// Bytes of stack for compiling a schema.
pub(super) const STACK: usize = 6 << 20;

/// Where a part contains the root schema that it refers to.
const ROOT: &str = "#/$defs/root";

/// The limits of llguidance. Each optional property of an object takes four items of a row; the default is enough for
/// 500 properties.
pub(super) fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 50_000,
        step_max_items: 500_000,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

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

/// Types of values without a structure, apart from texts.
const SIMPLE_TYPES: [&str; 4] = ["boolean", "integer", "null", "number"];

/// A schema that can be enforced.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    root: Value,
}

/// Limits of the search for the place that llguidance refuses.
const MAX_SEARCHED: usize = 1000;
const MAX_SEARCH_TIME: Duration = Duration::from_secs(1);

/// Why llguidance refuses a schema.
struct Refusal {
    reason: String,
    /// The first error of those that led to it.
    cause: String,
}

impl Schema {
    /// Simplifies and checks a schema. Fails if a part of it cannot be enforced; the error names the part.
    pub fn new(schema: &Value) -> Result<Self> {
        let schema = match schema {
            Value::String(text) => read(text)?,
            other => other.clone(),
        };
        if is_too_deep(&schema) {
            return Err(too_deep());
        }
        with_stack(STACK, || Self::checked(schema))?.map_err(|reason| unusable(&reason))
    }

    fn checked(schema: Value) -> std::result::Result<Self, String> {
        if schema == Value::Bool(false) {
            return Err("`false` allows nothing".to_owned());
        }
        keywords::check(&schema)?;
        let mut root = match simplified(schema) {
            Value::Bool(true) => json!({}),
            Value::Bool(false) => return Err(format!("#: {NO_VALUE}")),
            schema => schema,
        };
        combined::check(&root)?;
        if has_reference(&root) {
            endless::remove(&mut root)?;
        }
        let schema = Self { root };
        match schema.compile("") {
            Ok(()) => Ok(schema),
            Err(Refusal { reason, cause }) => {
                let place = schema.refused_place(&cause);
                Err(format!("#{place}: {}", single_line(&plain(&reason))))
            }
        }
    }

    /// Compiles the schema at a place; needs [`STACK`].
    fn compile(&self, place: &str) -> std::result::Result<(), Refusal> {
        let grammar = TopLevelGrammar::from_json_schema(self.at(place));
        let compile = || GrammarInit::Serialized(grammar).to_internal(None, limits()).map(drop);
        // llguidance panics if it quotes a value and would have to cut it within a character.
        catch_unwind(AssertUnwindSafe(compile)).map_err(|error| Refusal {
            reason: format!("{error:#}"),
            cause: error.root_cause().to_string(),
        })
    }

    /// The innermost place whose schema is refused for the same cause as the whole: llguidance does not name it.
    fn refused_place(&self, cause: &str) -> String {
        let end = Instant::now() + MAX_SEARCH_TIME;
        let (mut place, mut tried) = (String::new(), HashSet::new());
        let mut is_refused = |place: &str| {
            tried.len() < MAX_SEARCHED
                && Instant::now() < end
                && tried.insert(place.to_owned())
                && self.compile(place).is_err_and(|refusal| refusal.cause == cause)
        };
        loop {
            let schema = self.root.pointer(&place).unwrap_or(&Value::Null);
            let referred = schema.as_object().and_then(|keywords| target(keywords, &self.root));
            let referred = referred.map(|(place, _)| place.trim_start_matches('#').to_owned());
            let mut parts = children(schema, &place).into_iter().map(|part| part.place);
            match parts.find(|place| is_refused(place)).or(referred.filter(|it| is_refused(it))) {
                Some(inner) => place = inner,
                None => return place,
            }
        }
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
            let Some((referred, _)) = target(schema, &self.root).filter(|_| is_alone) else {
                break;
            };
            referred.trim_start_matches('#').clone_into(&mut place);
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
        let own = format!("{place}/properties/{}", escaped(name));
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
}

const NO_VALUE: &str =
    "no value matches its types, its listed values and its other keywords together";

/// A reason of llguidance in terms of the schema, where its own words are those of its inside.
fn plain(reason: &str) -> String {
    let part_after = |start: &str| {
        let (part, _) = reason.split_once(start)?.1.split_once('\'')?;
        Some(part)
    };
    if reason.contains("Default retriever does not fetch resources") {
        let document = part_after("Resource '").unwrap_or("another document");
        return format!("`$ref` leads out of the schema, to {document}");
    }
    if reason.contains("Unable to determine if regex is empty") {
        return "its patterns and lengths are too many to find out whether a text matches all of them"
            .to_owned();
    }
    if reason.contains("coerce_one_of") {
        return "`oneOf` cannot be enforced, because a value might match more than one of its schemas"
            .to_owned();
    }
    if reason.contains("schema is false") {
        return NO_VALUE.to_owned();
    }
    if reason.contains("Regex is empty") {
        return "no text matches all of its patterns, formats, lengths and listed values"
            .to_owned();
    }
    reason.to_owned()
}

/// The structure that a schema requires, without limits on values. A schema that is a single reference is replaced by
/// its target.
pub(crate) fn shape_of(schema: &Value) -> Value {
    let mut schema = schema.clone();
    for _ in 0..MAX_REFERENCES {
        let Some(keywords) = schema.as_object() else { break };
        let Some((_, Value::Object(target))) = target(keywords, &schema) else { break };
        let mut target = target.clone();
        for name in ["$defs", "definitions"] {
            if let Some(definitions) = schema.get(name) {
                target.entry(name).or_insert_with(|| definitions.clone());
            }
        }
        schema = target.into();
    }
    let root_type = schema.get("type").cloned();
    shape(&mut schema, root_type.as_ref());
    schema
}

fn shape(schema: &mut Value, root_type: Option<&Value>) {
    let Value::Object(object) = schema else {
        // `true`, in the form that the engine accepts.
        *schema = json!({});
        return;
    };
    // The engine does not follow references to the whole schema.
    if object.get("$ref").is_some_and(|reference| reference == "#") {
        *schema = root_type.map_or_else(|| json!({}), |root_type| json!({"type": root_type}));
        return;
    }
    object.retain(|name, _| SHAPES.contains(&name.as_str()));
    // Other keywords may list texts, which a value of these types cannot be.
    if types(object).is_some_and(|types| types.iter().all(|it| SIMPLE_TYPES.contains(it))) {
        object.retain(|name, _| ["type", "$defs", "definitions"].contains(&name.as_str()));
    }
    // A list of items, of older drafts, is not enforced by position there.
    if let Some(items) = object.get_mut("items").filter(|items| items.is_array()) {
        *items = json!({});
    }
    for part in children_mut(object) {
        shape(part, root_type);
    }
}

/// Reads a schema that was given as a text.
fn read(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| {
        if error.to_string().starts_with("recursion limit exceeded") {
            return too_deep();
        }
        unusable(&format!("it is not valid JSON: {error}"))
    })
}

fn with_settings(mut schema: Value) -> Value {
    let mut settings = json!({"whitespace_flexible": true, "whitespace_pattern": WHITE_SPACE});
    if excludes_names(&schema) {
        // Otherwise an excluded name could be written with an escape: `"\u0061"` for `"a"`.
        settings["json_allowed_escapes"] = r#"nrbtf\""#.into();
    }
    schema["x-guidance"] = settings;
    schema
}

/// Whether objects may have other properties than those that they name.
fn excludes_names(schema: &Value) -> bool {
    let is_one = |schema: &Value| {
        let names = ["properties", "patternProperties", "required"];
        names.iter().any(|keyword| schema.get(keyword).is_some())
            && schema.get("additionalProperties") != Some(&Value::Bool(false))
    };
    visit(schema, "", &mut |_, part| if is_one(part) { Err(String::new()) } else { Ok(()) })
        .is_err()
}

/// The error of a schema with more levels than can be compiled: the kind is that of other arguments which are nested
/// too deeply.
fn too_deep() -> Error {
    let message =
        format!("the JSON schema is nested too deeply: it has more than {MAX_DEPTH} levels");
    Error::new(ErrorKind::InvalidArgument, message)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subschemas_include_referenced_definitions() {
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
    fn unsupported_schema_keywords_are_named() {
        for (schema, said) in [
            (json!({"properties": {"a": {"type": "array", "uniqueItems": true}}}), "uniqueItems"),
            (json!({"not": {"type": "string"}}), "not"),
            (json!({"properties": {"a": {"$ref": "#/nowhere"}}}), "nowhere"),
            (
                json!({"items": {"$ref": "http://example.org/x"}}),
                "out of the schema, to http://example.org/x",
            ),
            (
                json!({"oneOf": [{"maxLength": 3}, {"minLength": 2}]}),
                "more than one of its schemas",
            ),
            (json!({"properties": {"a": {"type": "string", "pattern": "(?=a)b"}}}), "(?=a)b"),
            (json!({"type": "string", "pattern": "^a$", "minLength": 5}), "no text matches all"),
            (json!(false), "`false`"),
            (
                json!({"type": "array", "minItems": {(format!("a{}", "é".repeat(99))): 1}}),
                "`minItems` must be",
            ),
            (json!(3), "an object"),
        ] {
            let error = Schema::new(&schema).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidGrammar);
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn innermost_rejected_subschema_is_named() {
        let part = json!({"type": "string", "pattern": "a{5,2}"});
        for (schema, place) in [
            (
                json!({"properties": {"a": {"properties": {"b": part}}}}),
                "#/properties/a/properties/b",
            ),
            (json!({"items": {"anyOf": [{}, {"uniqueItems": true}]}}), "#/items/anyOf/1"),
            (
                json!({"items": {"$ref": "#/$defs/x"}, "$defs": {"x": {"items": part}}}),
                "#/$defs/x/items",
            ),
            // A property that nothing matches is left out, and not what is refused.
            (
                json!({"properties": {"a": {"minLength": 3, "maxLength": 2}, "b": {"not": {"type": "null"}}}}),
                "#/properties/b",
            ),
        ] {
            let error = Schema::new(&schema).unwrap_err().to_string();
            assert!(error.contains(&format!(" {place}: ")), "{schema}: {error}");
        }
    }

    #[test]
    fn schema_shapes_omit_bounds() {
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
        let mixed =
            json!({"type": ["null", "boolean"], "enum": [true, "a"], "anyOf": [{"const": "b"}]});
        assert_eq!(shape_of(&mixed), json!({"type": ["null", "boolean"]}));
        let tree = json!({
            "type": "object",
            "properties": {"children": {"type": "array", "items": {"$ref": "#"}}},
        });
        assert_eq!(shape_of(&tree)["properties"]["children"]["items"], json!({"type": "object"}));
    }
}
