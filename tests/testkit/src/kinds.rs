//! Vocabularies of the engine's tokenizers other than byte-level byte-pair encoding: one for each, with the same words.

use std::io;
use std::path::Path;

use crate::gguf::Value;
use crate::model::{Shape, write_vocabulary};

/// A tokenisation algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Merges pairs, highest score first; the rest is split into bytes. Spaces are letters.
    SentencePiece,
    /// Chooses the most likely segmentation of a text.
    Unigram,
    /// Takes the longest token, from left to right.
    Rwkv,
    /// Chooses the most likely segmentation, with bytes for text that no token covers.
    Plamo2,
}

// llama_token_type
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

const SPACE: &str = "\u{2581}";
const LETTERS: &str = "etaoinshrdlcumwfgypbvkjxqz";
const OTHER_CHARACTERS: &str = "EA0123456789.,!?<>|/中国你好的一é";
const MERGED_TOKENS: [&str; 8] = ["中国", "你好", "..", "00", "th", "the", "ing", "ein"];
/// Tokens that are matched literally in texts, regardless of the surrounding text.
/// The engine searches for the last one if a model's name contains "phi3".
const WHOLE_TOKENS: [&str; 5] = ["\n\n", "\n\n\n", "<|mark|>", "[x]", "<|endoftext|>"];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::SentencePiece => "llama",
            Self::Unigram => "t5",
            Self::Rwkv => "rwkv",
            Self::Plamo2 => "plamo2",
        }
    }

    /// The tokens and their types. The first ones are not text; no token is an emoji, a tab or a line break.
    fn tokens(self) -> Vec<(String, i32)> {
        let mut tokens: Vec<(String, i32)> =
            [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
                .map(|(text, kind)| (text.to_owned(), kind))
                .into();
        tokens.extend(WHOLE_TOKENS.map(|text| (text.to_owned(), USER_DEFINED)));
        let space = if self == Self::Rwkv { " " } else { SPACE };
        let mut add = |text: String| tokens.push((text, NORMAL));
        match self {
            Self::Rwkv => (0..=255).for_each(|byte| add(format!("\\x{byte:02x}"))),
            Self::SentencePiece | Self::Plamo2 => {
                tokens.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), BYTE)));
            }
            Self::Unigram => {}
        }
        let mut add = |text: String| tokens.push((text, NORMAL));
        for count in [1, 2, 4] {
            add(space.repeat(count));
        }
        for character in LETTERS.chars().chain(OTHER_CHARACTERS.chars()) {
            add(character.to_string());
            add(format!("{space}{character}"));
        }
        for first in LETTERS.chars().take(8) {
            for second in LETTERS.chars().take(8) {
                add(format!("{first}{second}"));
            }
        }
        for text in MERGED_TOKENS {
            add(text.to_owned());
        }
        let mut seen = std::collections::HashSet::new();
        tokens.retain(|(text, _)| seen.insert(text.clone()));
        tokens
    }
}

/// Writes a tokenizer of this kind, without tensors.
pub(crate) fn write_kind(path: &Path, shape: &Shape, kind: Kind) -> io::Result<()> {
    let tokens = kind.tokens();
    // Longer tokens are more likely, so that words are joined.
    let score = |(index, (text, kind)): (usize, &(String, i32))| {
        if *kind == NORMAL {
            text.chars().count() as f32 * 2.0 - 12.0 - index as f32 * 1e-3
        } else {
            0.0
        }
    };
    let number = |number| Value::u32(number);
    let pairs = [
        ("tokenizer.ggml.model", Value::string(kind.name())),
        ("tokenizer.ggml.tokens", Value::strings(tokens.iter().map(|(text, _)| text))),
        ("tokenizer.ggml.token_type", Value::i32s(tokens.iter().map(|(_, kind)| *kind))),
        ("tokenizer.ggml.scores", Value::f32s(tokens.iter().enumerate().map(score))),
        ("tokenizer.ggml.unknown_token_id", number(0)),
        ("tokenizer.ggml.bos_token_id", number(1)),
        ("tokenizer.ggml.eos_token_id", number(2)),
        ("tokenizer.ggml.padding_token_id", number(0)),
    ];
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value)).to_vec();
    write_vocabulary(path, &Shape { n_vocab: tokens.len() as u32, ..*shape }, pairs)
}
