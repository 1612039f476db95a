//! What the engine's grammars of tool calls leave open.
//!
//! They are texts in GBNF, a rule a line. What is changed is recognised by its form, which the tests here hold
//! against the engine's.

use std::collections::HashMap;

use serde_json::Value;

/// A grammar whose calls begin at once, or after reasoning: where a call is required, a model that may write text
/// before it need never come to it.
pub(super) fn begin_at_once(grammar: &str) -> String {
    let lines = grammar.lines().map(|line| match line.strip_prefix("root ::= ") {
        Some(root) => format!("root ::= {}", without_text(root)),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A sequence without the text that it may have anywhere, but for that in brackets, which is reasoning.
fn without_text(sequence: &str) -> String {
    let kept = items(sequence).into_iter().filter(|item| !is_open_text(item.trim_end_matches('?')));
    kept.collect::<Vec<_>>().join(" ")
}

/// Whether a rule stands for any text up to a mark.
fn is_open_text(name: &str) -> bool {
    let number = name.strip_prefix("until-").or_else(|| name.strip_prefix("ac-"));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A grammar whose arguments that are texts are held to `enum` and `const`, in forms that write arguments as text
/// between tags: the engine lets any text be one.
pub(super) fn hold_texts(grammar: &str, tools: &[Value]) -> String {
    let rules: HashMap<&str, &str> =
        grammar.lines().filter_map(|line| line.split_once(" ::= ")).collect();
    let lines = grammar.lines().map(|line| {
        let Some((name, body)) = line.split_once(" ::= ") else { return line.to_owned() };
        let tool = tools.iter().find(|tool| {
            let rule =
                format!("tool-{}", rule_name(tool["function"]["name"].as_str().unwrap_or("?")));
            name == rule || name.starts_with(&format!("{rule}-arg-"))
        });
        let Some(tool) = tool else { return line.to_owned() };
        let parameters = &tool["function"]["parameters"];
        if let Some(before) = body.strip_suffix(" gemma4-dict") {
            return format!(
                "{name} ::= {before} {}",
                Gemma { root: parameters }.value(parameters, 0)
            );
        }
        let mut body = body.to_owned();
        for (parameter, schema) in parameters["properties"].as_object().into_iter().flatten() {
            if let Some(texts) = texts_of(schema, parameters) {
                body = hold(&body, parameter, &texts, &rules);
            }
        }
        format!("{name} ::= {body}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Arguments as Gemma 4 writes them: JSON whose names have no quotes, and whose texts stand in quotes of their own.
struct Gemma<'a> {
    root: &'a Value,
}

impl Gemma<'_> {
    /// Fields of the largest object that is held to its schema.
    const MAX_FIELDS: usize = 30;
    const MAX_DEPTH: usize = 8;

    fn value(&self, schema: &Value, depth: usize) -> String {
        let any = "gemma4-value".to_owned();
        if depth > Self::MAX_DEPTH {
            return any;
        }
        if let Some(place) = schema["$ref"].as_str().and_then(|it| it.strip_prefix('#')) {
            return self.root.pointer(place).map_or(any, |schema| self.value(schema, depth + 1));
        }
        let one_of = |parts: Vec<String>| format!("({})", parts.join(" | "));
        if let Some(values) = named_values(schema) {
            let is_plain = |value: &&Value| !value.is_array() && !value.is_object();
            if values.is_empty() || !values.iter().all(is_plain) {
                return any;
            }
            return one_of(values.into_iter().map(Self::literal).collect());
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(schemas) = schema[choice].as_array().filter(|schemas| !schemas.is_empty()) {
                return one_of(schemas.iter().map(|it| self.value(it, depth + 1)).collect());
            }
        }
        if let Some(types) = schema["type"].as_array().filter(|types| !types.is_empty()) {
            let of_type = |kind: &Value| {
                let mut schema = schema.clone();
                schema["type"] = kind.clone();
                self.value(&schema, depth + 1)
            };
            return one_of(types.iter().map(of_type).collect());
        }
        match schema["type"].as_str() {
            Some("string") => "gemma4-string".to_owned(),
            Some("integer") => "(\"-\"? (\"0\" | [1-9] [0-9]*))".to_owned(),
            Some("number") => "gemma4-number".to_owned(),
            Some("boolean") => "gemma4-bool".to_owned(),
            Some("null") => "gemma4-null".to_owned(),
            Some("array") => {
                let item = self.value(&schema["items"], depth + 1);
                format!("(\"[\" space ({item} (\",\" space {item})*)? \"]\")")
            }
            _ => self.object(schema, depth).unwrap_or(any),
        }
    }

    /// An object with fields, in the order of their names, as the template has them.
    fn object(&self, schema: &Value, depth: usize) -> Option<String> {
        let mut properties: Vec<_> = schema["properties"].as_object()?.iter().collect();
        if properties.len() > Self::MAX_FIELDS {
            return None;
        }
        properties.sort_by_key(|(name, _)| *name);
        let required = schema["required"].as_array();
        let fields: Vec<_> = properties
            .into_iter()
            .map(|(name, schema)| {
                let is_required = required.is_some_and(|names| names.iter().any(|it| it == name));
                let value = self.value(schema, depth + 1);
                (format!("{} space {value}", literal(&format!("{name}:"))), is_required)
            })
            .collect();
        // Each that may come first, and what may come after it.
        let mut beginnings = Vec::new();
        let mut has_required = false;
        for (index, (field, is_required)) in fields.iter().enumerate() {
            let after = fields.iter().skip(index + 1).map(|(field, is_required)| {
                let repeated = if *is_required { "" } else { "?" };
                format!("(\",\" space {field}){repeated}")
            });
            beginnings
                .push(std::iter::once(field.clone()).chain(after).collect::<Vec<_>>().join(" "));
            if *is_required {
                has_required = true;
                break;
            }
        }
        let repeated = if has_required { "" } else { "?" };
        if beginnings.is_empty() {
            return Some("(\"{\" space \"}\")".to_owned());
        }
        Some(format!("(\"{{\" space ({}){repeated} \"}}\")", beginnings.join(" | ")))
    }

    fn literal(value: &Value) -> String {
        match value {
            Value::String(text) => literal(&format!("<|\"|>{text}<|\"|>")),
            other => literal(&other.to_string()),
        }
    }
}

/// The texts that a schema admits, where it names them.
fn texts_of(schema: &Value, root: &Value) -> Option<Vec<String>> {
    if let Some(place) = schema["$ref"].as_str().and_then(|it| it.strip_prefix('#')) {
        let schema = root.pointer(place)?;
        return schema["$ref"].is_null().then(|| texts_of(schema, root))?;
    }
    named_values(schema)?.into_iter().map(|value| value.as_str().map(str::to_owned)).collect()
}

/// The values that a schema admits, where it names them.
fn named_values(schema: &Value) -> Option<Vec<&Value>> {
    match (&schema["const"], &schema["enum"]) {
        (Value::Null, Value::Array(values)) => Some(values.iter().collect()),
        (Value::Null, _) => None,
        (value, _) => Some(vec![value]),
    }
}

/// Holds the value of one parameter, which follows a group that names it.
fn hold(body: &str, parameter: &str, texts: &[String], rules: &HashMap<&str, &str>) -> String {
    let named = format!(" {} ", literal(parameter));
    let Some(end) = body
        .find(&named)
        .and_then(|at| Some(at + named.len() + body[at + named.len()..].find(')')? + 1))
    else {
        return body.to_owned();
    };
    let (before, after) = body.split_at(end);
    // A group, or all that comes.
    let (value, rest) = match items(after).first() {
        Some(group) if group.starts_with('(') => after.split_at(after.len().min(1 + group.len())),
        _ => (after, ""),
    };
    let held: Vec<_> = items(value).iter().map(|item| hold_item(item, texts, rules)).collect();
    format!("{before} {}{rest}", held.join(" "))
}

fn hold_item(item: &str, texts: &[String], rules: &HashMap<&str, &str>) -> String {
    let choice = || {
        let texts: Vec<_> = texts.iter().map(|text| literal(text)).collect();
        format!("({})", texts.join(" | "))
    };
    if let Some(group) = item.strip_prefix('(').and_then(|item| item.strip_suffix(')')) {
        let held: Vec<_> = items(group).iter().map(|item| hold_item(item, texts, rules)).collect();
        return format!("({})", held.join(" "));
    }
    match (item, rules.get(item)) {
        ("xml-arg-string", Some(rule)) => hold_item(rule, texts, rules),
        _ if item.starts_with("ac-") && is_open_text(item) => match delimiter(item, rules) {
            Some(delimiter) => format!("{} {delimiter}", choice()),
            None => item.to_owned(),
        },
        _ if is_open_text(item) => choice(),
        _ => item.to_owned(),
    }
}

/// What ends a text, of a rule that reads it letter by letter together with its end (`ac-8`, `ac-8-01`, ...): the
/// first alternative of each state goes on to the next.
fn delimiter(name: &str, rules: &HashMap<&str, &str>) -> Option<String> {
    let mut letters = String::new();
    let mut state = name.to_owned();
    for next in 1..100 {
        let next = format!("{name}-{next:02}");
        let rule = rules.get(state.as_str())?;
        let mut steps = rule.split(" | ");
        let onward = format!("] {next}");
        if let Some(step) = rule.split(" | ").find(|step| step.ends_with(&onward)) {
            letters.push_str(step.strip_prefix('[')?.strip_suffix(&onward)?);
            state = next;
        } else {
            let last = steps.find(|step| step.ends_with(']') && !step.starts_with("[^"))?;
            letters.push_str(last.strip_prefix('[')?.strip_suffix(']')?);
            // In brackets, brackets are escaped, and quotes are not.
            let letters = letters.replace("\\]", "]").replace("\\[", "[").replace('"', "\\\"");
            return Some(format!("\"{letters}\""));
        }
    }
    None
}

/// The name of a tool as it stands in names of rules.
fn rule_name(name: &str) -> String {
    name.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

/// A text as GBNF has it.
fn literal(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t"))
}

/// The items of a sequence, to the end of the group that it is in: names, texts in quotes, sets, groups with what
/// repeats them.
fn items(sequence: &str) -> Vec<&str> {
    let (mut items, mut start, mut depth) = (Vec::new(), 0, 0);
    let mut quote = None;
    let mut characters = sequence.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (_, '\\') => _ = characters.next(),
            (Some(end), _) if character == end => quote = None,
            (None, '"') => quote = Some('"'),
            (None, '[') => quote = Some(']'),
            (None, '(') => depth += 1,
            (None, ')') if depth == 0 => {
                items.push(&sequence[start..at]);
                start = sequence.len();
                break;
            }
            (None, ')') => depth -= 1,
            (None, ' ') if depth == 0 => {
                items.push(&sequence[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&sequence[start..]);
    items.retain(|item| !item.is_empty());
    items
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_before_calls_goes_and_reasoning_stays() {
        let grammar = "root ::= \"a b\" space (\"<think>\" until-13 \"</think>\")? until-183? call\n\
                       until-183 ::= [a] until-183";
        assert_eq!(
            begin_at_once(grammar),
            "root ::= \"a b\" space (\"<think>\" until-13 \"</think>\")? call\n\
             until-183 ::= [a] until-183"
        );
    }

    #[test]
    fn arguments_of_gemma_are_held() {
        let properties = json!({
            "unit": {"enum": ["C", "F"]},
            "days": {"type": "integer"},
            "at": {"type": "object", "properties": {"city": {"type": "string"}}},
        });
        let parameters = json!({"type": "object", "properties": properties, "required": ["unit"]});
        let tools = [json!({"function": {"name": "f", "parameters": parameters}})];
        let integer = r#"("-"? ("0" | [1-9] [0-9]*))"#;
        let at = r#""at:" space ("{" space ("city:" space gemma4-string)? "}")"#;
        let unit = r#""unit:" space ("<|\"|>C<|\"|>" | "<|\"|>F<|\"|>")"#;
        let days = format!(r#""days:" space {integer}"#);
        assert_eq!(
            hold_texts("tool-f ::= (\"f\") gemma4-dict", &tools),
            format!(
                r#"tool-f ::= ("f") ("{{" space ({at} ("," space {days})? ("," space {unit}) | {days} ("," space {unit}) | {unit}) "}}")"#
            ),
        );
    }

    #[test]
    fn texts_between_tags_are_held() {
        let properties = json!({
            "unit": {"enum": ["C", "say \"F\""]},
            "city": {"type": "string"},
            "kind": {"$ref": "#/$defs/kind"},
        });
        let parameters = json!({"properties": properties, "$defs": {"kind": {"const": "a\nb"}}});
        let tools = [json!({"function": {"name": "get_weather", "parameters": parameters}})];
        for (given, held) in [
            (
                "tool-get-weather-arg-unit ::= (\"<p=\" \"unit\" \">\\n\") xml-arg-string",
                "tool-get-weather-arg-unit ::= (\"<p=\" \"unit\" \">\\n\") (\"C\" | \"say \\\"F\\\"\") \"\\n</]\"",
            ),
            (
                "tool-get-weather-arg-kind ::= (\"<p=\" \"kind\" \"\") \">\" ac-8",
                "tool-get-weather-arg-kind ::= (\"<p=\" \"kind\" \"\") \">\" (\"a\\nb\") \"\\n</]\"",
            ),
            (
                "tool-get-weather-arg-unit ::= (\"<p \" \"unit\" \">\") until-5 \"</p>\"",
                "tool-get-weather-arg-unit ::= (\"<p \" \"unit\" \">\") (\"C\" | \"say \\\"F\\\"\") \"</p>\"",
            ),
            (
                "tool-get-weather ::= ((\"<p \" \"unit\" \">\") (\"<!\" ac-8 | ac-8) | (\"<p \" \"city\" \">\") (ac-8)) space",
                "tool-get-weather ::= ((\"<p \" \"unit\" \">\") (\"<!\" (\"C\" | \"say \\\"F\\\"\") \"\\n</]\" | (\"C\" | \"say \\\"F\\\"\") \"\\n</]\") | (\"<p \" \"city\" \">\") (ac-8)) space",
            ),
            (
                "tool-get-weather ::= ((\"<p \" \"unit\" \">\") (\"<!\" ac-8 | until-1)) space)* space",
                "tool-get-weather ::= ((\"<p \" \"unit\" \">\") (\"<!\" (\"C\" | \"say \\\"F\\\"\") \"\\n</]\" | (\"C\" | \"say \\\"F\\\"\"))) space)* space",
            ),
            (
                "tool-get-weather-arg-city ::= (\"<p=\" \"city\" \">\\n\") xml-arg-string",
                "tool-get-weather-arg-city ::= (\"<p=\" \"city\" \">\\n\") xml-arg-string",
            ),
        ] {
            let rules = "xml-arg-string ::= ac-8\n\
                 ac-8 ::= [\\n] ac-8-01 | [^\\n] ac-8\n\
                 ac-8-01 ::= [\\n] ac-8-01 | [<] ac-8-02 | [^\\n<] ac-8\n\
                 ac-8-02 ::= [\\n] ac-8-01 | [/] ac-8-03 | [^\\n/] ac-8\n\
                 ac-8-03 ::= [\\]] | [^\\]] ac-8";
            let grammar = hold_texts(&format!("{given}\n{rules}"), &tools);
            assert_eq!(grammar, format!("{held}\n{rules}"));
        }
    }
}
