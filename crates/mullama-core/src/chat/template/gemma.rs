//! Arguments in the notation of Gemma 4: JSON with unquoted names and special quotes around texts.

use serde_json::{Map, Value, json};

use super::lark::{Lark, SPACE};
use crate::Result;
use crate::sampling::{ANY_TEXT, Schema, Texts, escaped, quoted, types, unusable};

/// The quote before and after a text.
const TEXT_DELIMITER: &str = "<|\"|>";

/// Schema keywords for numbers.
const NUMBER_KEYWORDS: [&str; 5] =
    ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];

/// Returns the rule for values that follow the schema at a place.
pub(super) fn value(lark: &mut Lark, schema: &Schema, place: &str) -> Result<String> {
    Writer { lark, schema, open: Vec::new() }.value(place)
}

struct Writer<'a> {
    lark: &'a mut Lark,
    schema: &'a Schema,
    /// Places being written, with the names of their rules if they are recursive.
    open: Vec<(String, Option<String>)>,
}

impl Writer<'_> {
    fn value(&mut self, place: &str) -> Result<String> {
        let (place, schema) = self.schema.resolved(place);
        if let Some((_, name)) = self.open.iter_mut().find(|(open, _)| *open == place) {
            return Ok(name.get_or_insert_with(|| self.lark.reserve()).clone());
        }
        let schema = match schema {
            Value::Object(schema) => schema.clone(),
            Value::Bool(false) => {
                return Err(unusable(&format!("no value matches the schema at #{place}")));
            }
            _ => Map::new(),
        };
        self.open.push((place.clone(), None));
        let rule = self.of_schema(&schema, &place);
        let name = self.open.pop().and_then(|(_, name)| name);
        let rule = rule?;
        Ok(match name {
            Some(name) => {
                self.lark.define(&name, &rule);
                name
            }
            None => self.lark.rule(&rule),
        })
    }

    fn of_schema(&mut self, schema: &Map<String, Value>, place: &str) -> Result<String> {
        const UNSUPPORTED_KEYWORDS: [&str; 8] = [
            "allOf",
            "patternProperties",
            "minProperties",
            "maxProperties",
            "prefixItems",
            "additionalItems",
            "$ref",
            "not",
        ];
        // `Schema::texts` handles all other keywords of strings.
        let parts = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
        let kinds = parts.map(|part| &part["type"]).chain(schema.get("type"));
        if kinds.into_iter().any(|kind| kind == "string") {
            return self.text(place);
        }
        if let Some(keyword) =
            UNSUPPORTED_KEYWORDS.iter().find(|keyword| schema.contains_key(**keyword))
        {
            return Err(unsupported_keyword(keyword, place));
        }
        let one_of = |rules: Vec<String>| format!("({})", rules.join(" | "));
        if let Some(values) = listed_values(schema, place)? {
            return Ok(one_of(values.into_iter().map(|value| self.literal(value)).collect()));
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(Value::Array(choices)) = schema.get(keyword) {
                let choices: Vec<_> =
                    (0..choices.len()).map(|at| format!("{place}/{keyword}/{at}")).collect();
                let is_applied = |other: &str| match other {
                    // Each choice is written without the keywords around it.
                    "type" => {
                        choices.iter().all(|it| is_narrower(self.schema.resolved(it).1, schema))
                    }
                    other => other == keyword || !Schema::is_keyword(other),
                };
                if !schema.keys().all(|other| is_applied(other)) {
                    return Err(unsupported_keyword(keyword, place));
                }
                let rules = choices.iter().map(|choice| self.value(choice));
                return Ok(one_of(rules.collect::<Result<_>>()?));
            }
        }
        let all = ["string", "number", "boolean", "null", "array", "object"];
        let kinds: Vec<&str> = match schema.get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => all.to_vec(),
        };
        let rules = kinds.into_iter().map(|kind| match kind {
            "string" => self.text(place),
            "array" => self.array(schema, place),
            "object" => self.object(schema, place),
            "number" | "integer" => {
                let mut number = json!({"type": kind});
                for keyword in NUMBER_KEYWORDS {
                    if let Some(bound) = schema.get(keyword) {
                        number[keyword] = bound.clone();
                    }
                }
                Ok(self.lark.json(&number))
            }
            kind => Ok(self.lark.json(&json!({"type": kind}))),
        });
        Ok(one_of(rules.collect::<Result<_>>()?))
    }

    fn text(&mut self, place: &str) -> Result<String> {
        let texts = match self.schema.texts(place)? {
            Texts::None => {
                return Err(unusable(&format!("no text matches the schema at #{place}")));
            }
            Texts::Any => ANY_TEXT.to_owned(),
            Texts::Some(expression) => expression,
        };
        let quote = quoted(TEXT_DELIMITER);
        let text = format!("({texts}) {quote} & ~({ANY_TEXT} {quote} /(?s:.+)/)");
        let text = self.lark.terminal(&text);
        Ok(self.lark.terminal(&format!("{quote} {text}")))
    }

    fn array(&mut self, schema: &Map<String, Value>, place: &str) -> Result<String> {
        let (least, most) = self.schema.counts(place)?;
        let (open, close) = (self.open_with("["), self.lark.terminal("\"]\""));
        let is_empty = most == Some(0) || schema.get("items") == Some(&Value::Bool(false));
        if is_empty && least == 0 {
            return Ok(format!("{open} {close}"));
        }
        let item = if schema.contains_key("items") {
            self.value(&format!("{place}/items"))?
        } else {
            self.any()?
        };
        let comma = self.open_with(",");
        let most = most.map(|most| (most - 1).to_string()).unwrap_or_default();
        let others = format!("({comma} {item}){{{},{most}}}", least.saturating_sub(1));
        let others = if most == "0" { String::new() } else { others };
        let repeated = if least == 0 { "?" } else { "" };
        Ok(format!("{open} ({item} {others}){repeated} {close}"))
    }

    /// An object whose properties are sorted by name, as the template writes them.
    fn object(&mut self, schema: &Map<String, Value>, place: &str) -> Result<String> {
        let required = self.schema.required(place);
        let (open, close) = (self.open_with("{"), self.lark.terminal("\"}\""));
        let comma = self.open_with(",");
        let Some(Value::Object(properties)) = schema.get("properties") else {
            if !required.is_empty() {
                return Err(unsupported_keyword("required", place));
            }
            let value = match schema.get("additionalProperties") {
                Some(Value::Bool(false)) => return Ok(format!("{open} {close}")),
                Some(Value::Object(_)) => self.value(&format!("{place}/additionalProperties"))?,
                _ => self.any()?,
            };
            let name = self.lark.terminal(&format!("/[^:{{}},\\s<]+:/ {SPACE}"));
            let field = self.lark.rule(&format!("{name} {value}"));
            return Ok(format!("{open} ({field} ({comma} {field})*)? {close}"));
        };
        if required.iter().any(|name| !properties.contains_key(name)) {
            return Err(unsupported_keyword("required", place));
        }
        let mut names: Vec<_> = properties.keys().collect();
        names.sort_unstable();
        // From last to first: the rule if no property has been written before, and the rule if one has.
        let (mut begin, mut go_on) = (Some(String::new()), String::new());
        for name in names.into_iter().rev() {
            if name.is_empty() || name.contains([':', '}']) {
                return Err(unusable(&format!("the name `{name}` at #{place} cannot be written")));
            }
            if properties[name] == false && !required.contains(name) {
                continue;
            }
            let value = self.value(&format!("{place}/properties/{}", escaped(name)))?;
            let name_end = self.lark.terminal(&format!("{} {SPACE}", quoted(&format!("{name}:"))));
            let field = self.lark.rule(&format!("{name_end} {value}"));
            let first = format!("{field} {go_on}");
            let (later, is_required) = (format!("{comma} {field}"), required.contains(name));
            begin = match begin {
                Some(without) if !is_required => Some(if without.is_empty() {
                    format!("({first})?")
                } else {
                    let without = self.lark.rule(&without);
                    format!("({first} | {without})")
                }),
                _ => Some(first),
            };
            let later = if is_required { later } else { format!("({later})?") };
            go_on = self.lark.rule(&format!("{later} {go_on}"));
        }
        Ok(format!("{open} {} {close}", begin.unwrap_or_default()))
    }

    /// Any value.
    fn any(&mut self) -> Result<String> {
        let any = Schema::new(&json!({}))?;
        // The name is reserved first, because the rule is recursive.
        let name = self.lark.reserve();
        let text = value_of_kind(self.lark, &any)?;
        let (open, close) = (self.open_with("{"), self.lark.terminal("\"}\""));
        let (begin, end) = (self.open_with("["), self.lark.terminal("\"]\""));
        let comma = self.open_with(",");
        let key = self.lark.terminal(&format!("/[^:{{}},\\s<]+:/ {SPACE}"));
        let number = self.lark.json(&json!({"type": ["number", "boolean", "null"]}));
        let object = format!("{open} ({key} {name} ({comma} {key} {name})*)? {close}");
        let array = format!("{begin} ({name} ({comma} {name})*)? {end}");
        self.lark.define(&name, &format!("{text} | {number} | {object} | {array}"));
        Ok(name)
    }

    /// A character, followed by optional white space.
    fn open_with(&mut self, character: &str) -> String {
        self.lark.terminal(&format!("{} {SPACE}", quoted(character)))
    }

    /// A constant value of a schema.
    fn literal(&mut self, value: &Value) -> String {
        let text = written(value);
        self.lark.terminal(&quoted(&text))
    }
}

/// The values that a schema enumerates.
fn listed_values<'a>(
    schema: &'a Map<String, Value>,
    place: &str,
) -> Result<Option<Vec<&'a Value>>> {
    let listed = schema.get("enum").and_then(Value::as_array);
    let values: Vec<&Value> = match (schema.get("const"), listed) {
        (None, None) => return Ok(None),
        (Some(value), None) => vec![value],
        (None, Some(values)) => values.iter().collect(),
        (Some(value), Some(values)) => values.iter().filter(|it| *it == value).collect(),
    };
    let applied = ["const", "enum", "type"];
    if let Some(other) =
        schema.keys().find(|it| Schema::is_keyword(it) && !applied.contains(&it.as_str()))
    {
        return Err(unsupported_keyword(other, place));
    }
    if values.is_empty() {
        return Err(unusable(&format!("no value matches the schema at #{place}")));
    }
    Ok(Some(values))
}

/// Whether a choice names types, and only those of the schema around it.
fn is_narrower(choice: &Value, around: &Map<String, Value>) -> bool {
    let (inner, outer) = (choice.as_object().and_then(types), types(around));
    let is_among = |name: &&str, outer: &[&str]| {
        outer.contains(name) || *name == "integer" && outer.contains(&"number")
    };
    match (inner, outer) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(inner), Some(outer)) => inner.iter().all(|name| is_among(name, &outer)),
    }
}

fn value_of_kind(lark: &mut Lark, any: &Schema) -> Result<String> {
    Writer { lark, schema: any, open: Vec::new() }.text("")
}

fn written(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{TEXT_DELIMITER}{text}{TEXT_DELIMITER}"),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(","))
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            let fields = fields.iter().map(|(name, value)| format!("{name}:{}", written(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

fn unsupported_keyword(keyword: &str, place: &str) -> crate::Error {
    unusable(&format!(
        "`{keyword}` at #{place} cannot be enforced in the model's format for tool calls"
    ))
}
