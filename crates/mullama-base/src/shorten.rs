//! Limits the length of messages, which may contain values of any length.

use std::borrow::Cow;
use std::ops::Range;

/// Maximum length of a message in bytes.
const MAX_LENGTH: usize = 4000;

/// Number of bytes that remain at the end of a longer message: the text after the value, such as the allowed values.
const TAIL_LENGTH: usize = 1000;

/// Number of bytes for the note that replaces the middle.
const NOTE_LENGTH: usize = 40;

/// Shortens a text that is longer than a message may be: a note replaces its middle.
///
/// ```
/// use mullama_base::shortened;
///
/// assert_eq!(shortened("there is no such option"), "there is no such option");
/// let message = format!("`{}` is not a number", "x".repeat(1_000_000));
/// assert!(shortened(&message).len() <= 4000);
/// assert!(shortened(&message).ends_with("x` is not a number"));
/// ```
pub fn shortened(text: &str) -> Cow<'_, str> {
    match omitted_range(text) {
        Some((range, note)) => {
            Cow::Owned([&text[..range.start], &note, &text[range.end..]].concat())
        }
        None => Cow::Borrowed(text),
    }
}

/// The range that is removed from a text that is too long, and the note that replaces it.
pub(crate) fn omitted_range(text: &str) -> Option<(Range<usize>, String)> {
    if text.len() <= MAX_LENGTH {
        return None;
    }
    let boundary = |at: &usize| text.is_char_boundary(*at);
    let start = (0..=MAX_LENGTH - TAIL_LENGTH - NOTE_LENGTH).rev().find(boundary)?;
    let end = (text.len() - TAIL_LENGTH..=text.len()).find(boundary)?;
    Some((start..end, format!(" ... ({} bytes left out) ... ", end - start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_shortened_in_the_middle() {
        for short in [String::new(), "a".repeat(MAX_LENGTH), "日".repeat(MAX_LENGTH / 3)] {
            assert!(matches!(shortened(&short), Cow::Borrowed(same) if same == short));
        }
        for filling in ["x", "é", "日", "🦙"] {
            for before in ["", "a", "ab", "abc"] {
                let long = format!("{before}{}: not a number", filling.repeat(1 << 20));
                let short = shortened(&long);
                assert!(
                    (MAX_LENGTH - NOTE_LENGTH..=MAX_LENGTH).contains(&short.len()),
                    "{}",
                    short.len()
                );
                assert!(short.starts_with(&long[..before.len() + filling.len()]), "{short}");
                assert!(short.ends_with(": not a number"), "{short}");
                let (head, rest) = short.split_once(" ... (").unwrap();
                let (count, tail) = rest.split_once(" bytes left out) ... ").unwrap();
                assert_eq!(head.len() + count.parse::<usize>().unwrap() + tail.len(), long.len());
                assert_eq!(shortened(&short), short);
            }
        }
    }
}
