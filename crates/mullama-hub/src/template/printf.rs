//! Go's `printf`, with a constant format.

use super::kind::Kind;
use super::parse::Problem;
use super::print::{Macros, quoted};

/// A verb with its options, for example `%-5.2f`.
struct Verb<'a> {
    letter: char,
    flags: &'a str,
    /// A number, or the Jinja expression of one.
    width: Option<String>,
    precision: Option<&'a str>,
}

/// The Jinja expression for the formatted text.
pub(super) fn printf(
    macros: &mut Macros,
    format: &str,
    args: &[(String, Kind)],
) -> Result<String, Problem> {
    let (mut parts, mut args, mut rest) = (vec!["''".to_owned()], args.iter(), format);
    while let Some((text, after)) = rest.split_once('%') {
        parts.push(quoted(text));
        let end = after.find(|c: char| !"+-# 0123456789.*".contains(c)).unwrap_or(after.len());
        let spec = &after[..end];
        let Some(letter) = after[end..].chars().next() else {
            return Err("`printf` with a `%` that no verb follows".to_owned());
        };
        rest = &after[end + letter.len_utf8()..];
        if letter == '%' {
            parts.push(quoted("%"));
            continue;
        }
        let none = || format!("`printf` has no value for `%{spec}{letter}`");
        let unknown = |kind: Kind| format!("`printf` with `%{spec}{letter}` of {}", kind.name());
        let flags = &spec[..spec.find(|c| !"+-# 0".contains(c)).unwrap_or(spec.len())];
        let (width, precision) = match spec[flags.len()..].split_once('.') {
            Some((width, precision)) => (width, Some(precision)),
            None => (&spec[flags.len()..], None),
        };
        // Jinja does not support larger numbers.
        let is_known = |text: &str| text.is_empty() || text.parse::<u8>().is_ok();
        let is_given = width == "*";
        let width = match width {
            "" => None,
            "*" => match args.next().ok_or_else(none)? {
                (width, Kind::Int) => Some(width.clone()),
                (_, kind) => return Err(unknown(*kind)),
            },
            width => Some(width.to_owned()),
        };
        let (x, kind) = args.next().ok_or_else(none)?;
        let is_width = is_given && !flags.contains('0') || width.as_deref().is_none_or(is_known);
        if flags.contains('#') || !is_width || !precision.is_none_or(is_known) {
            return Err(unknown(*kind));
        }
        let verb = Verb { letter, flags, width, precision };
        parts.push(verb.shown(macros, x, *kind)?.ok_or_else(|| unknown(*kind))?);
    }
    if args.next().is_some() {
        return Err("`printf` has more values than verbs".to_owned());
    }
    parts.push(quoted(rest));
    parts.retain(|part| part != "''");
    Ok(match parts.as_slice() {
        [] => "''".to_owned(),
        // A single number must become a string, too.
        [one] => format!("({one} | string)"),
        parts => format!("({})", parts.join(" ~ ")),
    })
}

impl Verb<'_> {
    /// The Jinja expression for a formatted value; `None` if it cannot be translated.
    fn shown(&self, macros: &mut Macros, x: &str, kind: Kind) -> Result<Option<String>, Problem> {
        let is_basic = matches!(kind, Kind::Text | Kind::Types | Kind::List(Kind::Text));
        // Types that are unknown until rendering are tested at render time.
        let (test, shown) = match (self.letter, kind) {
            ('v', _) => ("", macros.text(kind, x, "<nil>")?),
            ('s', _) if is_basic || kind.prints_as_json() => ("", macros.text(kind, x, "")?),
            ('s', Kind::Json) => ("string", format!("({x} | string)")),
            ('t', Kind::Bool) => ("", macros.text(kind, x, "")?),
            ('t', Kind::Json) => ("boolean", macros.call("go_text", x)),
            ('q', Kind::Text) => ("", macros.quote(x)),
            ('q', Kind::Json) => ("string", macros.quote(x)),
            ('x', Kind::Text) => ("", macros.call("go_hex", x)),
            ('x', Kind::Json) => ("string", macros.call("go_hex", x)),
            ('g', Kind::Float) if self.precision.is_none() => ("", macros.call("go_number", x)),
            ('g', Kind::Json) if self.precision.is_none() => {
                ("number", macros.call("go_number", x))
            }
            ('e' | 'f' | 'g', Kind::Float) => ("", self.number(x)),
            ('e' | 'f' | 'g', Kind::Json) => ("number", self.number(x)),
            ('d' | 'o' | 'x' | 'X', Kind::Int) if self.precision.is_none() => ("", self.number(x)),
            _ => return Ok(self.bad(macros, x, kind)),
        };
        let is_number = shown == self.number(x);
        if !is_number && self.flags.contains(['+', ' ', '0']) {
            return Ok(None);
        }
        let shown = match self.precision {
            Some(most) if self.letter == 's' && !kind.prints_as_json() => {
                format!("{shown}[:{}]", if most.is_empty() { "0" } else { most })
            }
            Some(_) if !is_number => return Ok(None),
            _ => shown,
        };
        let shown = match &self.width {
            Some(width) if !self.has_zeros() => {
                let left = self.flags.contains('-');
                macros.call("go_pad", &format!("{shown} | string, {width}, {left}"))
            }
            _ => shown,
        };
        let condition = match test {
            "" => return Ok(Some(shown)),
            "number" => format!("{x} is number and {x} is not boolean"),
            test => format!("{x} is {test}"),
        };
        let bad = self.bad(macros, x, kind);
        Ok(bad.map(|bad| format!("({shown} if {condition} else {bad})")))
    }

    fn has_zeros(&self) -> bool {
        self.flags.contains('0') && !self.flags.contains('-')
    }

    /// Formats a number with Jinja's `format`, whose verbs are the same.
    fn number(&self, x: &str) -> String {
        let sign = self.flags.replace(['-', '0'], "");
        let width = self.width.as_deref().filter(|_| self.has_zeros());
        let width = width.map(|width| format!("0{width}")).unwrap_or_default();
        let precision = self.precision.map(|most| format!(".{most}")).unwrap_or_default();
        let spec = format!("%{sign}{width}{precision}{}", self.letter);
        format!("({} | format({x}))", quoted(&spec))
    }

    /// What Go prints for a value of the wrong type for the verb; `None` if it cannot be
    /// translated.
    fn bad(&self, macros: &mut Macros, x: &str, kind: Kind) -> Option<String> {
        let letter = self.letter;
        let name = match kind {
            Kind::Json if self.width.is_some() || self.precision.is_some() => {
                let problem = format!("`printf` with `%{letter}` of what it is not for");
                return Some(format!("raise_exception({})", quoted(&problem)));
            }
            Kind::Json => return Some(macros.call("go_bad", &format!("'{letter}', {x}"))),
            _ if !"dstefg".contains(letter) || self.width.is_some() => return None,
            Kind::Text => "string=",
            Kind::Bool => "bool=",
            Kind::Int => "int=",
            Kind::Float => "float64=",
            Kind::Nil => "",
            _ => return None,
        };
        let text = macros.text(kind, x, "<nil>").ok()?;
        Some(format!("('%!{letter}({name}' ~ {text} ~ ')')"))
    }
}
