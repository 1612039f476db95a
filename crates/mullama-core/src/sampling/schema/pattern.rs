//! Regular expressions of JSON schemas, in a form that llguidance enforces correctly.
//!
//! It writes a class that has all control characters as one with all escapes of JSON, also `\\"` and `\\\\`, even if the
//! class excludes these characters. With one control character less, each character of the class is written by itself.

use std::fmt::Write as _;

use regex_syntax::ast::parse::Parser;
use regex_syntax::ast::{Ast, Span, Visitor, visit};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

use super::ecma::{literal, to_rust};

/// The expression in Rust's syntax, without U+0001 where its classes need that.
pub(super) fn enforced(pattern: &str) -> String {
    let pattern = to_rust(pattern);
    let Ok(parsed) = Parser::new().parse(&pattern) else { return pattern };
    let Ok(classes) = visit(&parsed, Classes::default());
    let (mut text, mut end) = (String::new(), 0);
    for Span { start, end: class_end } in classes {
        let class = &pattern[start.offset..class_end.offset];
        if let Some(class) = without_all_escapes(class) {
            text.push_str(&pattern[end..start.offset]);
            text.push_str(&class);
            end = class_end.offset;
        }
    }
    text + &pattern[end..]
}

/// The class without U+0001, if llguidance would write it with escapes for characters that it excludes.
fn without_all_escapes(class: &str) -> Option<String> {
    let parsed = regex_syntax::parse(class).ok()?;
    let HirKind::Class(Class::Unicode(class)) = parsed.kind() else { return None };
    let range = ClassUnicodeRange::new;
    let has_all = |ranges: &[ClassUnicodeRange]| {
        let wanted = ClassUnicode::new(ranges.iter().copied());
        let mut common = wanted.clone();
        common.intersect(class);
        common == wanted
    };
    if !has_all(&[range('\0', '\t'), range('\x0b', '\x1f')])
        || has_all(&[range('"', '"'), range('\\', '\\')])
    {
        return None;
    }
    let mut narrower = class.clone();
    narrower.difference(&ClassUnicode::new([range('\x01', '\x01')]));
    let mut text = "[".to_owned();
    for range in narrower.ranges() {
        let _ = write!(text, "{}-{}", literal(range.start()), literal(range.end()));
    }
    Some(text + "]")
}

/// Finds the classes in brackets that are in no other.
#[derive(Default)]
struct Classes(Vec<Span>);

impl Visitor for Classes {
    type Output = Vec<Span>;
    type Err = std::convert::Infallible;

    fn finish(self) -> Result<Vec<Span>, Self::Err> {
        Ok(self.0)
    }

    fn visit_pre(&mut self, part: &Ast) -> Result<(), Self::Err> {
        if let Ast::ClassBracketed(class) = part {
            self.0.push(class.span);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::enforced;

    #[test]
    fn classes_without_quotes_or_backslashes_lose_a_control_character() {
        for (pattern, expected) in [
            (r"^[^\\]{2}$", "^[\\x00-\\x00\\x02-\\[\\]-\u{10ffff}]{2}$"),
            (r#"a[^"\n]+"#, "a[\\x00-\\x00\\x02-\\x09\\x0b-!\\#-\u{10ffff}]+"),
            (r"a[^,\n]+", r"a[^,\x0a]+"),
            (r"^[\x00-\x1f]$", r"^[\x00-\x00\x02-\x1f]$"),
            (r"^[^,]{1,3}[a-z]\W$", r"^[^,]{1,3}[a-z]\W$"),
            (r"[^\\", r"[^\\"),
        ] {
            assert_eq!(enforced(pattern), expected);
        }
    }
}
