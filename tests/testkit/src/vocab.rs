//! Synthetic vocabularies of any size for byte-level byte-pair encoding.

use crate::gguf::Value;

/// The default template of models: `ChatML`, without tools.
pub const CHAT_TEMPLATE: &str = "\
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}";

/// The last tokens of every vocabulary; the first ends a text, the last ends a turn.
const CONTROL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// English letters, most frequent first, so that small vocabularies have merges of them, too.
const LETTERS: &str = "etaoinshrdlcumwfgypbvkjxqz";
/// The representation of a space in a byte-level vocabulary.
const SPACE: &str = "\u{120}";

/// A byte-level vocabulary: the 256 bytes, then merged strings of lower-case letters (of two, three
/// and, in large vocabularies, four letters, with and without a leading space), then three control
/// tokens.
///
/// Any text can be encoded, and is decoded unchanged.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    /// The tokens in GPT-2's notation, in which every byte is a printable character.
    pub tokens: Vec<String>,
    /// The merges in order of rank, each `left right`.
    pub merges: Vec<String>,
}

impl Vocabulary {
    /// Number of control tokens at the end of the vocabulary.
    pub const CONTROL_COUNT: u32 = CONTROL.len() as u32;

    /// Creates a vocabulary of `size` tokens.
    ///
    /// # Panics
    /// Panics if `size` is below 259 (the bytes and the control tokens) or above about 900,000.
    pub fn new(size: u32) -> Self {
        let mut tokens: Vec<String> = byte_characters().map(String::from).collect();
        let wanted = (size as usize).checked_sub(tokens.len() + CONTROL.len());
        let wanted = wanted.expect("a vocabulary holds at least 259 tokens");
        let merges: Vec<_> = merges().take(wanted).collect();
        assert_eq!(merges.len(), wanted, "the vocabulary is larger than there are merges");
        tokens.extend(merges.iter().map(|(left, right)| format!("{left}{right}")));
        tokens.extend(CONTROL.map(String::from));
        let merges = merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
        Self { tokens, merges }
    }

    /// Like [`Self::new`], with these tokens instead of the last merged ones.
    pub fn with_tokens(size: u32, others: &[&str]) -> Self {
        let mut vocabulary = Self::new(size);
        let end = vocabulary.end_of_text() as usize;
        for (token, other) in vocabulary.tokens[..end].iter_mut().rev().zip(others) {
            (*other).clone_into(token);
        }
        vocabulary.merges.truncate(vocabulary.merges.len() - others.len());
        vocabulary
    }

    /// The token that ends a text; also used as the beginning-of-text and padding token.
    pub fn end_of_text(&self) -> u32 {
        self.tokens.len() as u32 - Self::CONTROL_COUNT
    }

    /// The token that starts a turn of a conversation.
    pub fn start_of_turn(&self) -> u32 {
        self.end_of_text() + 1
    }

    /// The token that ends a turn of a conversation.
    pub fn end_of_turn(&self) -> u32 {
        self.end_of_text() + 2
    }

    /// The vocabulary as metadata of a model.
    pub fn metadata(&self) -> Vec<(String, Value)> {
        let (normal, control) = (1, 3); // llama_token_type
        let kinds = (0..self.tokens.len() as u32)
            .map(|id| if id < self.end_of_text() { normal } else { control });
        let pairs = [
            ("tokenizer.ggml.model", Value::string("gpt2")),
            ("tokenizer.ggml.pre", Value::string("gpt-2")),
            ("tokenizer.ggml.tokens", Value::strings(&self.tokens)),
            ("tokenizer.ggml.token_type", Value::i32s(kinds)),
            ("tokenizer.ggml.merges", Value::strings(&self.merges)),
            ("tokenizer.ggml.bos_token_id", Value::u32(self.end_of_text())),
            ("tokenizer.ggml.eos_token_id", Value::u32(self.end_of_text())),
            ("tokenizer.ggml.eot_token_id", Value::u32(self.end_of_turn())),
            ("tokenizer.ggml.padding_token_id", Value::u32(self.end_of_text())),
            ("tokenizer.ggml.add_bos_token", Value::bool(false)),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value)).into()
    }
}

/// GPT-2's character for each byte: printable ones represent themselves, the others are mapped, in
/// order, to characters above U+00FF.
fn byte_characters() -> impl Iterator<Item = char> {
    let mut above = 0x100;
    (0..=u8::MAX).map(move |byte| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        _ => {
            above += 1;
            char::from_u32(above - 1).expect("below the surrogates")
        }
    })
}

/// All merges, each of two strings that are bytes or results of earlier merges.
fn merges() -> impl Iterator<Item = (String, String)> {
    let letters = || LETTERS.chars().map(String::from);
    let pairs = move || product(letters, letters).map(|(left, right)| left + &right);
    let spaced_pairs = move || pairs().map(|pair| SPACE.to_owned() + &pair);
    let space = || std::iter::once(SPACE.to_owned());
    product(space, letters)
        .chain(product(letters, letters))
        .chain(product(space, pairs))
        .chain(product(pairs, letters))
        .chain(product(spaced_pairs, letters))
        .chain(product(pairs, pairs))
        .chain(product(spaced_pairs, pairs))
}

/// All combinations, the last varying fastest.
fn product<L, R>(
    left: impl Fn() -> L,
    right: impl Fn() -> R,
) -> impl Iterator<Item = (String, String)>
where
    L: Iterator<Item = String>,
    R: Iterator<Item = String>,
{
    left().flat_map(move |one| right().map(move |other| (one.clone(), other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn tokens_are_distinct_and_every_merge_joins_earlier_tokens() {
        let vocab = Vocabulary::new(60_000);
        assert_eq!(vocab.tokens.len(), 60_000);
        let mut known: HashSet<&str> = vocab.tokens[..256].iter().map(String::as_str).collect();
        assert_eq!(known.len(), 256);
        for (merge, token) in vocab.merges.iter().zip(&vocab.tokens[256..]) {
            let (left, right) = merge.split_once(' ').unwrap();
            assert!(known.contains(left) && known.contains(right), "{merge}");
            assert_eq!(&format!("{left}{right}"), token);
            assert!(known.insert(token), "{token} stands twice");
        }
    }

    #[test]
    fn byte_characters_match_gpt2() {
        let bytes: Vec<char> = byte_characters().collect();
        assert_eq!(bytes[usize::from(b'A')], 'A');
        assert_eq!(bytes[usize::from(b' ')], 'Ġ');
        assert_eq!(bytes[usize::from(b'\n')], 'Ċ');
        assert_eq!(bytes[0xad], 'Ń');
    }
}
