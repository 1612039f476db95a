//! Jinja macros that print values as Go does.

use std::fmt::Write as _;

use super::kind::{Field, Kind, PROPERTY, Struct};
use super::parse::Problem;

/// Characters that Go escapes as `\u...`: unprintable ones, and spaces other than U+0020.
const ESCAPED_RANGES: [(u32, u32); 10] = [
    (0x00, 0x1f),
    (0x7f, 0xa0),
    (0xad, 0xad),
    (0x1680, 0x1680),
    (0x2000, 0x200f),
    (0x2028, 0x202f),
    (0x205f, 0x206f),
    (0x3000, 0x3000),
    (0xe000, 0xe000),
    (0xfeff, 0xfeff),
];

/// Macros that are the same for all templates: signature, body, and the macros that it calls. The body's lines are
/// joined without indentation and line breaks.
const MACROS: [(&str, &str, &[&str]); 14] = [
    (
        "go_content(content)",
        "{% if content is string %}{{ content }}
        {% elif content %}{% for part in content %}{{ part['text'] or '' }}{% endfor %}
        {% endif %}",
        &[],
    ),
    // JSON numbers are floats in Go, which have an exponent from one million on.
    (
        "go_number(x)",
        "{% set size = x | abs | float %}
        {% set digits = size | string %}
        {% set whole = digits.split('.')[0] %}
        {% set part = digits.split('.') | last %}
        {{ '-' if x < 0 else '' }}
        {% if 'e' in digits %}{{ digits }}
        {% elif size >= 1000000 %}
        {% set shown = (whole ~ part).rstrip('0') %}
        {{ shown[0] ~ ('.' ~ shown[1:] if shown[1:] else '') }}e+{{ '%02d' | format((whole | length) - 1) }}
        {% elif size > 0 and size < 0.0001 %}
        {% set shown = part.lstrip('0') %}
        {{ shown[0] ~ ('.' ~ shown[1:] if shown[1:] else '') }}e-
        {{ '%02d' | format((part | length) - (shown | length) + 1) }}
        {% else %}{{ whole ~ ('' if part == '0' else '.' ~ part) }}
        {% endif %}",
        &[],
    ),
    (
        "go_text(x, nothing='<no value>')",
        "{% if x is undefined or x is none %}{{ nothing }}
        {% elif x is boolean %}{{ 'true' if x else 'false' }}
        {% elif x is string %}{{ x }}
        {% elif x is number %}{{ go_number(x) }}
        {% elif x is mapping %}map[
        {% for pair in x | dictsort(case_sensitive=true) %}
        {{ '' if loop.first else ' ' }}{{ pair[0] }}:{{ go_text(pair[1], '<nil>') }}
        {% endfor %}]
        {% else %}[
        {% for item in x %}{{ '' if loop.first else ' ' }}{{ go_text(item, '<nil>') }}{% endfor %}]
        {% endif %}",
        &["go_number"],
    ),
    (
        "go_string(x)",
        r"{{ x | tojson | replace('<', '\\u003c') | replace('>', '\\u003e') | replace('&', '\\u0026')
         | replace('\u2028', '\\u2028') | replace('\u2029', '\\u2029') }}",
        &[],
    ),
    (
        "go_json(x)",
        "{% if x is undefined or x is none %}null
        {% elif x is boolean %}{{ 'true' if x else 'false' }}
        {% elif x is string %}{{ go_string(x) }}
        {% elif x is number %}{{ x | int if (x | int) == x else x }}
        {% elif x is mapping %}{{ '{' }}
        {% for pair in x | dictsort(case_sensitive=true) %}
        {{ '' if loop.first else ',' }}{{ go_string(pair[0]) }}:{{ go_json(pair[1]) }}
        {% endfor %}{{ '}' }}
        {% else %}[
        {% for item in x %}{{ '' if loop.first else ',' }}{{ go_json(item) }}{% endfor %}]
        {% endif %}",
        &["go_string"],
    ),
    (
        "go_types(x)",
        "{{ x if x is string else (x | first) if (x | length) == 1 else '[' ~ (x | join(' ')) ~ ']' if x else '' }}",
        &[],
    ),
    (
        "go_typescript(x)",
        "{% set names = {'string': 'string', 'number': 'number', 'integer': 'number', 'boolean': 'boolean',
         'array': 'any[]', 'object': 'Record<string, any>', 'null': 'null'} %}
        {% set types = x['type'] | default([], true) %}
        {% set many = [types] if types is string else types %}
        {% if x['anyOf'] %}
        {% for one in x['anyOf'] %}{{ '' if loop.first else ' | ' }}{{ go_typescript(one) }}{% endfor %}
        {% else %}
        {% for one in many %}{{ '' if loop.first else ' | ' }}{{ names[one] | default('any') }}
        {% else %}any{% endfor %}
        {% endif %}",
        &[],
    ),
    (
        "go_bytes(x)",
        r"{% set sum = namespace(n=0) %}
        {% for c in x %}
        {% set sum.n = sum.n + (1 if c < '\u0080' else 2 if c < '\u0800' else 3 if c <= '\uffff' else 4) %}
        {% endfor %}{{ sum.n }}",
        &[],
    ),
    (
        "go_pad(x, width, left)",
        "{{ x if left else '' }}{% for i in range(width - (x | length)) %}{{ ' ' }}{% endfor %}{{ '' if left else x }}",
        &[],
    ),
    // What `printf` prints for a value of the wrong type for its verb.
    (
        "go_bad(verb, x)",
        "%!{{ verb }}(
        {% if x is undefined or x is none %}<nil>
        {% elif x is boolean %}bool={{ go_text(x) }}
        {% elif x is string %}string={{ x }}
        {% elif x is number %}float64={{ go_number(x) }}
        {% else %}{{ raise_exception('`printf` with `%' ~ verb ~ '` of a list or map') }}
        {% endif %})",
        &["go_text", "go_number"],
    ),
    (
        "go_hex(x)",
        "{% for c in x %}
        {% if c not in go_ascii %}{{ raise_exception('`printf` with `%x` of text that is not ASCII') }}{% endif %}
        {{ '%02x' | format(go_ascii.find(c)) }}
        {% endfor %}",
        &["go_ascii"],
    ),
    (
        "go_query(x)",
        "{% for c in x %}
        {% if c not in go_ascii %}{{ raise_exception('`urlquery` of text that is not ASCII') }}
        {% elif c == ' ' %}+
        {% elif c.isalnum() or c in '-_.~' %}{{ c }}
        {% else %}{{ '%%%02X' | format(go_ascii.find(c)) }}
        {% endif %}
        {% endfor %}",
        &["go_ascii"],
    ),
    (
        "go_html(x)",
        "{{ x | replace('&', '&amp;') | replace('<', '&lt;') | replace('>', '&gt;') | replace('\"', '&#34;')
         | replace(\"'\", '&#39;') | replace('\\u0000', '\\ufffd') }}",
        &[],
    ),
    (
        "go_yesterday()",
        "{% set year = strftime_now('%Y') | int %}
        {% set month = strftime_now('%m') | int %}
        {% set day = strftime_now('%d') | int %}
        {% set leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) %}
        {% set days = [31, 31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30] %}
        {% if day > 1 %}{{ '%04d-%02d-%02d' | format(year, month, day - 1) }}
        {% elif month > 1 %}{{ '%04d-%02d-%02d' | format(year, month - 1, days[month - 1]) }}
        {% else %}{{ '%04d-12-31' | format(year - 1) }}
        {% endif %}",
        &[],
    ),
];

/// The macros that a template uses.
#[derive(Default)]
pub(super) struct Macros {
    names: Vec<String>,
    pub out: String,
}

impl Macros {
    /// Calls one of `MACROS`, and defines it at the first call.
    pub fn call(&mut self, name: &str, args: &str) -> String {
        self.require_macro(name);
        format!("{name}({args})")
    }

    fn require_macro(&mut self, name: &str) {
        if !self.is_new(name) {
            return;
        }
        if name == "go_ascii" {
            let ascii: String = (0..0x80_u8).map(char::from).collect();
            let _ = write!(self.out, "{{% set go_ascii = {} %}}", quoted(&ascii));
        } else if let Some((head, body, others)) =
            MACROS.iter().find(|(head, ..)| head.split('(').next() == Some(name))
        {
            others.iter().for_each(|other| self.require_macro(other));
            let body: String = body.lines().map(str::trim_start).collect();
            self.define(head, &body);
        }
    }

    fn is_new(&mut self, name: &str) -> bool {
        let is_new = !self.names.iter().any(|known| known == name);
        if is_new {
            self.names.push(name.to_owned());
        }
        is_new
    }

    pub fn define(&mut self, head: &str, body: &str) {
        let _ = write!(self.out, "{{% macro {head} %}}{body}{{% endmacro %}}");
    }

    /// Calls a macro with the parameter `x` that is generated for a type, and defines it at the first call.
    fn made(
        &mut self,
        name: &str,
        x: &str,
        body: impl FnOnce(&mut Self) -> Result<String, Problem>,
    ) -> Result<String, Problem> {
        if self.is_new(name) {
            let body = body(self)?;
            self.define(&format!("{name}(x)"), &body);
        }
        Ok(format!("{name}({x})"))
    }

    /// The expression that prints a value. `nothing` is printed for a missing value.
    pub fn text(&mut self, kind: Kind, x: &str, nothing: &str) -> Result<String, Problem> {
        Ok(match kind {
            Kind::Text | Kind::Int => x.to_owned(),
            Kind::Bool => format!("('true' if {x} else 'false')"),
            Kind::Nil => quoted(nothing),
            Kind::Float => self.call("go_number", x),
            Kind::Json => self.call("go_text", &format!("{x}, {}", quoted(nothing))),
            Kind::Types => self.call("go_types", x),
            _ if kind.prints_as_json() => self.json(kind, x)?,
            Kind::List(Kind::Text) => format!("('[' ~ ({x} | join(' ')) ~ ']')"),
            // Go prints messages in a list as addresses, so they are not supported.
            Kind::List(of) if !matches!(of, Kind::Struct(s) if **s == super::kind::MESSAGE) => self
                .made(&format!("go_text_{}", kind.tag()), x, |macros| {
                    Ok(each("x", &["[", " ", "]"], &macros.text(*of, "item", "<nil>")?))
                })?,
            Kind::Struct(fields) => self.made(&format!("go_text_{}", kind.tag()), x, |macros| {
                let mut texts = Vec::new();
                for field in fields.fields {
                    let text = macros.text(field.kind, &present("x", field), "<nil>")?;
                    texts.push(match field.kind {
                        // It is a pointer in Go.
                        Kind::Map(_) if field.optional => {
                            format!("('<nil>' if {} else {text})", is_missing(&get("x", field)))
                        }
                        _ => text,
                    });
                }
                Ok(format!("{{{{ '{{' ~ {} ~ '}}' }}}}", texts.join(" ~ ' ' ~ ")))
            })?,
            _ => return Err(format!("{} cannot be printed", kind.name())),
        })
    }

    /// The expression of a value in JSON.
    pub fn json(&mut self, kind: Kind, x: &str) -> Result<String, Problem> {
        Ok(match kind {
            Kind::Text => self.call("go_string", x),
            Kind::Bool => self.text(kind, x, "")?,
            Kind::Int => format!("({x} | string)"),
            Kind::Nil => "'null'".to_owned(),
            Kind::Float | Kind::Json => self.call("go_json", x),
            // Arguments that the caller passed as a string stay unchanged.
            Kind::Map(Kind::Json) => {
                format!("({x} if {x} is string else {})", self.call("go_json", x))
            }
            // A missing list is empty here, but `null` in Go's JSON.
            Kind::List(Kind::Json | Kind::Text) => {
                format!("({} if {x} else 'null')", self.call("go_json", x))
            }
            Kind::Types => {
                let is_one = format!("{x} is not string and ({x} | length) == 1");
                let one = self.call("go_json", &format!("({x} | first) if {is_one} else {x}"));
                format!("({one} if {x} else 'null')")
            }
            Kind::List(of) => self.made(&format!("go_json_{}", kind.tag()), x, |macros| {
                let list = each("x", &["[", ",", "]"], &macros.json(*of, "item")?);
                Ok(format!("{{% if x %}}{list}{{% else %}}null{{% endif %}}"))
            })?,
            Kind::Map(of) => self.made(&format!("go_json_{}", kind.tag()), x, |macros| {
                let pair = format!(
                    "{} ~ ':' ~ {}",
                    macros.json(Kind::Text, "item[0]")?,
                    macros.json(*of, "item[1]")?
                );
                let map = each("x | dictsort(case_sensitive=true)", &["{", ",", "}"], &pair);
                Ok(format!("{{% if x is mapping %}}{map}{{% else %}}null{{% endif %}}"))
            })?,
            Kind::Struct(fields) => {
                self.made(&format!("go_json_{}", kind.tag()), x, |macros| macros.object(fields))?
            }
            Kind::Data | Kind::Mixed => return Err(format!("{} in JSON", kind.name())),
        })
    }

    /// The body of a macro that writes a struct in JSON.
    fn object(&mut self, of: &Struct) -> Result<String, Problem> {
        let mut parts = Vec::new();
        for field in of.fields {
            let raw = get("x", field);
            let value = match field.kind {
                // A missing list or map is `null`.
                Kind::List(_) | Kind::Map(_) => raw.clone(),
                _ => present("x", field),
            };
            let part = format!("'\"{}\":' ~ {}", field.key, self.json(field.kind, &value)?);
            parts.push(match field.kind {
                _ if !field.optional => part,
                Kind::Json | Kind::Map(_) => {
                    format!("('' if {} else {part})", is_missing(&raw))
                }
                _ => format!("({part} if {raw} else '')"),
            });
        }
        let parts = parts.join(", ");
        Ok(format!("{{{{ '{{' ~ ([{parts}] | select | join(',')) ~ '}}' }}}}"))
    }

    /// The TypeScript name of a parameter's type; `any` for other values.
    pub fn typescript(&mut self, kind: Kind, x: &str) -> String {
        if kind == Kind::Struct(&PROPERTY) {
            self.call("go_typescript", x)
        } else {
            "'any'".to_owned()
        }
    }

    /// The expression of a quoted string in Go's syntax.
    pub fn quote(&mut self, x: &str) -> String {
        if self.is_new("go_quote") {
            let named = [
                ('\\', "\\\\"),
                ('"', "\\\""),
                ('\x07', "\\a"),
                ('\x08', "\\b"),
                ('\x0c', "\\f"),
                ('\n', "\\n"),
                ('\r', "\\r"),
                ('\t', "\\t"),
                ('\x0b', "\\v"),
            ];
            let named = named.map(|(c, escape)| (c, escape.to_owned()));
            self.escape("go_quote", &named, "\"", |code| {
                if code < 0x80 { format!("\\x{code:02x}") } else { format!("\\u{code:04x}") }
            });
        }
        format!("go_quote({x})")
    }

    /// The expression of text escaped for a JavaScript string.
    pub fn js(&mut self, x: &str) -> String {
        if self.is_new("go_js") {
            let mut escapes: Vec<_> = ['\\', '\'', '"'].map(|c| (c, format!("\\{c}"))).into();
            escapes.extend(['<', '>', '&', '='].map(|c| (c, format!("\\u{:04X}", u32::from(c)))));
            self.escape("go_js", &escapes, "", |code| format!("\\u{code:04X}"));
        }
        format!("go_js({x})")
    }

    /// Defines a macro that replaces these characters, and the unprintable ones.
    fn escape(
        &mut self,
        name: &str,
        escapes: &[(char, String)],
        around: &str,
        other: impl Fn(u32) -> String,
    ) {
        let unseen = ESCAPED_RANGES.iter().flat_map(|&(first, last)| first..=last);
        let unseen = unseen.filter_map(|code| Some((char::from_u32(code)?, other(code))));
        // In a map with duplicate keys, the last value wins.
        let all = unseen.chain(escapes.iter().cloned());
        let all = all.map(|(c, escape)| format!("{}: {}", quoted(&c.to_string()), quoted(&escape)));
        let all: Vec<_> = all.collect();
        let _ = write!(self.out, "{{% set {name}_as = {{{}}} %}}", all.join(", "));
        let around = quoted(around);
        self.define(
            &format!("{name}(x)"),
            &format!(
                "{{{{ {around} }}}}{{% for c in x %}}{{{{ {name}_as[c] | default(c) }}}}{{% endfor %}}\
                 {{{{ {around} }}}}"
            ),
        );
    }
}

/// Emits a list in brackets; `item` is the expression for each element of `list`.
fn each(list: &str, [open, between, close]: &[&str; 3], item: &str) -> String {
    let (open, close) = (quoted(open), quoted(close));
    format!(
        "{{{{ {open} }}}}{{% for item in {list} %}}{{{{ ('' if loop.first else '{between}') ~ {item} }}}}\
        {{% endfor %}}{{{{ {close} }}}}"
    )
}

/// The expression of a field, which may be missing.
fn get(of: &str, field: &Field) -> String {
    match field.key {
        // In Python, `items` is a method of maps.
        "items" => format!("{of}.get('items')"),
        key => format!("{of}['{key}']"),
    }
}

/// The condition that a JSON value is missing.
pub(super) fn is_missing(x: &str) -> String {
    format!("({x} is undefined or {x} is none)")
}

/// The expression of a field, with a default for a missing value.
pub(super) fn present(of: &str, field: &Field) -> String {
    match field.kind {
        Kind::Json => get(of, field),
        kind => format!("({} | default({}, true))", get(of, field), kind.empty()),
    }
}

/// A string literal in Jinja.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for c in text.chars() {
        match c {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' | '\x7f' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}
