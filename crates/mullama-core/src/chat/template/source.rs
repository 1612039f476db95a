//! Rewrites the source of a template before it is compiled. Line numbers do not change.

use std::fmt::Write as _;

/// Name of the filter that checks values assigned to a namespace.
pub(super) const NESTING_FILTER: &str = "mullama_held";

/// Name of the filter that runs in each iteration of a loop and each call of a macro.
pub(super) const BOUNDS_FILTER: &str = "mullama_goes_on";

/// Inserts checks of the values assigned to namespaces and of the limits in loops and macros, and removes the markers
/// that `transformers` uses for training (`{% generation %}`).
pub(super) fn prepare(source: &str) -> String {
    let mut prepared = String::with_capacity(source.len());
    for part in parts(source) {
        let tag = part.text();
        let statement = if matches!(part, Part::Tag(_)) { body_of_statement(tag) } else { None };
        let Some(body) = statement else {
            prepared.push_str(tag);
            continue;
        };
        let name =
            body.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        let changed = match name {
            "generation" => Some("if true".to_owned()),
            "endgeneration" => Some("endif".to_owned()),
            "set" => checked_assignment(body),
            _ => None,
        };
        match changed {
            Some(changed) => {
                let at = body.as_ptr() as usize - tag.as_ptr() as usize;
                prepared.push_str(&tag[..at]);
                prepared.push_str(&changed);
                prepared.push_str(&tag[at + body.len()..]);
            }
            None => prepared.push_str(tag),
        }
        if matches!(name, "for" | "macro" | "call") {
            // The inserted tag ends with the same white space control.
            let end = tag[..tag.len() - 2].chars().last().filter(|end| matches!(end, '-' | '+'));
            let end = end.map(String::from).unwrap_or_default();
            let _ = write!(prepared, "{{%- set {BOUNDS_FILTER} = 0 | {BOUNDS_FILTER} {end}%}}");
        }
    }
    prepared
}

/// A part of a template's source.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    /// Text, comments, and the contents of `raw` blocks.
    Text(&'a str),
    Tag(&'a str),
}

impl<'a> Part<'a> {
    pub fn text(self) -> &'a str {
        match self {
            Self::Text(text) | Self::Tag(text) => text,
        }
    }
}

/// Splits a template's source.
pub(super) fn parts(source: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = source;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let start = next_tag(rest).unwrap_or(rest.len());
        let is_tag = start == 0;
        let mut length = if is_tag { tag_length(rest) } else { start };
        let is_raw = is_tag && body_of_statement(&rest[..length]) == Some("raw");
        if is_raw {
            length += length_of_raw(&rest[length..]);
        }
        let part;
        (part, rest) = rest.split_at(length);
        let is_text = !is_tag || is_raw || part.starts_with("{#");
        Some(if is_text { Part::Text(part) } else { Part::Tag(part) })
    })
}

/// Length in bytes of the text after a `raw`, with its `endraw`.
fn length_of_raw(text: &str) -> usize {
    fn without_sign(text: &str) -> &str {
        text.strip_prefix(['-', '+']).unwrap_or(text)
    }
    for (start, opening) in text.match_indices("{%") {
        let tag = &text[start + opening.len()..];
        let tag = without_sign(tag).trim_ascii_start();
        let Some(end) = tag.strip_prefix("endraw").map(str::trim_ascii_start) else { continue };
        let end = without_sign(end);
        if end.starts_with("%}") {
            return text.len() - end.len() + 2;
        }
    }
    text.len()
}

/// The line of the first tag with more than `most` bytes, not counting quoted text.
pub(super) fn line_of_long_tag(source: &str, most: usize) -> Option<usize> {
    let mut line = 1;
    for part in parts(source) {
        if let Part::Tag(tag) = part
            && tag.len() > most
            && unquoted(tag) > most
        {
            return Some(line);
        }
        line += part.text().matches('\n').count();
    }
    None
}

/// Length of a tag in bytes, without quoted text.
fn unquoted(tag: &str) -> usize {
    let (mut bytes, mut rest) = (0, tag);
    while let Some(at) = rest.find(['\'', '"']) {
        bytes += at;
        rest = &rest[at + quoted(&rest[at..])..];
    }
    bytes + rest.len()
}

fn next_tag(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find('{')?;
        if matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// Length in bytes of the tag that a text starts with.
fn tag_length(text: &str) -> usize {
    let end = match text.as_bytes()[1] {
        b'#' => return text.find("#}").map_or(text.len(), |at| at + 2),
        b'%' => "%}",
        _ => "}}",
    };
    let mut from = 2;
    let mut depth = 0_usize;
    while let Some(at) = text[from..].find(['\'', '"', '%', '}', '{', '(', '[', ')', ']']) {
        let at = from + at;
        if depth == 0 && text[at..].starts_with(end) {
            return at + 2;
        }
        from = at + 1;
        match text.as_bytes()[at] {
            b'\'' | b'"' => from = at + quoted(&text[at..]),
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}

/// Length in bytes of the quoted text that a text starts with.
pub(super) fn quoted(text: &str) -> usize {
    let quote = text.as_bytes()[0];
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        if byte == quote {
            return at + 1;
        }
        if byte == b'\\' {
            bytes.next();
        }
    }
    text.len()
}

/// The content of a statement tag.
fn body_of_statement(tag: &str) -> Option<&str> {
    let body = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    Some(body.trim_matches(|c: char| matches!(c, '-' | '+') || c.is_whitespace()))
}

/// Rewrites an assignment. A value assigned to a field passes through [`NESTING_FILTER`]. An assignment to a variable is
/// unchanged, unless its value is a method call that modifies a list in a namespace: values are immutable, so the
/// namespace gets a new list.
fn checked_assignment(statement: &str) -> Option<String> {
    let (target, value) = statement.split_once('=')?;
    if target.contains('.') {
        return Some(format!("{target}= ({value}) | {NESTING_FILTER}"));
    }
    let (list, arguments) = value.trim().strip_suffix(')')?.split_once('(')?;
    let (list, method) = list.rsplit_once('.')?;
    let is_field = list.contains('.')
        && list
            .split('.')
            .all(|name| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_'));
    match (method, arguments.trim()) {
        _ if !is_field => None,
        ("append", item) => Some(format!("set {list} = ({list} + [{item}]) | {NESTING_FILTER}")),
        ("pop", "0") => Some(format!("{target}= {list}[0] %}}{{%- set {list} = {list}[1:]")),
        ("pop", "" | "-1") => {
            Some(format!("{target}= {list}[-1] %}}{{%- set {list} = {list}[:-1]"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlong_tags_report_their_line() {
        let long = |inner: &str| format!("a\n{{# {} #}}\n{{{{ {inner} }}}}", "x".repeat(50));
        assert_eq!(line_of_long_tag(&long(&"a+".repeat(20)), 30), Some(3));
        assert_eq!(line_of_long_tag(&long(&"a+".repeat(20)), 60), None);
        assert_eq!(line_of_long_tag(&long(&format!("'{}' + a", "it\\'s ".repeat(20))), 30), None);
        assert_eq!(line_of_long_tag("{{ 'a", 2), Some(1));
    }

    #[test]
    fn rewriting_changes_only_field_assignments_and_training_marks() {
        for (source, prepared) in [
            ("{% set a = 1 %}", "{% set a = 1 %}"),
            ("{%- set n.a = b -%}\n", "{%- set n.a = ( b) | mullama_held -%}\n"),
            ("{% set n.a, b = '%}', \"=\" %}", "{% set n.a, b = ( '%}', \"=\") | mullama_held %}"),
            ("{% set _ = n.a.append(f(x)) -%}", "{% set n.a = (n.a + [f(x)]) | mullama_held -%}"),
            ("{%- set x = n.a.pop(0) -%}", "{%- set x = n.a[0] %}{%- set n.a = n.a[1:] -%}"),
            ("{% set x = n.a.pop() %}", "{% set x = n.a[-1] %}{%- set n.a = n.a[:-1] %}"),
            ("{% set _ = a.append(1) %}", "{% set _ = a.append(1) %}"),
            ("{% set n.a %}x{% endset %}", "{% set n.a %}x{% endset %}"),
            ("{# {% set n.a = b %} #}", "{# {% set n.a = b %} #}"),
            ("{% raw %}{% set n.a = b %}{% endraw %}", "{% raw %}{% set n.a = b %}{% endraw %}"),
            ("{{ '{% set n.a = b %}' }}", "{{ '{% set n.a = b %}' }}"),
            ("{{ 'it\\'s }}' }}{% set n.a = b", "{{ 'it\\'s }}' }}{% set n.a = b"),
            ("{%- generation -%}x{% endgeneration %}", "{%- if true -%}x{% endif %}"),
            ("a { b", "a { b"),
            (
                "{%- for a in b -%} x",
                "{%- for a in b -%}{%- set mullama_goes_on = 0 | mullama_goes_on -%} x",
            ),
            (
                "{% macro a() %}\n",
                "{% macro a() %}{%- set mullama_goes_on = 0 | mullama_goes_on %}\n",
            ),
        ] {
            assert_eq!(prepare(source), prepared);
        }
    }
}
