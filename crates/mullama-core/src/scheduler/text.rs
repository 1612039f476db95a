//! Converts the bytes of tokens to text: characters are completed, stop sequences are found and removed.

/// Assembles the text of one answer as its tokens arrive.
///
/// The work per token does not grow with the answer: only text that may still change is examined.
#[derive(Debug, Default)]
pub(crate) struct TextAssembler {
    /// All text so far that is certain.
    text: String,
    /// Bytes of an incomplete character.
    partial: Vec<u8>,
    /// Complete characters that may begin a stop sequence.
    buffered: String,
    stops: Vec<String>,
    /// Number of bytes of `text` that have been delivered.
    delivered: usize,
    /// The stop sequence that was found.
    stopped_by: Option<String>,
}

impl TextAssembler {
    /// An assembler that stops at any of `stops` (none of them empty).
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, ..Self::default() }
    }

    /// Adds the bytes of a token. Returns whether a stop sequence is complete. Text after it is dropped.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        self.partial.extend_from_slice(bytes);
        self.take_complete_characters();
        self.release();
        self.stopped_by.is_some()
    }

    /// The stop sequence that ended the answer.
    pub fn stopped_by(&self) -> Option<&str> {
        self.stopped_by.as_deref()
    }

    /// Ends the text: an incomplete character becomes U+FFFD, buffered characters become text.
    pub fn finish(&mut self) {
        if self.stopped_by.is_some() {
            return;
        }
        if !self.partial.is_empty() {
            let rest = std::mem::take(&mut self.partial);
            self.buffered.push_str(&String::from_utf8_lossy(&rest));
            self.release();
        }
        self.text.push_str(&std::mem::take(&mut self.buffered));
    }

    /// The text that became certain since the last call.
    pub fn take_ready(&mut self) -> &str {
        let new = &self.text[self.delivered..];
        self.delivered = self.text.len();
        new
    }

    /// All text that is certain.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Moves whole characters from `partial` to `buffered`; bytes that can never become a character
    /// become U+FFFD.
    fn take_complete_characters(&mut self) {
        let mut rest = self.partial.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.buffered.push_str(text);
                    rest = &[];
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    self.buffered.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    if let Some(invalid) = error.error_len() {
                        self.buffered.push(char::REPLACEMENT_CHARACTER);
                        rest = &rest[invalid..];
                        continue;
                    }
                }
            }
            break;
        }
        self.partial = rest.to_vec();
    }

    /// Moves characters that cannot begin a stop sequence from `buffered` to `text`.
    fn release(&mut self) {
        let found =
            self.stops.iter().filter_map(|stop| Some((self.buffered.find(stop.as_str())?, stop)));
        if let Some((at, stop)) = found.min_by_key(|(at, _)| *at) {
            self.stopped_by = Some(stop.clone());
            self.buffered.truncate(at);
            self.text.push_str(&std::mem::take(&mut self.buffered));
            self.partial.clear();
            return;
        }
        let keep = self
            .stops
            .iter()
            .map(|stop| partial_match_length(self.buffered.as_bytes(), stop.as_bytes()))
            .max()
            .unwrap_or(0);
        let certain = self.buffered.len() - keep;
        self.text.push_str(&self.buffered[..certain]);
        self.buffered.drain(..certain);
    }
}

/// Length in bytes of the longest proper prefix of `sought` that `text` ends with.
pub(super) fn partial_match_length(text: &[u8], sought: &[u8]) -> usize {
    let longest = sought.len().saturating_sub(1).min(text.len());
    (1..=longest).rev().find(|&length| text.ends_with(&sought[..length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, String, bool) {
        let mut assembler = TextAssembler::new(stops.iter().map(|&s| s.to_owned()).collect());
        let mut chunks = Vec::new();
        let mut stopped = false;
        for piece in pieces {
            stopped = assembler.push(piece);
            chunks.push(assembler.take_ready().to_owned());
            if stopped {
                break;
            }
        }
        assembler.finish();
        chunks.push(assembler.take_ready().to_owned());
        (chunks, assembler.into_text(), stopped)
    }

    #[test]
    fn partial_utf8_is_delayed() {
        let snowman = "☃".as_bytes();
        let (chunks, text, _) =
            run(&[], &[b"a", &snowman[..1], &snowman[1..2], &snowman[2..], b"b"]);
        assert_eq!(chunks, ["a", "", "", "☃", "b", ""]);
        assert_eq!(text, "a☃b");
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        assert_eq!(run(&[], &[b"a\xffb"]).1, "a\u{fffd}b");
        assert_eq!(run(&[], &[b"a", &"☃".as_bytes()[..2]]).1, "a\u{fffd}");
    }

    #[test]
    fn stop_sequences_span_tokens() {
        let (chunks, text, stopped) = run(&["\n\nUser"], &[b"hi", b"\n", b"\nUs", b"er: x"]);
        assert_eq!(chunks.concat(), "hi");
        assert_eq!((text.as_str(), stopped), ("hi", true));
    }

    #[test]
    fn earliest_stop_sequence_wins() {
        assert_eq!(run(&["c", "b"], &[b"abc"]).1, "a");
        assert_eq!(run(&["bcd", "c"], &[b"abce"]).1, "ab");
    }

    #[test]
    fn partial_stop_sequences_are_released_as_text() {
        let (chunks, text, stopped) = run(&["END"], &[b"E", b"N", b"X", b"EN"]);
        assert_eq!(chunks, ["", "", "ENX", "", "EN"]);
        assert_eq!((text.as_str(), stopped), ("ENXEN", false));
    }

    #[test]
    fn stop_sequences_may_be_non_ascii() {
        assert_eq!(run(&["é!"], &["aé".as_bytes(), b"!b"]).1, "a");
        assert_eq!(run(&["é!"], &["aé".as_bytes(), b"?"]).1, "aé?");
    }
}
