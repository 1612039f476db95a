//! Jinja in the dialect of chat templates, that of Hugging Face's `transformers`, rendered by `minijinja`.
//!
//! Templates are untrusted programs. These are limited: steps and bytes (by `minijinja`'s fuel), the depth of calls and
//! of values, and the total time of all renderings of a request.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use jiff::Zoned;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, ValueKind};
use minijinja::{Environment, ErrorKind, OutputSpan, State};
use mullama_sys::shim::Renderer;
use serde::Serialize;

use super::bounds::{FUEL, RenderBounds, invalid};
use super::{operators, python, source, walk};

/// Maximum depth of nested calls.
const MAX_CALLS: usize = 200;
/// Maximum length of a template in bytes; published templates have up to 60,000.
const MAX_SOURCE: usize = 1 << 20;
/// Maximum length in bytes of an expression or a statement, without quoted text: a chain of operators is compiled
/// recursively.
const MAX_TAG: usize = 16 << 10;
/// Bytes that a rendering for the engine may have in addition to [`OUTPUT_BYTES_PER_INPUT_BYTE`] times the bytes of its variables. The
/// engine's parsers compare renderings of short conversations in quadratic time.
const BASE_OUTPUT_BYTES: usize = 32 << 10;
const OUTPUT_BYTES_PER_INPUT_BYTE: usize = 16;
/// Maximum depth of values that are stored in a namespace or written as JSON.
const MAX_DEPTH: usize = 200;
/// Maximum indentation of JSON, in spaces.
const MAX_INDENT: usize = 100;
/// Bytes of stack for rendering: values may be nested as deeply as a template has assignments.
pub(crate) const STACK: usize = 64 << 20;

const NAME: &str = "chat template";

/// A compiled template.
pub(super) struct Jinja {
    environment: Environment<'static>,
    source: String,
    /// Recent renderings. The engine renders the same test conversations for each request.
    known: Mutex<RenderCache>,
}

/// Cache of renderings, by their variables as JSON.
#[derive(Default)]
struct RenderCache {
    texts: HashMap<String, String>,
    bytes: usize,
}

impl RenderCache {
    /// Limits in bytes: for all entries, and for one.
    const MAX_CACHE_BYTES: usize = 1 << 20;
    const MAX_ENTRY_BYTES: usize = 32 << 10;

    fn keep(&mut self, variables: String, text: &str) {
        let bytes = variables.len() + text.len();
        if bytes > Self::MAX_ENTRY_BYTES {
            return;
        }
        if self.texts.contains_key(&variables) {
            return;
        }
        if self.bytes + bytes > Self::MAX_CACHE_BYTES {
            *self = Self::default();
        }
        self.bytes += bytes;
        self.texts.insert(variables, text.to_owned());
    }
}

impl Jinja {
    pub fn new(source: &str) -> Result<Self, String> {
        if source.len() > MAX_SOURCE {
            return Err(format!("it has more than {MAX_SOURCE} bytes"));
        }
        let source = source.replace("\r\n", "\n");
        if let Some(line) = source::line_of_long_tag(&source, MAX_TAG) {
            let what = "has an expression of more than";
            return Err(format!("line {line} {what} {MAX_TAG} bytes"));
        }
        let checked = operators::checked(&source::prepare(&source))?;
        let mut environment = environment();
        environment.add_template_owned(NAME, checked).map_err(|error| describe(&error))?;
        Ok(Self { environment, source, known: Mutex::default() })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// All identifiers in the template, which include the variables that it may use.
    pub fn names(&self) -> BTreeSet<&str> {
        let is_part = |character: char| character.is_alphanumeric() || character == '_';
        self.source.split(|character| !is_part(character)).filter(|name| !name.is_empty()).collect()
    }

    /// Renders the template with an object of variables.
    pub fn render_with(&self, variables: impl Serialize) -> Result<String, String> {
        self.render_value(Value::from(Serde(variables)))
    }

    pub fn render_value(&self, variables: Value) -> Result<String, String> {
        let result = RenderBounds::check().and_then(|()| {
            let template = self.environment.get_template(NAME);
            template.and_then(|template| template.render(variables))
        });
        result.map_err(|error| {
            let reason = describe(&error);
            let is_final = error.kind() == ErrorKind::OutOfFuel || RenderBounds::check().is_err();
            RenderBounds::note(&reason, is_final);
            reason
        })
    }

    /// The line of the template that writes a byte of its output, with an object of variables in JSON.
    fn line_of_byte(&self, variables: &str, byte: usize) -> Option<usize> {
        let variables: serde_json::Value = serde_json::from_str(variables).ok()?;
        let template = self.environment.get_template(NAME).ok()?;
        let (_, spans) = template.render_with_spans(Value::from(Serde(variables))).ok()?;
        spans.iter().find(|span| span.output_range().contains(&byte)).map(OutputSpan::line)
    }
}

impl Renderer for Jinja {
    fn render(&self, variables: &str) -> Result<String, String> {
        let mut variables: serde_json::Value =
            serde_json::from_str(variables).map_err(|error| error.to_string())?;
        RenderBounds::override_variables(&mut variables);
        let settled = variables.to_string();
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // The current time changes, so such renderings are not cached.
        let keeps = !self.source.contains("strftime_now");
        if keeps && let Some(text) = known().texts.get(&settled) {
            return Ok(text.clone());
        }
        let text = self.render_with(variables)?;
        let most = BASE_OUTPUT_BYTES + OUTPUT_BYTES_PER_INPUT_BYTE * settled.len();
        if text.len() > most {
            let line = self.line_of_byte(&settled, most).map(|line| format!("line {line}: "));
            let reason = format!(
                "{}it renders {} bytes from {} bytes of variables, and may render {most}",
                line.unwrap_or_default(),
                text.len(),
                settled.len()
            );
            RenderBounds::note(&reason, true);
            return Err(reason);
        }
        if keeps {
            known().keep(settled, &text);
        }
        Ok(text)
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(MAX_CALLS);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("trimming changes no delimiter"));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(call_method);
    walk::guard(&mut environment);
    python::extend(&mut environment);
    environment.add_filter("tojson", to_json);
    environment.add_filter(source::NESTING_FILTER, check_nesting);
    environment.add_filter(source::BOUNDS_FILTER, check_bounds);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment
}

/// The problem and its line.
fn describe(error: &minijinja::Error) -> String {
    let mut text = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => text.push_str("it takes too many steps, or too much memory"),
        (ErrorKind::InvalidOperation, Some(detail)) => text.push_str(detail),
        (kind, Some(detail)) => _ = write!(text, "{kind}: {detail}"),
        (kind, None) => _ = write!(text, "{kind}"),
    }
    text
}

fn raise_exception(message: &str) -> Result<Value, minijinja::Error> {
    Err(invalid(message.to_owned()))
}

/// The local time, in a format of C's `strftime`.
fn strftime_now(format: &str) -> Result<String, minijinja::Error> {
    jiff::fmt::strtime::format(format, &Zoned::now()).map_err(|error| invalid(error.to_string()))
}

/// Calls a method of Python's strings, lists or dictionaries. Limits the cost of those in `minijinja_contrib`.
fn call_method(
    state: &mut State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, minijinja::Error> {
    walk::check_method(state, value, method, arguments)?;
    if method == "format" && value.as_str().is_some_and(has_wide_fields) {
        return Err(python::too_wide());
    }
    if let Some(result) = python::call_method(value, method, arguments)? {
        return Ok(result);
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments)
}

/// Whether a format string contains a number above [`python::MAX_WIDTH`], which may be a field width.
fn has_wide_fields(text: &str) -> bool {
    let mut numbers = text.split(|character: char| !character.is_ascii_digit());
    let is_wide = |digits: &str| {
        !digits.is_empty()
            && digits.parse::<usize>().map_or(true, |number| number > python::MAX_WIDTH)
    };
    text.contains('{') && numbers.any(is_wide)
}

/// Filter that runs in each iteration of a loop and each call of a macro: checks the limits.
fn check_bounds(value: Value) -> Result<Value, minijinja::Error> {
    RenderBounds::check()?;
    Ok(value)
}

/// Filter for values assigned to a namespace: rejects deep nesting and namespaces inside, because values are printed,
/// compared and freed recursively.
fn check_nesting(state: &State, value: Value) -> Result<Value, minijinja::Error> {
    let is_container = |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
    };
    let mut open = vec![(value.clone(), 1)];
    while let Some((value, depth)) = open.pop() {
        if !is_container(&value) {
            continue;
        }
        let is_namespace =
            value.as_object().is_some_and(|object| object.type_name().ends_with("::Namespace"));
        if depth > MAX_DEPTH || is_namespace {
            return Err(invalid("a namespace cannot contain a namespace or a deeply nested value"));
        }
        let is_map = value.kind() == ValueKind::Map;
        for (index, item) in value.try_iter()?.enumerate() {
            RenderBounds::check()?;
            if index % 4 == 0 {
                state.consume_fuel(1)?;
            }
            let item = if is_map { value.get_item(&item)? } else { item };
            if is_container(&item) {
                open.push((item, depth + 1));
            }
        }
    }
    Ok(value)
}

/// `json.dumps`: a value as Python writes JSON.
#[allow(clippy::needless_pass_by_value, reason = "the shape of a filter")]
fn to_json(
    state: &State,
    value: &Value,
    escapes: Option<bool>,
    options: Kwargs,
) -> Result<String, minijinja::Error> {
    let escapes = escapes.or(options.get("ensure_ascii")?);
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    if indent.is_some_and(|indent| indent > MAX_INDENT) {
        return Err(invalid(format!("JSON would be indented by more than {MAX_INDENT} spaces")));
    }
    let after_item = if indent.is_some() { "," } else { ", " };
    let [after_item, after_key] = match separators {
        None => [after_item.to_owned(), ": ".to_owned()],
        Some(separators) => separators
            .try_into()
            .map_err(|_| invalid("JSON has two separators: after an item, and after a key"))?,
    };
    let mut writer = PythonJson {
        state,
        escapes: escapes.unwrap_or_default(),
        indent,
        after_item,
        after_key,
        sorted: sorted.unwrap_or_default(),
        json: String::new(),
        paid: 0,
    };
    writer.value(value, 0)?;
    Ok(writer.json)
}

/// Writes JSON as Python's `json.dumps` does.
struct PythonJson<'a> {
    state: &'a State<'a, 'a>,
    /// Whether non-ASCII characters are escaped.
    escapes: bool,
    indent: Option<usize>,
    after_item: String,
    after_key: String,
    sorted: bool,
    json: String,
    /// Number of bytes for which fuel has been consumed.
    paid: usize,
}

impl PythonJson<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), minijinja::Error> {
        if depth > MAX_DEPTH {
            return Err(invalid("a value is nested too deeply to be written as JSON"));
        }
        RenderBounds::check()?;
        // A unit of fuel pays for 64 bytes.
        if let Some(steps) = (self.json.len() - self.paid).checked_div(64) {
            self.state.consume_fuel(steps as u64)?;
            self.paid += steps * 64;
        }
        match value.kind() {
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.list(['{', '}'], depth, keys, |writer, key| {
                    writer.text(&key.to_string());
                    writer.json.push_str(&writer.after_key);
                    writer.value(&value.get_item(&key)?, depth + 1)
                })
            }
            ValueKind::Seq | ValueKind::Iterable => {
                self.list(['[', ']'], depth, value.try_iter()?, |writer, item| {
                    writer.value(&item, depth + 1)
                })
            }
            ValueKind::String => {
                self.text(value.as_str().unwrap_or_default());
                Ok(())
            }
            ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                let written = match python::float_of(value) {
                    Some(number) => Ok(number),
                    None => serde_json::to_string(value),
                };
                self.json.push_str(&written.map_err(|error| invalid(error.to_string()))?);
                Ok(())
            }
            kind => Err(invalid(format!("a value that is {kind} cannot be written as JSON"))),
        }
    }

    fn list(
        &mut self,
        [open, close]: [char; 2],
        depth: usize,
        items: impl IntoIterator<Item = Value>,
        mut write: impl FnMut(&mut Self, Value) -> Result<(), minijinja::Error>,
    ) -> Result<(), minijinja::Error> {
        self.json.push(open);
        let mut is_empty = true;
        for item in items {
            if !is_empty {
                self.json.push_str(&self.after_item);
            }
            is_empty = false;
            self.line(depth + 1);
            write(self, item)?;
        }
        if !is_empty {
            self.line(depth);
        }
        self.json.push(close);
        Ok(())
    }

    /// Starts a new line if the JSON is indented.
    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.json.push('\n');
            self.json.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn text(&mut self, text: &str) {
        let written = serde_json::Value::from(text).to_string();
        if !self.escapes {
            self.json.push_str(&written);
            return;
        }
        for character in written.chars() {
            // Marks are not escaped.
            if character.is_ascii() || character >= '\u{F0000}' {
                self.json.push(character);
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(self.json, "\\u{unit:04x}");
                }
            }
        }
    }
}
