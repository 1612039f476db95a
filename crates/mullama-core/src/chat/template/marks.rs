//! Marks that replace special tokens in user content, so that they stay plain text when a template inserts the content
//! into the prompt.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::engine::{Prompt, Specials};
use crate::{Error, ErrorKind, Result};

/// The private-use planes of Unicode. Texts rarely contain such characters, and never all of them.
const PRIVATE_USE: std::ops::RangeInclusive<char> = '\u{F0000}'..='\u{10FFFD}';

/// Characters that represent special tokens in the texts of one request.
#[derive(Clone)]
pub(crate) struct Marks {
    specials: Arc<Specials>,
    /// The mark of each special token, by its index.
    of_specials: Vec<(char, usize)>,
    /// Follows a text that ends with a prefix of a special token.
    boundary: char,
}

impl Marks {
    /// Creates the marks that the given values need; `None` if they contain nothing to mark.
    pub fn needed<'a>(
        given: impl IntoIterator<Item = &'a Value>,
        specials: &Arc<Specials>,
    ) -> Result<Option<Self>> {
        let (mut found, mut is_begun, mut taken) = (BTreeSet::new(), false, BTreeSet::new());
        for value in given {
            visit_texts(value, &mut |text| {
                found.extend(specials.find(text).map(|(_, index)| index));
                is_begun |= specials.ends_in_partial_special(text);
                taken.extend(text.chars().filter(|character| PRIVATE_USE.contains(character)));
            });
        }
        if found.is_empty() && !is_begun {
            return Ok(None);
        }
        let mut free = PRIVATE_USE.filter(|character| !taken.contains(character));
        let mut next = || {
            free.next().ok_or_else(|| {
                let problem =
                    "the messages use all private-use characters of Unicode, and one must be free";
                Error::new(ErrorKind::InvalidArgument, problem)
            })
        };
        let boundary = next()?;
        let of_specials = found.into_iter().map(|index| Ok((next()?, index)));
        let of_specials = of_specials.collect::<Result<_>>()?;
        Ok(Some(Self { specials: Arc::clone(specials), of_specials, boundary }))
    }

    /// Replaces special tokens in all texts of a value by marks.
    pub fn put_into(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.marked(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.put_into(item)),
            Value::Object(fields) => {
                let marked = |(key, mut item): (String, Value)| {
                    self.put_into(&mut item);
                    (self.marked(&key), item)
                };
                *fields = std::mem::take(fields).into_iter().map(marked).collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn marked(&self, text: &str) -> String {
        let mut marked = String::with_capacity(text.len());
        let mut from = 0;
        for (range, index) in self.specials.find(text) {
            marked.push_str(&text[from..range.start]);
            let mark = self.of_specials.iter().find(|(_, known)| *known == index);
            match mark {
                Some((mark, _)) => marked.push(*mark),
                None => marked.push_str(&text[range.clone()]),
            }
            from = range.end;
        }
        marked.push_str(&text[from..]);
        if self.specials.ends_in_partial_special(&marked) {
            marked.push(self.boundary);
        }
        marked
    }

    /// Replaces the marks in a text by their special tokens and records their ranges.
    pub fn resolve(&self, marked: &str) -> Prompt {
        let mut prompt = Prompt::default();
        for character in marked.chars() {
            let start = prompt.text.len();
            if let Some((_, index)) = self.of_specials.iter().find(|(mark, _)| *mark == character) {
                prompt.text.push_str(self.specials.text(*index));
            } else if character != self.boundary {
                prompt.text.push(character);
                continue;
            }
            prompt.written.push(start..prompt.text.len());
        }
        prompt
    }
}

/// Visits each text of a value, including the names of fields.
fn visit_texts(value: &Value, look: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => look(text),
        Value::Array(items) => items.iter().for_each(|item| visit_texts(item, look)),
        Value::Object(fields) => fields.iter().for_each(|(key, item)| {
            look(key);
            visit_texts(item, look);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
