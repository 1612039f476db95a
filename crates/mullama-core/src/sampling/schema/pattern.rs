//! Regular expressions of JSON schemas, in a form that llguidance enforces correctly.
//!
//! It writes a class that has all control characters as one with all escapes of JSON, also `\\"` and `\\\\`, even if the
//! class excludes these characters. With one control character less, each character of the class is written by itself.

use std::fmt::Write as _;

use regex_syntax::ast::parse::Parser;
use regex_syntax::ast::{Ast, Span, Visitor, visit};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

/// The same expression without U+0001 where its classes need that. Invalid expressions stay as they are.
pub(super) fn enforced(pattern: &str) -> String {
    let Ok(parsed) = Parser::new().parse(pattern) else { return pattern.to_owned() };
    let Ok(classes) = visit(&parsed, Classes::default());
    let (mut text, mut end) = (String::new(), 0);
    for Span { start, end: class_end } in classes {
        let class = &pattern[start.offset..class_end.offset];
        if has_all_escapes(class) {
            let _ = write!(text, r"{}[{class}&&[^\x01]]", &pattern[end..start.offset]);
            end = class_end.offset;
        }
    }
    text + &pattern[end..]
}

/// Whether llguidance would write a class with escapes for characters that it excludes.
fn has_all_escapes(class: &str) -> bool {
    let Ok(parsed) = regex_syntax::parse(class) else { return false };
    let HirKind::Class(Class::Unicode(class)) = parsed.kind() else { return false };
    let range = ClassUnicodeRange::new;
    let has_all = |ranges: &[ClassUnicodeRange]| {
        let wanted = ClassUnicode::new(ranges.iter().copied());
        let mut common = wanted.clone();
        common.intersect(class);
        common == wanted
    };
    has_all(&[range('\0', '\t'), range('\x0b', '\x1f')])
        && !(has_all(&[range('"', '"'), range('\\', '\\')]))
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
            (r"^[^\\]{2}$", r"^[[^\\]&&[^\x01]]{2}$"),
            (r#"a[^"\n]+|[^,"]"#, r#"a[[^"\n]&&[^\x01]]+|[[^,"]&&[^\x01]]"#),
            (r"^[\x00-\x1f]$", r"^[[\x00-\x1f]&&[^\x01]]$"),
            (r"é[^\\/:*?<>|]", r"é[[^\\/:*?<>|]&&[^\x01]]"),
            (r"^[^,]{1,3}[a-z]\W.$", r"^[^,]{1,3}[a-z]\W.$"),
            (r"[^[:cntrl:]\\]", r"[^[:cntrl:]\\]"),
            (r"[^\\", r"[^\\"),
        ] {
            assert_eq!(enforced(pattern), expected);
        }
    }
}
