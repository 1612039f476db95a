//! Go's template functions, in Jinja.

use super::emit::{Emit, Value, entry, types};
use super::kind::Kind;
use super::parse::{Expr, Problem};
use super::print::is_missing;
use super::printf::printf;

impl Emit<'_> {
    pub fn call(&mut self, name: &str, args: &[Expr]) -> Result<Value, Problem> {
        if matches!(name, "and" | "or") {
            return self.and_or(name, args);
        }
        let values = args.iter().map(|arg| match name {
            "not" | "eq" | "ne" => self.value(arg),
            _ => self.known(arg),
        });
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let text = |code: String| Ok(Value::new(code, Kind::Text));
        match (name, values.as_slice()) {
            ("eq", [_, _, ..]) | ("ne" | "lt" | "le" | "gt" | "ge", [_, _]) => {
                compare(name, &values)
            }
            ("not", [a]) => Ok(Value::new(format!("(not {})", a.test()), Kind::Bool)),
            ("len", [a]) => {
                let a = self.once(a.clone());
                self.len(&a)
            }
            ("slice", [a, at @ ..]) if at.len() < 3 => self.slice(a, at),
            ("index", [a, at @ ..]) => at.iter().try_fold(a.clone(), |of, at| self.index(&of, at)),
            ("json", [a]) => text(self.macros.json(a.kind, &a.code)?),
            ("print" | "println", _) => {
                let text = self.print(&values, name == "println")?;
                Ok(Value::new(text, Kind::Text))
            }
            ("printf", [_, rest @ ..]) => {
                let Some(Expr::Text(format)) = args.first() else {
                    return Err("`printf` with a format that is not in the template".to_owned());
                };
                let rest = rest.to_vec();
                let rest: Vec<_> =
                    rest.into_iter().map(|a| self.once(a)).map(|a| (a.code, a.kind)).collect();
                text(printf(&mut self.macros, format, &rest)?)
            }
            ("html" | "js" | "urlquery", [_, ..]) => {
                let shown = match values.as_slice() {
                    [one] => self.macros.text(one.kind, &one.code, "<no value>")?,
                    many => self.print(many, false)?,
                };
                let shown = format!("{shown} | string");
                text(match name {
                    "html" => self.macros.call("go_html", &shown),
                    "js" => self.macros.js(&shown),
                    _ => self.macros.call("go_query", &shown),
                })
            }
            // The format argument is ignored.
            ("currentDate", _) => text("strftime_now('%Y-%m-%d')".to_owned()),
            ("yesterdayDate", _) => text(self.macros.call("go_yesterday", "")),
            ("toTypeScriptType", [a]) => text(self.macros.typescript(a.kind, &a.code)),
            (
                "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "not" | "len" | "slice" | "index"
                | "json" | "printf" | "html" | "js" | "urlquery" | "toTypeScriptType",
                _,
            ) => Err(format!("`{name}` with {} arguments", args.len())),
            _ => Err(format!("the function `{name}` is not known")),
        }
    }

    /// `and` or `or`: the first value that decides the result, else the last. Later values are not
    /// evaluated.
    fn and_or(&mut self, name: &str, args: &[Expr]) -> Result<Value, Problem> {
        let Some((first, rest)) = args.split_first() else {
            return Err(format!("`{name}` without arguments"));
        };
        let mut value = self.value(first)?;
        for arg in rest {
            if value.kind.is_always_true() {
                if name == "or" {
                    return Ok(value);
                }
                value = self.value(arg)?;
                continue;
            }
            let before = std::mem::take(&mut self.out);
            let next = self.value(arg);
            let needs = std::mem::replace(&mut self.out, before);
            let next = next?;
            let kind = value.kind.or(next.kind);
            let code = if needs.is_empty() && !next.kind.is_always_true() {
                format!("({} {name} {})", value.code, next.code)
            } else {
                // Tags that the next value requires are only rendered if it is evaluated.
                let result = self.fresh();
                self.tag(&format!("set {result} = {}", value.code));
                let not = if name == "or" { "not " } else { "" };
                self.tag(&format!("if {not}{result}"));
                self.out += &needs;
                self.tag(&format!(
                    "set {result} = {}",
                    if kind == Kind::Mixed { next.test() } else { next.code }
                ));
                self.tag("endif");
                result
            };
            value = Value::new(code, kind);
        }
        Ok(value)
    }

    /// `len`. The length of a text is in bytes, as in Go.
    fn len(&mut self, a: &Value) -> Result<Value, Problem> {
        let code = &a.code;
        let bytes = |emit: &mut Self| {
            let bytes = emit.macros.call("go_bytes", code);
            format!("(({code} | length) if {code}.isascii() else ({bytes} | int))")
        };
        let code = match a.kind {
            Kind::List(_) | Kind::Map(_) => format!("({code} | length)"),
            Kind::Types => format!("({} | length)", types(code)),
            Kind::Text => bytes(self),
            Kind::Json => format!("({} if {code} is string else ({code} | length))", bytes(self)),
            _ => return Err(format!("`len` of {}", a.kind.name())),
        };
        Ok(Value::new(code, Kind::Int))
    }

    fn slice(&mut self, a: &Value, at: &[Value]) -> Result<Value, Problem> {
        let kind = a.kind;
        let list =
            Value::new(if a.kind == Kind::Types { types(&a.code) } else { a.code.clone() }, kind);
        let Value { code, .. } = self.once(list);
        match kind {
            Kind::List(_) | Kind::Types | Kind::Json => {}
            // Go slices by bytes, which equal characters only in ASCII.
            Kind::Text => {
                let wrong = format!("not {code}.isascii()");
                self.raise_if(&wrong, "`slice` of text that is not ASCII");
            }
            _ => return Err(format!("`slice` of {}", kind.name())),
        }
        let at: Vec<_> = at.iter().map(|at| self.once(at.clone())).collect();
        if let Some(wrong) = at.iter().find(|at| at.kind != Kind::Int) {
            return Err(format!("`slice` from {}", wrong.kind.name()));
        }
        let Some(Value { code: from, .. }) = at.first() else {
            return Ok(Value::new(code, kind));
        };
        let to = at.get(1).map_or(String::new(), |to| to.code.clone());
        let end = if to.is_empty() { format!("({code} | length)") } else { to.clone() };
        if from != "0" || !to.is_empty() {
            let wrong = format!("{from} < 0 or {from} > {end} or {end} > ({code} | length)");
            self.raise_if(&wrong, "`slice` beyond the end");
        }
        Ok(Value::new(format!("{code}[{from}:{to}]"), kind))
    }

    fn index(&mut self, of: &Value, at: &Value) -> Result<Value, Problem> {
        match (of.kind, at.kind) {
            (Kind::List(_) | Kind::Types | Kind::Json, Kind::Int) => {
                let is_types = of.kind == Kind::Types;
                let list =
                    Value::new(if is_types { types(&of.code) } else { of.code.clone() }, of.kind);
                let (list, at) = (self.once(list).code, self.once(at.clone()).code);
                let wrong = format!("{at} < 0 or {at} >= ({list} | length)");
                self.raise_if(&wrong, "`index` beyond the end");
                let kind = match of.kind {
                    Kind::List(kind) => *kind,
                    Kind::Types => Kind::Text,
                    _ => Kind::Json,
                };
                Ok(Value::new(format!("{list}[{at}]"), kind))
            }
            (Kind::Map(_) | Kind::Json, Kind::Text | Kind::Json) => Ok(entry(of, &at.code)),
            _ => Err(format!("`index` of {} by {}", of.kind.name(), at.kind.name())),
        }
    }

    /// `print` inserts a space between two operands if neither is a string, `println` between all.
    fn print(&mut self, values: &[Value], is_line: bool) -> Result<String, Problem> {
        let mut parts: Vec<String> = Vec::new();
        let values: Vec<_> = values.iter().map(|value| self.once(value.clone())).collect();
        let before = std::iter::once(None).chain(values.iter().map(Some));
        for (value, before) in values.iter().zip(before) {
            if let Some(before) = before {
                let pair = [before, value];
                let texts: Vec<_> = pair
                    .iter()
                    .filter(|x| x.kind == Kind::Json)
                    .map(|x| format!("{} is string", x.code))
                    .collect();
                if is_line || texts.is_empty() && pair.iter().all(|x| x.kind != Kind::Text) {
                    parts.push("' '".to_owned());
                } else if pair.iter().all(|x| x.kind != Kind::Text) {
                    parts.push(format!("('' if {} else ' ')", texts.join(" or ")));
                }
            }
            parts.push(self.macros.text(value.kind, &value.code, "<nil>")?);
        }
        if is_line {
            parts.push("'\\n'".to_owned());
        }
        parts.push("''".to_owned());
        Ok(format!("({})", parts.join(" ~ ")))
    }
}

/// `eq` and the other comparisons, which Go only defines for values of the same type.
fn compare(name: &str, values: &[Value]) -> Result<Value, Problem> {
    let (first, others) = values.split_first().ok_or("nothing to compare")?;
    let wrong =
        |a: &Value, b: &Value| Err(format!("`{name}` of {} and {}", a.kind.name(), b.kind.name()));
    let is_basic = |kind| matches!(kind, Kind::Text | Kind::Bool | Kind::Int | Kind::Float);
    let is_equality = matches!(name, "eq" | "ne");
    let mut tests = Vec::new();
    for other in others {
        let (a, b) = (first.kind, other.kind);
        // Only missing values equal `nil`: an empty list does, an empty text does not.
        let nothing = |x: &Value| match x.kind {
            Kind::Nil => "true".to_owned(),
            Kind::Json => is_missing(&x.code),
            Kind::List(_) | Kind::Map(_) | Kind::Types => format!("(not {})", x.code),
            _ => "false".to_owned(),
        };
        tests.push(match (a, b) {
            (Kind::Nil, _) if is_equality => nothing(other),
            (_, Kind::Nil) if is_equality => nothing(first),
            (Kind::Bool, _) | (_, Kind::Bool) if !is_equality => return wrong(first, other),
            _ if is_basic(a) && a == b
                || a == Kind::Json && is_basic(b)
                || is_basic(a) && b == Kind::Json
                || a == Kind::Json && b == Kind::Json =>
            {
                let sign = match name {
                    "eq" | "ne" => "==",
                    "lt" => "<",
                    "le" => "<=",
                    "gt" => ">",
                    _ => ">=",
                };
                format!("({} {sign} {})", first.code, other.code)
            }
            _ => return wrong(first, other),
        });
    }
    let test = tests.join(" or ");
    let code = if name == "ne" { format!("(not {test})") } else { format!("({test})") };
    Ok(Value::new(code, Kind::Bool))
}
