//! Regular expressions of JSON schemas are those of ECMA 262; llguidance reads them as Rust's `regex` does. Where both
//! differ, an expression is translated. Where ECMA 262 and Python's `re` differ, the result matches only what both match,
//! so that validators of either kind accept it.

use std::fmt::Write as _;

/// White space in both languages, as the contents of a class. U+0085 is white space in Python alone, U+FEFF in ECMA 262
/// alone.
const SPACE: &str =
    "\\x09-\\x0d \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}";
/// What is white space in neither language.
const NO_SPACE: &str = "\\x00-\\x08\\x0e-\\x1b!-\u{84}\u{86}-\u{9f}\u{a1}-\u{167f}\u{1681}-\u{1fff}\
    \u{200b}-\u{2027}\u{202a}-\u{202e}\u{2030}-\u{205e}\u{2060}-\u{2fff}\u{3001}-\u{fefe}\u{ff00}-\u{10ffff}";
/// What `.` matches in both.
const DOT: &str = "[^\\x0a\\x0d\u{2028}\u{2029}]";
/// Any character, which both languages write alike.
const ANY: &str = "(?s:.)";

/// The expression in Rust's syntax. Parts that are not understood stay as they are, and are rejected later.
pub(super) fn to_rust(pattern: &str) -> String {
    let mut result = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        let length = match character {
            '\\' => {
                let (length, atom) = escape(rest, false);
                result.push_str(&atom.text());
                length
            }
            '[' => {
                let (length, class) = class(rest);
                result.push_str(&class);
                length
            }
            '(' if rest.starts_with(ANY) => {
                result.push_str(ANY);
                ANY.len()
            }
            '.' => {
                result.push_str(DOT);
                1
            }
            '{' if !is_quantifier(rest) => {
                result.push_str(r"\{");
                1
            }
            other => {
                result.push(other);
                other.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    result
}

/// Why an expression is none of ECMA 262, or cannot be enforced, if Rust's `regex` would read it in another way.
pub(super) fn problem(pattern: &str) -> Option<String> {
    let mut rest = pattern;
    // Whether the last part is a quantifier, to which `?` may be added.
    let mut repeats = false;
    while let Some(character) = rest.chars().next() {
        let mut length = character.len_utf8();
        let repeated = std::mem::take(&mut repeats);
        match character {
            '\\' => {
                let kind = rest[1..].chars().next().unwrap_or_default();
                if matches!(kind, 'b' | 'B') {
                    return Some(format!("word boundaries (`\\{kind}`) cannot be enforced"));
                }
                if let Some(problem) = escape_problem(kind) {
                    return Some(problem);
                }
                length = escape(rest, false).0;
            }
            '[' => {
                if rest.starts_with("[]") {
                    return Some("the class `[]` matches nothing".to_owned());
                }
                (length, _) = class(rest);
                let mut inner = &rest[..length];
                while let Some(at) = inner.find('\\') {
                    let after = &inner[at + 1..];
                    let kind = after.chars().next().unwrap_or_default();
                    if let Some(problem) = escape_problem(kind) {
                        return Some(problem);
                    }
                    inner = after.get(kind.len_utf8()..).unwrap_or_default();
                }
            }
            '(' if rest.starts_with(ANY) => length = ANY.len(),
            '(' if rest.starts_with("(?") => {
                let known = ["(?:", "(?=", "(?!", "(?<"];
                if !known.iter().any(|start| rest.starts_with(start)) {
                    let start: String = rest.chars().take(4).collect();
                    return Some(format!("`{start}` is not in the syntax of ECMA 262"));
                }
                length = "(?".len();
            }
            '*' | '+' if repeated => {
                return Some(format!("nothing precedes `{character}` that it could repeat"));
            }
            '*' | '+' => repeats = true,
            '?' => repeats = !repeated,
            '{' if is_quantifier(rest) => {
                if repeated {
                    return Some("nothing precedes `{` that it could repeat".to_owned());
                }
                length = rest.find('}').map_or(length, |end| end + 1);
                repeats = true;
            }
            _ => {}
        }
        rest = &rest[length..];
    }
    None
}

fn escape_problem(kind: char) -> Option<String> {
    let is_known = !kind.is_ascii_alphabetic() || "bBcdDfkpPrsSnNtuvwWx".contains(kind);
    (!is_known).then(|| format!("`\\{kind}` is not an escape of ECMA 262"))
}

/// Whether a text starts with a number of repetitions in braces. `{,3}` is one in Python and in Rust.
fn is_quantifier(text: &str) -> bool {
    let Some((inner, _)) = text[1..].split_once('}') else { return false };
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    match inner.split_once(',') {
        Some((least, most)) => {
            is_number(least) && is_number(most) && !(least.is_empty() && most.is_empty())
        }
        None => is_number(inner) && !inner.is_empty(),
    }
}

/// A part of an expression.
enum Atom {
    Character(char),
    /// A class, in Rust's syntax.
    Class(String),
}

impl Atom {
    fn text(&self) -> String {
        match self {
            Self::Character(character) => literal(*character),
            Self::Class(class) => class.clone(),
        }
    }
}

/// A character that stands for itself, inside and outside a class.
pub(super) fn literal(character: char) -> String {
    match character {
        '\0'..='\x1f' | '\x7f' => format!(r"\x{:02x}", u32::from(character)),
        _ if regex_syntax::is_meta_character(character) => format!(r"\{character}"),
        _ => character.to_string(),
    }
}

/// The character or the class of an escape sequence at the start of a text, and the sequence's length in bytes.
fn escape(text: &str, in_class: bool) -> (usize, Atom) {
    let Some(kind) = text[1..].chars().next() else {
        return (text.len(), Atom::Class(text.to_owned()));
    };
    let length = 1 + kind.len_utf8();
    let after = &text[length..];
    let same = |length: usize| (length, Atom::Class(text[..length].to_owned()));
    match kind {
        's' | 'S' => {
            let characters = if kind == 's' { SPACE } else { NO_SPACE };
            let class = if in_class { characters.to_owned() } else { format!("[{characters}]") };
            (length, Atom::Class(class))
        }
        'b' if in_class => (length, Atom::Character('\x08')),
        't' => (length, Atom::Character('\t')),
        'n' => (length, Atom::Character('\n')),
        'v' => (length, Atom::Character('\x0b')),
        'f' => (length, Atom::Character('\x0c')),
        'r' => (length, Atom::Character('\r')),
        '0' if !after.starts_with(|digit: char| digit.is_ascii_digit()) => {
            (length, Atom::Character('\0'))
        }
        'c' => match after.bytes().next() {
            Some(letter) if letter.is_ascii_alphabetic() => {
                (length + 1, Atom::Character(char::from(letter % 32)))
            }
            _ => same(length),
        },
        'x' | 'u' => code(text),
        'p' | 'P' => match after.strip_prefix('{').and_then(|name| name.find('}')) {
            Some(end) => same(length + end + 2),
            None => same(length),
        },
        // Classes, assertions and references.
        'a'..='z' | 'A'..='Z' | '0'..='9' => same(length),
        other => (length, Atom::Character(other)),
    }
}

/// A character by its number: `\x41`, `\u0041`, `\u{41}`, and two halves of a character of UTF-16.
fn code(text: &str) -> (usize, Atom) {
    let unknown = || (2, Atom::Class(text[..2].to_owned()));
    if let Some(rest) = text[2..].strip_prefix('{') {
        let end = rest.find('}');
        let number = end.and_then(|end| u32::from_str_radix(&rest[..end], 16).ok());
        return match (end, number.and_then(char::from_u32)) {
            (Some(end), Some(character)) => (2 + 1 + end + 1, Atom::Character(character)),
            _ => unknown(),
        };
    }
    let digits = if text.as_bytes()[1] == b'x' { 2 } else { 4 };
    let number = |text: &str| {
        let digits = text.get(..digits)?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let Some(first) = number(&text[2..]) else { return unknown() };
    if let Some(character) = char::from_u32(first) {
        return (2 + digits, Atom::Character(character));
    }
    let second = text[2 + digits..].strip_prefix(r"\u").and_then(number);
    let both = second.and_then(|second| {
        char::decode_utf16([first as u16, second as u16]).next().and_then(Result::ok)
    });
    match both {
        Some(character) => (2 * (2 + digits), Atom::Character(character)),
        None => unknown(),
    }
}

/// The class in brackets at the start of a text, and its length in bytes. A class that is not closed stays as it is.
fn class(text: &str) -> (usize, String) {
    let mut result = "[".to_owned();
    let mut at = 1;
    if text[at..].starts_with('^') {
        result.push('^');
        at += 1;
    }
    if text[at..].starts_with(']') && !text[at + 1..].contains(']') {
        // An empty class, which Rust and Python do not know.
        return match at {
            2 => (3, ANY.to_owned()),
            _ => (text.len(), text.to_owned()),
        };
    }
    let start = at;
    loop {
        let Some((length, atom)) = class_atom(&text[at..], at == start) else {
            let is_closed = text[at..].starts_with(']');
            return if is_closed { (at + 1, result + "]") } else { (text.len(), text.to_owned()) };
        };
        at += length;
        let end = text[at..].strip_prefix('-').and_then(|rest| class_atom(rest, false));
        match (&atom, end) {
            (Atom::Character(first), Some((length, Atom::Character(last)))) => {
                let _ = write!(result, "{}-{}", literal(*first), literal(last));
                at += 1 + length;
            }
            // A class cannot end a range.
            (_, Some((length, last))) => {
                let _ = write!(result, r"{}\-{}", atom.text(), last.text());
                at += 1 + length;
            }
            (_, None) => result.push_str(&atom.text()),
        }
    }
}

/// The next part of a class, and its length in bytes; none at the class's end. `]` at the start stands for itself, as in
/// Python.
fn class_atom(text: &str, is_first: bool) -> Option<(usize, Atom)> {
    match text.chars().next()? {
        ']' if !is_first => None,
        '\\' => Some(escape(text, true)),
        character => Some((character.len_utf8(), Atom::Character(character))),
    }
}

#[cfg(test)]
mod tests {
    use fancy_regex::Regex;

    use super::*;

    #[test]
    fn expressions_match_what_those_of_ecma_262_match() {
        for (pattern, matching, others) in [
            (r"^[^a&&b]$", &["c", "!"][..], &["a", "b", "&"][..]),
            (r#"^[^"&&<>]$"#, &["a"], &["\"", "&", "<"]),
            ("^[!--a]$", &["!", "-", "a", "*"], &[".", "b"]),
            ("^[*+--/]$", &["*", "+", "-", ",", "/"], &["."]),
            ("^[^a~~b]$", &["c"], &["a", "~", "b"]),
            ("^[[a]b]$", &["[b]", "ab]"], &["a", "b"]),
            ("^[[:alpha:]]$", &["a]", ":]", "[]"], &["F", "b"]),
            ("^[^[]{2}$", &["ab"], &["[a"]),
            ("^[[(]$", &["[", "("], &["a"]),
            (r"^[^[\]]$", &["a"], &["[", "]"]),
            ("^[^]$", &["a", "\n"], &["ab"]),
            ("^.$", &["a", "\u{85}"], &["\n", "\r", "\u{2028}", "\u{2029}"]),
            (r"^\s$", &["\t", " ", "\u{a0}", "\u{3000}"], &["\u{85}", "\u{feff}", "\x1c", "a"]),
            (r"^\S$", &["a", "é"], &[" ", "\u{85}", "\u{feff}", "\x1c"]),
            (r"^[^\s]$", &["a", "\u{feff}"], &[" "]),
            (r"^[\S ]$", &["a", " "], &["\t"]),
            ("^a{$", &["a{"], &["a"]),
            ("^{a}$", &["{a}"], &["a"]),
            ("^x{1$", &["x{1"], &["x"]),
            ("^a{2}b{1,}c{0,1}$", &["aab", "aabbc"], &["ab"]),
            (r"^\cJ\0[\b]$", &["\n\0\x08"], &["J"]),
            (r"^[a-\d]$", &["a", "-", "5"], &["b"]),
            (r"^[\w-.]$", &["a", "-", "."], &["+"]),
            (r"^\<a\>\/\@\-$", &["<a>/@-"], &["a"]),
            (r"^\ud83d\ude00\u0041\x42\u{43}$", &["😀ABC"], &["A"]),
            (r"^[\ud83d\ude00-\ud83d\ude03]$", &["😁"], &["😄"]),
            (r"^(?:a|\.)+(?s:.)$", &["a.\n"], &["b"]),
        ] {
            let translated = to_rust(pattern);
            let regex = Regex::new(&translated).unwrap_or_else(|it| panic!("{pattern}: {it}"));
            for text in matching {
                assert!(regex.is_match(text).unwrap(), "{pattern} ({translated}): {text:?}");
            }
            for text in others {
                assert!(!regex.is_match(text).unwrap(), "{pattern} ({translated}): {text:?}");
            }
            assert_eq!(to_rust(&translated), translated, "{pattern}");
        }
    }

    #[test]
    fn expressions_of_other_languages_are_refused() {
        for pattern in [
            r"\A[ab]\z",
            r"^\a$",
            r"^\Q",
            r"[\A]",
            "^[]a]$",
            "^a++$",
            "^a**$",
            "^a{2}{3}$",
            "^(?i)ab$",
            "^(?P<n>a)$",
            r"\bfoo\b",
            "a?*",
        ] {
            assert!(problem(pattern).is_some(), "{pattern}");
        }
        for pattern in [
            r"^\d+?\s*\w??$",
            r"[\]\\A-Z]",
            "(?:a)(?=b)(?!c)(?<=d)(?<n>e)",
            "a{2}?",
            "^[^]$",
            r"\.\/\-\u0041\x41\cA\p{L}\k<n>",
            "(?s:.)",
            "a{,3}",
            "x{",
        ] {
            assert_eq!(problem(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn what_is_not_understood_stays() {
        for pattern in
            ["[a", r"[a\", r"a\", r"\k<n>", r"(?=a)", r"\1", r"\ud83d", r"\p{L}", r"\xg", "[]"]
        {
            assert_eq!(to_rust(pattern), pattern);
        }
    }
}
