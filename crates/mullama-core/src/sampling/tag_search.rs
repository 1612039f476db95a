//! Finds tags in a text that arrives in pieces.

/// The end of a text, as far as a tag may begin in it.
#[derive(Clone)]
pub(super) struct TagSearch {
    tail: Vec<u8>,
    /// Length of the longest tag in bytes.
    longest: usize,
}

impl TagSearch {
    pub fn new<'a>(tags: impl Iterator<Item = &'a String>) -> Self {
        // At least four bytes are stored, to recognise a whole character.
        Self { tail: Vec::new(), longest: tags.map(String::len).max().unwrap_or(0).max(4) }
    }

    /// Adds a piece of the text. Call [`Self::trim`] after the search.
    pub fn push(&mut self, piece: &[u8]) {
        self.tail.extend_from_slice(piece);
    }

    /// Whether one of these tags is in the end of the text.
    pub fn has_one_of(&self, tags: &[String]) -> bool {
        tags.iter().any(|tag| {
            !tag.is_empty() && self.tail.windows(tag.len()).any(|part| part == tag.as_bytes())
        })
    }

    /// The end of the text.
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Starts again with an empty text.
    pub fn clear(&mut self) {
        self.tail.clear();
    }

    /// Drops bytes that cannot begin a tag.
    pub fn trim(&mut self) {
        self.tail.drain(..self.tail.len().saturating_sub(self.longest));
    }
}
