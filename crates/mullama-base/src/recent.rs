//! Values that took long to compute, by the text that they were computed from.

use std::collections::VecDeque;

/// Largest number of values.
const MAX_ENTRIES: usize = 8;

/// Largest size of all texts, in bytes. What is compiled from a text is many times larger.
const MAX_BYTES: usize = 1 << 20;

/// The most recently used values.
#[derive(Debug)]
pub struct Recent<T> {
    /// The most recently used one last.
    entries: VecDeque<(String, T)>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new() }
    }
}

impl<T> Recent<T> {
    /// The value that was computed from a text.
    pub fn get(&mut self, text: &str) -> Option<&T> {
        let index = self.entries.iter().position(|(known, _)| known == text)?;
        let entry = self.entries.remove(index)?;
        self.entries.push_back(entry);
        self.entries.back().map(|(_, value)| value)
    }

    /// Adds a value, and drops those that were not used for longest. A value whose text is too long is not stored.
    pub fn add(&mut self, text: String, value: T) {
        if text.len() > MAX_BYTES || self.get(&text).is_some() {
            return;
        }
        self.entries.push_back((text, value));
        let size = |entries: &VecDeque<(String, T)>| -> usize {
            entries.iter().map(|(text, _)| text.len()).sum()
        };
        while self.entries.len() > MAX_ENTRIES || size(&self.entries) > MAX_BYTES {
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_is_dropped() {
        let mut recent = Recent::default();
        for index in 0..MAX_ENTRIES {
            recent.add(index.to_string(), index);
        }
        assert_eq!(recent.get("0"), Some(&0));
        recent.add("new".to_owned(), 99);
        assert_eq!(recent.get("1"), None);
        assert_eq!((recent.get("0").copied(), recent.get("new").copied()), (Some(0), Some(99)));
        assert_eq!(recent.entries.len(), MAX_ENTRIES);
    }

    #[test]
    fn long_texts_push_others_out() {
        let mut recent = Recent::default();
        recent.add("a".repeat(MAX_BYTES / 2), 1);
        recent.add("b".repeat(MAX_BYTES / 2), 2);
        assert_eq!(recent.entries.len(), 2);
        recent.add("c".to_owned(), 3);
        assert_eq!(recent.entries.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [2, 3]);
        recent.add("d".repeat(MAX_BYTES + 1), 4);
        assert_eq!(recent.entries.len(), 2);
    }
}
