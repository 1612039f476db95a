//! Minimal vocabularies for every kind of tokenizer in the engine.

use crate::gguf::Value;
use crate::vocab::Vocabulary;

/// A kind of tokenizer (`llama_vocab_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokenizer {
    /// Byte-level byte-pair encoding; see [`Vocabulary`].
    BytePair,
    /// `SentencePiece`'s byte-pair encoding.
    SentencePiece,
    /// BERT's word pieces.
    WordPiece,
    /// `SentencePiece`'s unigrams, with a character map.
    Unigram,
    /// RWKV's greedy tokenizer.
    Rwkv,
    /// `PLaMo`'s tokenizer, based on suffixes.
    Plamo,
    /// None: such a model accepts only tokens.
    None,
}

/// `llama_token_type`
mod kind {
    pub const NORMAL: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const CONTROL: i32 = 3;
    pub const BYTE: i32 = 6;
}

/// `SentencePiece`'s representation of a space.
const SPACE: char = '\u{2581}';

impl Tokenizer {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::BytePair,
        Self::SentencePiece,
        Self::WordPiece,
        Self::Unigram,
        Self::Rwkv,
        Self::Plamo,
        Self::None,
    ];

    /// The name in GGUF files.
    pub fn name(self) -> &'static str {
        match self {
            Self::BytePair => "gpt2",
            Self::SentencePiece => "llama",
            Self::WordPiece => "bert",
            Self::Unigram => "t5",
            Self::Rwkv => "rwkv",
            Self::Plamo => "plamo2",
            Self::None => "no_vocab",
        }
    }

    /// Returns a vocabulary of this kind with `size` tokens, as metadata of a model.
    ///
    /// # Panics
    /// Panics if `size` is less than 300.
    pub fn metadata(self, size: u32) -> Vec<(String, Value)> {
        if self == Self::BytePair {
            return Vocabulary::new(size).metadata();
        }
        assert!(size >= 300, "a vocabulary holds every byte");
        let mut tokens = self.special();
        if matches!(self, Self::SentencePiece | Self::Plamo) {
            tokens.extend((0..=u8::MAX).map(|byte| (format!("<0x{byte:02X}>"), kind::BYTE)));
        }
        if self == Self::Rwkv {
            // Escaped, as the engine expects them.
            tokens.extend((0..=u8::MAX).map(|byte| (format!("\\x{byte:02x}"), kind::NORMAL)));
        }
        let missing = (size as usize).saturating_sub(tokens.len());
        tokens.extend(self.pieces().take(missing).map(|text| (text, kind::NORMAL)));
        let scores = (0..tokens.len()).map(|id| -(id as f32) / 100.0);
        let mut metadata = vec![("model", Value::string(self.name()))];
        if self != Self::None {
            metadata.extend([
                ("tokens", Value::strings(tokens.iter().map(|(text, _)| text))),
                ("token_type", Value::i32s(tokens.iter().map(|(_, kind)| *kind))),
                ("scores", Value::f32s(scores)),
                ("unknown_token_id", Value::u32(0)),
                ("bos_token_id", Value::u32(1)),
                ("eos_token_id", Value::u32(2)),
            ]);
        }
        match self {
            Self::WordPiece => metadata.extend([
                ("token_type_count", Value::u32(2)),
                ("seperator_token_id", Value::u32(2)),
                ("padding_token_id", Value::u32(3)),
                ("mask_token_id", Value::u32(4)),
            ]),
            Self::Unigram => metadata.push(("precompiled_charsmap", character_map())),
            _ => {}
        }
        let long = |(key, value)| (format!("tokenizer.ggml.{key}"), value);
        metadata.into_iter().map(long).collect()
    }

    fn special(self) -> Vec<(String, i32)> {
        let names: &[&str] = match self {
            Self::WordPiece => &["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"],
            _ => &["<unk>", "<s>", "</s>"],
        };
        let kind = |id| if id == 0 { kind::UNKNOWN } else { kind::CONTROL };
        names.iter().enumerate().map(|(id, name)| ((*name).to_owned(), kind(id))).collect()
    }

    /// Letters and pairs of letters, at the start of a word and within.
    fn pieces(self) -> impl Iterator<Item = String> {
        let space = if self == Self::Rwkv { ' ' } else { SPACE };
        let letters = || ('a'..='z').map(String::from);
        let pairs = letters().flat_map(move |a| letters().map(move |b| format!("{a}{b}")));
        let start = move |piece: String| format!("{space}{piece}");
        // In RWKV, letters are already included as bytes.
        let alone = (self != Self::Rwkv).then(letters).into_iter().flatten();
        let spaces = (self != Self::Rwkv).then(|| space.to_string());
        spaces
            .into_iter()
            .chain(alone)
            .chain(letters().map(start))
            .chain(pairs.clone())
            .chain(pairs.map(start))
    }
}

/// A map from `A` to `a`: the length of a trie, the trie with nodes of 32 bits (XOR-compressed as in
/// `SentencePiece`), and the replacement texts.
fn character_map() -> Value {
    let mut nodes = [0_u32; 256];
    let (letter, leaf) = (u32::from(b'A'), 1 << 8);
    // The root's children are at 0 ^ letter; the node that a child points to has the offset of the text.
    nodes[letter as usize] = letter | leaf | (1 << 10);
    nodes[letter as usize ^ 1] = 0;
    let mut map = (nodes.len() as u32 * 4).to_le_bytes().to_vec();
    map.extend(nodes.iter().flat_map(|node| node.to_le_bytes()));
    map.extend(b"a\0");
    let mut value = Value::strings::<&str>([]);
    // An array of bytes (`GGUF_TYPE_UINT8`).
    value.bytes =
        [0_u32.to_le_bytes().as_slice(), &(map.len() as u64).to_le_bytes(), &map].concat();
    value
}
