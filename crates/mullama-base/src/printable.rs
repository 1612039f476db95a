//! Makes untrusted text safe to print on a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Escapes the characters that control a terminal: control characters, which start all escape sequences, and those that
/// change the direction of text. They are written as JSON escapes (`\u001b`), so JSON remains equivalent. Line feeds
/// and tabs are preserved.
pub fn printable(text: &str) -> Cow<'_, str> {
    escape_chars(text, |c| is_control(c) || changes_direction(c))
}

/// Like [`printable`], but preserves the direction marks that some scripts need in running text. Overrides of the
/// direction are escaped, because they show other text than there is.
pub fn printable_prose(text: &str) -> Cow<'_, str> {
    escape_chars(text, |c| is_control(c) || matches!(c, '\u{202d}' | '\u{202e}'))
}

fn is_control(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}

/// Unicode's property `Bidi_Control`.
fn changes_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape_chars(text: &str, needs_escape: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&needs_escape) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    // CR LF becomes a plain line feed.
    for c in text.replace("\r\n", "\n").chars() {
        if needs_escape(c) {
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        for plain in ["", "a\tb\nc", "naïve 日本語 שלום"] {
            assert!(matches!(printable(plain), Cow::Borrowed(same) if same == plain));
        }
        assert_eq!(printable("a\x1b[2Jb\x07"), "a\\u001b[2Jb\\u0007");
        assert_eq!(printable("\x1b]52;c;YQ==\x1b\\"), "\\u001b]52;c;YQ==\\u001b\\");
        assert_eq!(printable("\u{9b}2J\x7f\0"), "\\u009b2J\\u007f\\u0000");
        assert_eq!(printable("a\u{202e}b\u{2066}c"), "a\\u202eb\\u2066c");
        assert_eq!(printable("safe\revil\r\nline"), "safe\\u000devil\nline");
        assert_eq!(printable_prose("a\u{200f}b\x1b"), "a\u{200f}b\\u001b");
        assert_eq!(printable_prose("a\u{202e}b\u{2067}"), "a\\u202eb\u{2067}");
    }
}
