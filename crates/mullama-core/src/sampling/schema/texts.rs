//! The unquoted texts that a JSON schema allows, as terminals of llguidance.

use llguidance::regex_to_lark;
use serde_json::{Map, Value};

use super::subschemas::{MAX_REFERENCES, target};

/// The texts that a schema allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Texts {
    Any,
    None,
    /// The texts that this terminal expression matches.
    Some(String),
}

/// Any text, as an expression for a terminal.
pub(crate) const ANY_TEXT: &str = "/(?s:.*)/";

/// The texts of a schema that llguidance can enforce. `root` is the schema that its references refer to.
pub(crate) fn texts_of(schema: &Value, root: &Value) -> Result<Texts, String> {
    Reader { root }.read(schema, 0)
}

/// A text as a literal in a terminal.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

struct Reader<'a> {
    root: &'a Value,
}

impl Reader<'_> {
    fn read(&self, schema: &Value, depth: usize) -> Result<Texts, String> {
        if depth > MAX_REFERENCES {
            return Err("its references form a cycle".to_owned());
        }
        let schema = match schema {
            Value::Bool(false) => return Ok(Texts::None),
            Value::Object(schema) => schema,
            _ => return Ok(Texts::Any),
        };
        let mut all = own_texts(schema);
        if let Some(reference) = schema.get("$ref") {
            let (_, target) = target(schema, self.root)
                .ok_or_else(|| format!("`$ref` {reference} does not exist in the schema"))?;
            all.push(self.read(target, depth + 1)?);
        }
        for schema in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            all.push(self.read(schema, depth + 1)?);
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(Value::Array(choices)) = schema.get(keyword) {
                let choices = choices.iter().map(|schema| self.read(schema, depth + 1));
                all.push(any_of(choices.collect::<Result<_, _>>()?));
            }
        }
        Ok(all_of(all))
    }
}

/// The constraints of a schema's own keywords on texts.
fn own_texts(schema: &Map<String, Value>) -> Vec<Texts> {
    let mut all = Vec::new();
    let is_text = |kind: &Value| kind == "string";
    if schema.get("type").is_some_and(|kind| match kind {
        Value::Array(kinds) => !kinds.iter().any(is_text),
        kind => !is_text(kind),
    }) {
        all.push(Texts::None);
    }
    let literal = |value: &Value| match value {
        Value::String(text) => Texts::Some(quoted(text)),
        _ => Texts::None,
    };
    if let Some(value) = schema.get("const") {
        all.push(literal(value));
    }
    if let Some(Value::Array(values)) = schema.get("enum") {
        all.push(any_of(values.iter().map(literal).collect()));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        all.push(Texts::Some(match_anywhere(&regex_to_lark(pattern, "dw"))));
    }
    let count = |keyword| schema.get(keyword).and_then(Value::as_u64);
    if let (least, most) = (count("minLength").unwrap_or(0), count("maxLength"))
        && (least > 0 || most.is_some())
    {
        let most = most.map(|most| most.to_string()).unwrap_or_default();
        all.push(Texts::Some(format!("/(?s:.{{{least},{most}}})/")));
    }
    all
}

fn all_of(all: Vec<Texts>) -> Texts {
    let mut parts = Vec::new();
    for texts in all {
        match texts {
            Texts::Any => {}
            Texts::None => return Texts::None,
            Texts::Some(expression) => parts.push(format!("({expression})")),
        }
    }
    if parts.is_empty() { Texts::Any } else { Texts::Some(parts.join(" & ")) }
}

fn any_of(all: Vec<Texts>) -> Texts {
    let mut parts = Vec::new();
    for texts in all {
        match texts {
            Texts::Any => return Texts::Any,
            Texts::None => {}
            Texts::Some(expression) => parts.push(format!("({expression})")),
        }
    }
    if parts.is_empty() { Texts::None } else { Texts::Some(parts.join(" | ")) }
}

/// Texts in which a regular expression matches somewhere.
fn match_anywhere(pattern: &str) -> String {
    let alternatives = alternatives(pattern).into_iter().map(|part| {
        if let Some(group) = group(part) {
            return match_anywhere(group);
        }
        let begins = part.starts_with('^');
        let escapes = part.bytes().rev().skip(1).take_while(|byte| *byte == b'\\').count();
        let ends = part.ends_with('$') && escapes % 2 == 0;
        let part = part.strip_prefix('^').unwrap_or(part);
        let part = if ends { &part[..part.len() - 1] } else { part };
        let middle = if part.is_empty() { "\"\"".to_owned() } else { format!("/{part}/") };
        let [before, after] = [begins, ends].map(|is_bound| if is_bound { "" } else { ANY_TEXT });
        format!("({before} {middle} {after})")
    });
    format!("({})", alternatives.collect::<Vec<_>>().join(" | "))
}

/// The alternatives of a regular expression, outside of groups.
fn alternatives(pattern: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    visit_top_level(pattern, |at, character| {
        if character == '|' {
            parts.push(&pattern[start..at]);
            start = at + 1;
        }
    });
    parts.push(&pattern[start..]);
    parts
}

/// The content of a group that spans a whole regular expression.
fn group(pattern: &str) -> Option<&str> {
    let mut ends = Vec::new();
    visit_top_level(pattern, |at, character| {
        if character == ')' {
            ends.push(at);
        }
    });
    let inner = pattern.strip_prefix('(')?.strip_suffix(')')?;
    let inner = match inner.strip_prefix('?') {
        Some(rest) => rest.strip_prefix(':')?,
        None => inner,
    };
    (ends == [pattern.len() - 1]).then_some(inner)
}

/// Visits the characters of a regular expression outside of groups and sets, and the ends of groups.
fn visit_top_level(pattern: &str, mut look: impl FnMut(usize, char)) {
    let (mut depth, mut in_set) = (0_usize, false);
    let mut characters = pattern.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => _ = characters.next(),
            ']' if in_set => in_set = false,
            _ if in_set => {}
            '[' => in_set = true,
            '(' => depth += 1,
            ')' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    look(at, character);
                }
            }
            _ if depth == 0 => look(at, character),
            _ => {}
        }
    }
}

/// The texts of a format as a regular expression, if it is known.
pub(super) fn format(name: &str) -> Option<String> {
    const DATE: &str = "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])\
        |(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))\
        |(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)";
    const TIME: &str = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]+)?\
        (?:[zZ]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
    const BYTE: &str = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    const LABEL: &str = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
    const DURATION_TIME: &str = "T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)";
    const DURATION_DATE: &str = "(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)";
    const HEX: &str = "[0-9a-fA-F]";
    Some(match name {
        "date" => DATE.to_owned(),
        "time" => TIME.to_owned(),
        "date-time" => format!("{DATE}[tT]{TIME}"),
        "duration" => format!("P(?:[0-9]+W|{DURATION_DATE}(?:{DURATION_TIME})?|{DURATION_TIME})"),
        "email" => {
            let atom = "[a-zA-Z0-9!#$%&'*+=?^_`{|}~/-]+";
            format!("{atom}(?:\\.{atom})*@{LABEL}(?:\\.{LABEL})*")
        }
        "hostname" => format!("{LABEL}(?:\\.{LABEL})*"),
        "ipv4" => format!("(?:{BYTE}\\.){{3}}{BYTE}"),
        "ipv6" => {
            let group = format!("{HEX}{{1,4}}");
            // Eight groups, or fewer with `::` for those that are 0.
            let shortened = (0..=7).map(|before| {
                let head = match before {
                    0 => String::new(),
                    1 => group.clone(),
                    _ => format!("(?:{group}:){{{}}}{group}", before - 1),
                };
                match 7 - before {
                    0 => format!("{head}::"),
                    1 => format!("{head}::(?:{group})?"),
                    after => format!("{head}::(?:{group}(?::{group}){{0,{}}})?", after - 1),
                }
            });
            let shortened = shortened.collect::<Vec<_>>().join("|");
            format!("(?:{group}:){{7}}{group}|{shortened}")
        }
        "uuid" => format!("{HEX}{{8}}(?:-{HEX}{{4}}){{3}}-{HEX}{{12}}"),
        "uri" => {
            let of = |more: &str| format!("(?:[a-zA-Z0-9._~!$&'()*+,;={more}-]|%{HEX}{{2}})");
            let (name, segment, rest) = (of(""), of(":@"), of(":@/?"));
            let user = of(":");
            let path = format!("(?:/{segment}*)*");
            format!(
                "[a-zA-Z][a-zA-Z0-9+.-]*:(?://(?:{user}*@)?{name}*(?::[0-9]*)?{path}|/?{segment}+{path})\
                (?:\\?{rest}*)?(?:#{rest}*)?"
            )
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unanchored_patterns_match_anywhere() {
        for (pattern, expression) in [
            ("^ab$", "(( /ab/ ))"),
            ("a", "((/(?s:.*)/ /a/ /(?s:.*)/))"),
            ("^a|b\\$", "(( /a/ /(?s:.*)/) | (/(?s:.*)/ /b\\$/ /(?s:.*)/))"),
            ("(?:^a|[|)]$)", "((( /a/ /(?s:.*)/) | (/(?s:.*)/ /[|)]/ )))"),
            ("(a)(b)", "((/(?s:.*)/ /(a)(b)/ /(?s:.*)/))"),
            ("^$", "(( \"\" ))"),
        ] {
            assert_eq!(match_anywhere(pattern), expression, "{pattern}");
        }
    }

    #[test]
    fn schema_texts_become_lark_expressions() {
        let root = json!({"$defs": {"short": {"maxLength": 2}, "a": {"$ref": "#/$defs/a"}}});
        let texts = |schema: Value| texts_of(&schema, &root);
        assert_eq!(texts(json!({})), Ok(Texts::Any));
        assert_eq!(texts(json!({"type": "string"})), Ok(Texts::Any));
        assert_eq!(texts(json!({"type": ["integer", "null"]})), Ok(Texts::None));
        assert_eq!(texts(json!({"enum": [1, null]})), Ok(Texts::None));
        let some = |expression: &str| Ok(Texts::Some(expression.to_owned()));
        assert_eq!(texts(json!({"enum": ["a", 1, "b\n"]})), some("((\"a\") | (\"b\\n\"))"));
        assert_eq!(texts(json!({"$ref": "#/$defs/short"})), some("((/(?s:.{0,2})/))"));
        let both = json!({"allOf": [{"minLength": 1}, {"type": "string"}], "const": "a"});
        assert_eq!(texts(both), some("(\"a\") & ((/(?s:.{1,})/))"));
        let either = json!({"anyOf": [{"type": "integer"}, {"const": "a"}]});
        assert_eq!(texts(either), some("(((\"a\")))"));
        assert!(texts(json!({"$ref": "#/$defs/a"})).is_err());
        assert!(texts(json!({"$ref": "#/nowhere"})).is_err());
    }
}
