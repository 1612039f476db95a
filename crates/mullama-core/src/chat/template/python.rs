//! What chat templates may use of Jinja2 and of Python's strings and lists, in addition to minijinja and its crate of
//! Python methods.

#![allow(clippy::needless_pass_by_value, reason = "the shape of a filter")]

use minijinja::value::{Kwargs, Rest, Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, filters};
use minijinja_contrib::filters::{filesizeformat, striptags};
use minijinja_contrib::globals::{cycler, joiner};

use super::bounds::invalid;

/// Maximum width that a text is padded to, also in a field of `str.format`.
pub(super) const MAX_WIDTH: usize = 10_000;

/// Maximum size in bytes of an indented text.
const MAX_INDENTED: usize = 32 << 20;

/// Adds filters and functions, and the variables that `transformers` always defines.
pub(super) fn extend(environment: &mut Environment<'static>) {
    for name in ["tools", "documents"] {
        environment.add_global(name, Value::from(()));
    }
    environment.add_function("cycler", |items: Rest<Value>| cycler(items.0));
    environment.add_function("joiner", joiner);
    environment.add_filter("filesizeformat", filesizeformat);
    for name in ["length", "count"] {
        environment.add_filter(name, length);
    }
    for name in ["default", "d"] {
        environment.add_filter(name, default);
    }
    environment.add_filter("int", int);
}

/// Adds filters that traverse a text. Their callers limit its size.
pub(super) fn extend_texts(environment: &mut Environment<'static>) {
    environment.add_filter("center", |text: &str, width: Option<usize>| {
        centered(text, width.unwrap_or(80), " ")
    });
    environment.add_filter("indent", indent);
    environment.add_filter("string", |state: &State, value: Value| {
        float_of(&value).map_or_else(|| filters::string(state, &value), |text| Ok(text.into()))
    });
    environment.add_filter("striptags", striptags);
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordcount", |text: &str| text.split_whitespace().count());
}

/// Number of items or characters. Templates count tools without asking whether there are any.
fn length(value: &Value) -> Result<usize, Error> {
    if value.is_none() { Ok(0) } else { filters::length(value) }
}

/// A value, or another one if it is undefined; with `boolean`, also if it is false.
fn default(
    value: Value,
    other: Option<Value>,
    boolean: Option<bool>,
    options: Kwargs,
) -> Result<Value, Error> {
    let other = other.or(options.get("default_value")?).unwrap_or_else(|| "".into());
    let boolean = boolean.or(options.get("boolean")?).unwrap_or_default();
    options.assert_all_used()?;
    let is_replaced = value.is_undefined() || boolean && !value.is_true();
    Ok(if is_replaced { other } else { value })
}

/// An integer, or a default, 0, if the value is none.
fn int(
    value: Value,
    default: Option<Value>,
    base: Option<u32>,
    options: Kwargs,
) -> Result<Value, Error> {
    let default = default.or(options.get("default")?).unwrap_or_else(|| 0.into());
    let base = base.or(options.get("base")?).unwrap_or(10);
    options.assert_all_used()?;
    if !(2..=36).contains(&base) {
        return Err(invalid(format!("there are no integers of base {base}")));
    }
    Ok(match value.kind() {
        ValueKind::Number if value.is_integer() => value,
        ValueKind::Number => whole(f64::try_from(value)?).unwrap_or(default),
        ValueKind::Bool => Value::from(i64::from(value.is_true())),
        ValueKind::String => {
            integer_in(value.as_str().unwrap_or_default(), base).unwrap_or(default)
        }
        _ => default,
    })
}

/// The integer or the number that a text contains, as an integer.
fn integer_in(text: &str, base: u32) -> Option<Value> {
    let text = text.trim();
    let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
    let prefix = match base {
        2 => "0b",
        8 => "0o",
        16 => "0x",
        _ => "",
    };
    let lower = digits.to_ascii_lowercase();
    let digits = lower.strip_prefix(prefix).unwrap_or(&lower);
    // Digits may be grouped: `1_000`.
    let is_grouped = digits.split('_').all(|group| !group.is_empty());
    let digits = if is_grouped { digits.replace('_', "") } else { digits.to_owned() };
    let is_plain = digits.starts_with(|digit: char| digit.is_ascii_alphanumeric());
    let integer = i128::from_str_radix(&format!("{sign}{digits}"), base).ok();
    integer.filter(|_| is_plain).map(Value::from).or_else(|| whole(text.parse::<f64>().ok()?))
}

/// The whole part of a number, unless it is out of range.
fn whole(number: f64) -> Option<Value> {
    (number.abs() < i128::MAX as f64).then(|| Value::from(number as i128))
}

/// The text of a value that is a floating-point number.
pub(super) fn float_of(value: &Value) -> Option<String> {
    let is_float = value.kind() == ValueKind::Number && !value.is_integer();
    is_float.then(|| f64::try_from(value.clone()).ok().map(float_text))?
}

/// A floating-point number as Python writes it: with an exponent from 1e16 on, and below 0.0001.
fn float_text(number: f64) -> String {
    if !number.is_finite() {
        return number.to_string().to_lowercase();
    }
    let scientific = format!("{number:e}");
    let exponent = scientific.split_once('e').and_then(|(_, digits)| digits.parse::<i32>().ok());
    match (scientific.split_once('e'), exponent) {
        (Some((digits, _)), Some(exponent)) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{number:?}"),
    }
}

/// A text whose lines are indented by a number of spaces, or by a text. The first line and lines without text are
/// indented on request.
fn indent(
    text: &str,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let width = width.or(options.get("width")?);
    let first = first.or(options.get("first")?).unwrap_or_default();
    let blank = blank.or(options.get("blank")?).unwrap_or_default();
    options.assert_all_used()?;
    let margin = match width {
        None => " ".repeat(4),
        Some(width) if width.as_str().is_some() => width.to_string(),
        Some(width) => {
            let width = i64::try_from(width)?;
            padding("", usize::try_from(width).unwrap_or_default(), " ")?
        }
    };
    let size = text.lines().count().saturating_mul(margin.len()).saturating_add(text.len());
    if size > MAX_INDENTED {
        return Err(invalid(format!("a text would be indented to more than {MAX_INDENTED} bytes")));
    }
    let mut result = String::with_capacity(size);
    let with_end = format!("{text}\n");
    for (index, line) in with_end.lines().enumerate() {
        let is_indented = if index == 0 { first } else { blank || !line.is_empty() };
        if index > 0 {
            result.push('\n');
        }
        if is_indented {
            result.push_str(&margin);
        }
        result.push_str(line);
    }
    Ok(result)
}

/// A text of at most `length` characters, cut at a space unless `killwords` is set, with `end` in place of the rest.
fn truncate(
    text: &str,
    length: Option<usize>,
    killwords: Option<bool>,
    end: Option<String>,
    options: Kwargs,
) -> Result<String, Error> {
    let length = length.or(options.get("length")?).unwrap_or(255);
    let killwords = killwords.or(options.get("killwords")?).unwrap_or_default();
    let end = end.or(options.get("end")?).unwrap_or_else(|| "...".to_owned());
    let leeway = options.get::<Option<usize>>("leeway")?.unwrap_or(5);
    options.assert_all_used()?;
    let kept = length.checked_sub(end.chars().count());
    let kept = kept.ok_or_else(|| invalid(format!("`end` has more than {length} characters")))?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text.to_owned());
    }
    let start = text.char_indices().nth(kept).map_or(text, |(at, _)| &text[..at]);
    let start = if killwords { start } else { start.rsplit_once(' ').map_or(start, |it| it.0) };
    Ok(start.to_owned() + &end)
}

/// Calls a method of a string or a list; `None` if there is no such method here.
pub(super) fn call_method(
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Option<Value>, Error> {
    match (value.as_str(), value.kind()) {
        (Some(text), _) => method_of_text(text, method, arguments),
        (None, ValueKind::Seq | ValueKind::Map) if method == "copy" => {
            from_args::<()>(arguments)?;
            Ok(Some(value.clone()))
        }
        (None, ValueKind::Seq) if method == "index" => {
            let (sought,): (&Value,) = from_args(arguments)?;
            let at = value.try_iter()?.position(|item| item == *sought);
            at.map(|at| Some(at.into())).ok_or_else(|| invalid("the value is not in the list"))
        }
        _ => Ok(None),
    }
}

fn method_of_text(text: &str, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            if separator.is_empty() {
                return Err(invalid("the separator is empty"));
            }
            let is_first = method == "partition";
            let found =
                if is_first { text.split_once(separator) } else { text.rsplit_once(separator) };
            texts(match found {
                Some((before, after)) => [before, separator, after],
                None if is_first => [text, "", ""],
                None => ["", "", text],
            })
        }
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(arguments)?;
            let most = most.and_then(|most| usize::try_from(most).ok());
            let parts: Vec<&str> = match (separator, most) {
                (Some(""), _) => return Err(invalid("the separator is empty")),
                (Some(separator), Some(most)) => text.rsplitn(most + 1, separator).collect(),
                (Some(separator), None) => text.rsplit(separator).collect(),
                (None, most) => words_from_the_end(text, most.unwrap_or(usize::MAX)),
            };
            texts(parts.into_iter().rev())
        }
        "index" | "rindex" => {
            let (sought,): (&str,) = from_args(arguments)?;
            let at = if method == "index" { text.find(sought) } else { text.rfind(sought) };
            let at = at.ok_or_else(|| invalid(format!("`{sought}` is not in the text")))?;
            text[..at].chars().count().into()
        }
        "zfill" => {
            let (width,): (usize,) = from_args(arguments)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            format!("{sign}{}{digits}", padding(text, width, "0")?).into()
        }
        "ljust" | "rjust" | "center" => {
            let (width, fill): (usize, Option<&str>) = from_args(arguments)?;
            let fill = fill.unwrap_or(" ");
            match method {
                "ljust" => text.to_owned() + &padding(text, width, fill)?,
                "rjust" => padding(text, width, fill)? + text,
                _ => centered(text, width, fill)?,
            }
            .into()
        }
        "swapcase" => {
            from_args::<()>(arguments)?;
            let swapped = text.chars().flat_map(|character| {
                let is_upper = character.is_uppercase();
                let (lower, upper) = (character.to_lowercase(), character.to_uppercase());
                let lower = lower.take(if is_upper { usize::MAX } else { 0 });
                lower.chain(upper.take(if is_upper { 0 } else { usize::MAX }))
            });
            swapped.collect::<String>().into()
        }
        "casefold" => {
            from_args::<()>(arguments)?;
            text.to_lowercase().into()
        }
        _ => return Ok(None),
    }))
}

/// A list of texts.
fn texts<'a>(parts: impl IntoIterator<Item = &'a str>) -> Value {
    parts.into_iter().map(Value::from).collect()
}

/// The last words of a text, from the end, and what is before them.
fn words_from_the_end(text: &str, most: usize) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), text.trim_end());
    while !rest.is_empty() {
        let start = rest.rfind(char::is_whitespace).filter(|_| words.len() < most);
        let Some(start) = start else {
            words.push(rest);
            break;
        };
        let word = rest[start..].trim_start();
        words.push(word);
        rest = rest[..start].trim_end();
    }
    words
}

fn centered(text: &str, width: usize, fill: &str) -> Result<String, Error> {
    let count = padding(text, width, fill)?.chars().count();
    // Python puts the odd character on the left if the width is odd.
    let before = count / 2 + (count & width & 1);
    Ok(format!("{}{text}{}", fill.repeat(before), fill.repeat(count - before)))
}

pub(super) fn too_wide() -> Error {
    invalid(format!("a text would be padded to more than {MAX_WIDTH} characters"))
}

fn padding(text: &str, width: usize, fill: &str) -> Result<String, Error> {
    if width > MAX_WIDTH {
        return Err(too_wide());
    }
    if fill.chars().count() != 1 {
        let problem = "a text is padded with one character";
        return Err(Error::new(ErrorKind::InvalidOperation, problem));
    }
    Ok(fill.repeat(width.saturating_sub(text.chars().count())))
}

#[cfg(test)]
mod tests {
    use super::super::jinja::Jinja;

    #[test]
    fn filters_and_methods_are_those_of_jinja2_and_python() {
        let mut wrong = Vec::new();
        for (source, expected) in [
            ("{{ tools is none }} {{ tools is defined }} {{ tools|length }}", "True True 0"),
            ("{% for tool in tools or [] %}x{% endfor %}{{ documents|count }}", "0"),
            ("{{ [1, 2]|length }}{{ undefined_name|length }}{{ 'äb'|length }}", "202"),
            (
                "{{ a|default('b') }}{{ ''|d('c', boolean=true) }}{{ a|default(default_value=1) }}",
                "bc1",
            ),
            ("{{ ''|default('c', true) }}{{ 0|default(7) }}", "c0"),
            (
                "{{ ' 12 '|int }} {{ '12abc'|int }} {{ 'x'|int(5) }} {{ 'x'|int(default=6) }}",
                "12 0 5 6",
            ),
            (
                "{{ '3.9'|int }} {{ -2.5|int }} {{ true|int }} {{ none|int }} {{ 'ff'|int(base=16) }}",
                "3 -2 1 0 255",
            ),
            (
                "{{ '0x1f'|int(0, 16) }} {{ '-0B11'|int(base=2) }} {{ '1_000'|int }} {{ '_1'|int }}",
                "31 -3 1000 0",
            ),
            (
                "{{ 1e22|int }} {{ '1e3'|int }} {{ '--1'|int }} {{ 'inf'|int(4) }}",
                "10000000000000000000000 1000 0 4",
            ),
            (
                "{{ 1e20 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }} {{ 2.5 }}",
                "1e+20 1000000000000000.0 0.0001 1e-05 2.5",
            ),
            ("{{ [1e20, 1e-7]|tojson }} {{ 1e20|string }}", "[1e+20, 1e-07] 1e+20"),
            ("[{{ 'a\nb\n\nc\n'|indent(2) }}]", "[a\n  b\n\n  c\n]"),
            ("[{{ 'a\n\nb'|indent(1, true, true) }}]", "[ a\n \n b]"),
            (
                "[{{ ''|indent(2) }}] [{{ ''|indent(2, first=true) }}] [{{ 'a\nb'|indent(width='> ') }}]",
                "[] [  ] [a\n> b]",
            ),
            ("{{ 'a  b c'|wordcount }}", "3"),
            ("{{ 'foo bar baz qux'|truncate(9) }}", "foo..."),
            ("{{ 'foo bar baz qux'|truncate(9, true) }}", "foo ba..."),
            ("{{ 'foo bar baz qux'|truncate(11) }}", "foo bar baz qux"),
            (
                "{{ 'foo bar baz qux'|truncate(length=11, killwords=true, leeway=0) }}",
                "foo bar ...",
            ),
            ("{{ 'foobar foobar'|truncate(8, false, '>', leeway=0) }}", "foobar>"),
            ("[{{ 'ab'|center(5) }}] {{ '<b>a</b> &amp; b'|striptags }}", "[  ab ] a & b"),
            ("{{ 13000|filesizeformat }} {{ 'a b/é'|urlencode }}", "13.0 kB a%20b/%C3%A9"),
            ("{% set x = joiner(';') %}{{ x() }}a{{ x() }}b{{ x() }}", "a;b;"),
            ("{% set x = cycler(1, 2) %}{{ x.next() }}{{ x.next() }}{{ x.next() }}", "121"),
            (
                "{{ 'a-b-c'.rsplit('-', 1) }} {{ 'a-b-c'.rsplit('-') }}",
                "['a-b', 'c'] ['a', 'b', 'c']",
            ),
            (
                "{{ ' a  b c '.rsplit(none, 1) }} {{ ' a b '.rsplit() }}",
                "[' a  b', 'c'] ['a', 'b']",
            ),
            ("{{ 'a=b=c'.partition('=') }}", "['a', '=', 'b=c']"),
            (
                "{{ 'a=b=c'.rpartition('=') }} {{ 'a'.rpartition('=') }}",
                "['a=b', '=', 'c'] ['', '', 'a']",
            ),
            ("{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('x') }}", "bc abc"),
            ("{{ 'äbc'.index('c') }} {{ 'abcb'.rindex('b') }} {{ [3, 4].index(4) }}", "2 3 1"),
            ("{{ '7'.zfill(3) }} {{ '-7'.zfill(4) }}", "007 -007"),
            (
                "[{{ 'a'.ljust(3) }}][{{ 'a'.rjust(3, '.') }}][{{ 'ab'.center(5, '*') }}]",
                "[a  ][..a][**ab*]",
            ),
            ("{{ 'aB'.swapcase() }} {{ 'AB'.casefold() }} {{ [1].copy() }}", "Ab ab [1]"),
        ] {
            let rendered = Jinja::new(source).unwrap().render_with(serde_json::json!({}));
            if rendered.as_deref() != Ok(expected) {
                wrong.push((source, rendered));
            }
        }
        assert_eq!(wrong, []);
        for (source, problem) in [
            ("\n{{ 'a'.ljust(1000000000) }}", "line 2: a text would be padded"),
            ("{{ 'a'.center(5, 'ab') }}", "one character"),
            ("{{ 'a'.index('b') }}", "`b` is not in the text"),
            ("{{ 'a'.partition('') }}", "separator is empty"),
            ("{{ 'a'|int(base=1) }}", "base 1"),
            ("{{ 'abc'|truncate(2) }}", "more than 2 characters"),
            ("{{ 'a'|center(1000000000) }}", "would be padded"),
            ("{{ 'a'|indent(1000000000) }}", "would be padded"),
            ("{{ 'a'|default(x=1) }}", "x"),
        ] {
            let failure = Jinja::new(source).unwrap().render_with(serde_json::json!({}));
            let failure = failure.expect_err(source);
            assert!(failure.contains(problem), "{source}: {failure}");
        }
    }
}
