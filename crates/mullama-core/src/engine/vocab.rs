//! Conversion of text to tokens and back.

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::{Arc, OnceLock};

use mullama_sys as sys;

use super::deep::with_stack;
use super::failure::Failure;
use super::long_text::{Part, Special, SplitRules};
use super::weights::Weights;
use crate::{Error, ErrorKind, Result, Token};

/// The vocabulary of a model. It owns a reference to the weights, of which it is a part.
#[derive(Clone)]
pub(crate) struct Vocab {
    weights: Arc<Weights>,
    ends_of_generation: Arc<[Token]>,
    control: Arc<[Token]>,
    /// Why the engine's tokenizer cannot be used.
    problem: Option<&'static str>,
    /// Where long texts may be cut; computed for the first of them.
    cuts: Arc<OnceLock<SplitRules>>,
}

/// Length in bytes from which a text is tokenised in parts, and length of a part.
const SPLIT_THRESHOLD: usize = 8 << 10;
const SPLIT_PART_BYTES: usize = 4 << 10;

impl Vocab {
    pub fn new(weights: Arc<Weights>) -> Self {
        let mut vocab = Self {
            weights,
            ends_of_generation: Arc::new([]),
            control: Arc::new([]),
            problem: None,
            cuts: Arc::default(),
        };
        vocab.ends_of_generation = (0..vocab.len() as Token)
            // SAFETY: the token is in range.
            .filter(|&token| unsafe { sys::llama_vocab_is_eog(vocab.as_ptr(), token) })
            .collect();
        vocab.control =
            (0..vocab.len() as Token).filter(|&token| vocab.is_control(token)).collect();
        vocab.problem = vocab.find_problem();
        vocab
    }

    fn find_problem(&self) -> Option<&'static str> {
        match self.kind() {
            // The engine's tokenizer might not terminate.
            sys::LLAMA_VOCAB_TYPE_RWKV if !self.has_all_first_bytes() => {
                Some("some bytes that tokens begin with are not tokens themselves")
            }
            // The vocabulary has another notation of bytes than the pre-tokenizer, so that the engine drops text.
            sys::LLAMA_VOCAB_TYPE_BPE
                if self.tokenize(" ", false, false).is_ok_and(|tokens| tokens.is_empty())
                    && !self.drops_spaces() =>
            {
                Some("it has no token for a space")
            }
            _ => None,
        }
    }

    fn kind(&self) -> sys::llama_vocab_type {
        // SAFETY: a valid vocabulary.
        unsafe { sys::llama_vocab_type(self.as_ptr()) }
    }

    /// Whether white space only separates words.
    fn drops_spaces(&self) -> bool {
        self.weights.metadata_value("tokenizer.ggml.model").as_deref() == Some("whitespace")
    }

    /// Whether each byte that starts a token is also a token by itself. Otherwise the engine's RWKV tokenizer can loop
    /// forever: it restarts where a text matches none of the tokens that start with such a byte.
    fn has_all_first_bytes(&self) -> bool {
        let (mut first, mut alone) = ([false; 256], [false; 256]);
        let mut piece = Vec::new();
        for token in 0..self.len() as Token {
            self.piece(token, true, &mut piece);
            if let Some(&byte) = piece.first() {
                first[usize::from(byte)] = true;
                alone[usize::from(byte)] |= piece.len() == 1;
            }
        }
        first == alone
    }

    pub fn as_ptr(&self) -> *const sys::llama_vocab {
        // SAFETY: the weights are alive, and so is their vocabulary.
        unsafe { sys::llama_model_get_vocab(self.weights.as_ptr()) }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        // SAFETY: a valid vocabulary.
        unsafe { sys::llama_vocab_n_tokens(self.as_ptr()) }.max(0) as usize
    }

    /// The tokens that end generation.
    pub fn ends_of_generation(&self) -> &[Token] {
        &self.ends_of_generation
    }

    pub fn is_end_of_generation(&self, token: Token) -> bool {
        self.ends_of_generation.contains(&token)
    }

    /// Whether a token is a control token: it marks turns, tools and so on, and is not text.
    pub fn is_control(&self, token: Token) -> bool {
        // SAFETY: the model has a tokenizer; without one the engine would abort the process.
        self.has_tokenizer() && unsafe { sys::llama_vocab_is_control(self.as_ptr(), token) }
    }

    /// All control tokens.
    pub fn control_tokens(&self) -> &[Token] {
        &self.control
    }

    /// The attributes of a token: `LLAMA_TOKEN_ATTR_*`.
    pub fn attributes(&self, token: Token) -> sys::llama_token_attr {
        if !self.has_tokenizer() {
            // The engine would abort the process.
            return 0;
        }
        // SAFETY: a valid vocabulary; the token is in range.
        unsafe { sys::llama_vocab_get_attr(self.as_ptr(), token) }
    }

    /// Whether the tokenizer strips white space before a special token, and after it.
    pub fn strips(&self, token: Token) -> (bool, bool) {
        let kind = self.attributes(token);
        let has = |attribute| kind & attribute != 0;
        (has(sys::LLAMA_TOKEN_ATTR_LSTRIP), has(sys::LLAMA_TOKEN_ATTR_RSTRIP))
    }

    /// Tokens that the model's file declares never to be generated.
    pub fn suppressed(&self) -> &[Token] {
        let mut count = 0;
        // SAFETY: pointer and count describe an array that lives as long as the vocabulary.
        unsafe {
            let tokens = sys::llama_vocab_get_suppress_tokens(self.as_ptr(), &raw mut count);
            if tokens.is_null() || count <= 0 {
                return &[];
            }
            std::slice::from_raw_parts(tokens, count as usize)
        }
    }

    /// Whether the vocabulary adds a token after a text when special tokens are requested.
    pub fn adds_end(&self) -> bool {
        // SAFETY: a valid vocabulary.
        unsafe { sys::llama_vocab_get_add_eos(self.as_ptr()) }
    }

    /// Returns an error for an id outside the vocabulary.
    pub fn check(&self, token: Token) -> Result<()> {
        if usize::try_from(token).is_ok_and(|index| index < self.len()) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("token {token} is not in the vocabulary, which has {} tokens", self.len()),
        )
        .with_context("token", token))
    }

    /// Tokenises a text. `add_special` adds the special tokens that the model expects around a text; `parse_special`
    /// parses special tokens written in the text.
    pub fn tokenize(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<Token>> {
        if let Some(at) = text.bytes().position(|byte| byte == 0) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("the text contains a NUL byte, at byte {at}"),
            ));
        }
        if i32::try_from(text.len()).is_err() {
            let message =
                format!("the text has {} bytes; at most 2 GiB can be tokenised", text.len());
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        if !self.has_tokenizer() {
            return Err(Error::new(ErrorKind::Unsupported, "the model has no tokenizer")
                .with_hint("give the prompt as tokens"));
        }
        if let Some(problem) = self.problem {
            return Err(unusable(problem.to_owned()));
        }
        with_stack(self.stack_for(text)?, || {
            if text.len() < SPLIT_THRESHOLD {
                self.tokenize_on_this_thread(text, add_special, parse_special)
            } else {
                self.tokenize_in_parts(text, add_special, parse_special, SPLIT_PART_BYTES)
            }
        })?
    }

    /// The text of a token as stored in the vocabulary, if it is valid UTF-8 and not empty.
    fn text(&self, token: Token) -> Option<&str> {
        // SAFETY: a valid vocabulary, a token in its range; the text lives as long as the vocabulary.
        let text = unsafe { CStr::from_ptr(sys::llama_vocab_get_text(self.as_ptr(), token)) };
        text.to_str().ok().filter(|text| !text.is_empty())
    }

    /// Finds the places where long texts may be cut.
    fn find_cuts(&self) -> SplitRules {
        let tokens = || 0..self.len() as Token;
        let markup = sys::LLAMA_TOKEN_ATTR_CONTROL | sys::LLAMA_TOKEN_ATTR_UNKNOWN;
        let specials = tokens().filter_map(|token| {
            let kind = self.attributes(token);
            if kind & (markup | sys::LLAMA_TOKEN_ATTR_USER_DEFINED) == 0 {
                return None;
            }
            Some(Special {
                token,
                text: self.text(token)?.to_owned(),
                is_markup: kind & markup != 0,
                strips: self.strips(token),
            })
        });
        let merges_by_score = self.kind() == sys::LLAMA_VOCAB_TYPE_SPM;
        let merged = merges_by_score.then(|| tokens().filter_map(|token| self.text(token)));
        SplitRules::new(specials.collect(), merged)
    }

    /// Tokenises in time linear in the length of the text, not quadratic. The tokens are the same.
    fn tokenize_in_parts(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
        bytes: usize,
    ) -> Result<Vec<Token>> {
        let cuts = self.cuts.get_or_init(|| self.find_cuts());
        let Some(parts) = cuts.parts(text, parse_special) else {
            return self.tokenize_on_this_thread(text, add_special, parse_special);
        };
        let around = self.tokenize_on_this_thread("", add_special, false)?;
        // SAFETY: a valid vocabulary.
        let has_begin = unsafe { sys::llama_vocab_get_add_bos(self.as_ptr()) };
        let before = if around.len() == 1 { usize::from(has_begin) } else { around.len() / 2 };
        let mut tokens = around[..before].to_vec();
        // Number of tokens of a character at the start of a text.
        let mut counts = HashMap::new();
        for part in parts {
            let range = match part {
                Part::Token(token) => {
                    tokens.push(token);
                    continue;
                }
                Part::Text(range) => range,
            };
            let text = &text[range];
            for piece in cuts.pieces(text, bytes) {
                // The engine may add a space before each text. The last character before the piece is therefore
                // tokenised with it: no token joins it to what follows.
                let Some((at, last)) = text[..piece.start].char_indices().next_back() else {
                    tokens.extend(self.tokenize_on_this_thread(&text[piece], false, false)?);
                    continue;
                };
                let count = if let Some(count) = counts.get(&last) {
                    *count
                } else {
                    let count =
                        self.tokenize_on_this_thread(&text[at..piece.start], false, false)?.len();
                    *counts.entry(last).or_insert(count)
                };
                tokens.extend_from_slice(
                    &self.tokenize_on_this_thread(&text[at..piece.end], false, false)?[count..],
                );
            }
        }
        tokens.extend_from_slice(&around[before..]);
        Ok(tokens)
    }

    /// Bytes of stack that tokenising a text needs at most. BPE vocabularies first split texts with regular
    /// expressions, and those of libstdc++ recurse for each character of a match. After the end of a line, the engine's
    /// expressions match only white space.
    fn stack_for(&self, text: &str) -> Result<usize> {
        /// Bytes per character. Measured: 320 on x86-64.
        const STACK_PER_CHARACTER: usize = 640;
        /// Bytes for everything else.
        const BASE_STACK: usize = 64 << 10;
        /// Characters per line; more would need more than 1.3 GB.
        const MAX_LINE: usize = 4_000_000;
        if self.kind() != sys::LLAMA_VOCAB_TYPE_BPE {
            return Ok(BASE_STACK);
        }
        let longest = longest_line(text);
        if longest > MAX_LINE {
            let message = format!(
                "a line of the text has {longest} characters; at most {MAX_LINE} can be tokenised"
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(BASE_STACK + STACK_PER_CHARACTER * longest)
    }

    fn tokenize_on_this_thread(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<Token>> {
        // Nearly every token covers at least one byte. If the buffer is too small, the engine returns the required
        // size.
        let mut tokens = vec![0; text.len() + 16];
        loop {
            // SAFETY: a valid vocabulary.
            let count = unsafe {
                sys::shim::tokenize(self.as_ptr(), text, &mut tokens, add_special, parse_special)
            }
            .map_err(unusable)?;
            match usize::try_from(count) {
                Ok(count) => {
                    tokens.truncate(count);
                    let known = 0..self.len() as Token;
                    return if tokens.iter().all(|token| known.contains(token)) {
                        Ok(tokens)
                    } else {
                        Err(unusable("it gives tokens that are not in the vocabulary".to_owned()))
                    };
                }
                Err(_) if count == i32::MIN => {
                    return Err(Error::new(ErrorKind::InvalidArgument, "the text is too long"));
                }
                Err(_) => tokens.resize(count.unsigned_abs() as usize, 0),
            }
        }
    }

    /// The infill tokens that precede the prefix, the suffix and the middle, if the vocabulary has them.
    fn infill_tokens(&self) -> Option<[Token; 3]> {
        let vocab = self.as_ptr();
        // SAFETY: a valid vocabulary; read-only calls.
        let tokens = unsafe {
            [
                sys::llama_vocab_fim_pre(vocab),
                sys::llama_vocab_fim_suf(vocab),
                sys::llama_vocab_fim_mid(vocab),
            ]
        };
        tokens.iter().all(|&token| self.check(token).is_ok()).then_some(tokens)
    }

    /// Builds a prompt that asks for the text between a prefix and a suffix.
    pub fn infill(&self, prefix: &[Token], suffix: &str) -> Result<Vec<Token>> {
        let [before_prefix, before_suffix, before_middle] =
            self.infill_tokens().ok_or_else(|| {
                let message = "the model has no tokens for filling in the middle of a text";
                Error::new(ErrorKind::Unsupported, message)
                    .with_context("option", "infill_suffix")
                    .with_hint("use a model that was trained for code completion")
            })?;
        let suffix = self.tokenize(suffix, false, false)?;
        // SAFETY: a valid vocabulary; read-only calls.
        let begin = unsafe {
            sys::llama_vocab_get_add_bos(self.as_ptr()).then(|| sys::llama_vocab_bos(self.as_ptr()))
        };
        let begin = begin.filter(|&token| self.check(token).is_ok());
        Ok(begin
            .into_iter()
            .chain([before_prefix])
            .chain(prefix.iter().copied())
            .chain([before_suffix])
            .chain(suffix)
            .chain([before_middle])
            .collect())
    }

    /// The tokens that separate two texts, if the vocabulary has any.
    pub fn pair_separators(&self) -> Vec<Token> {
        let vocab = self.as_ptr();
        // SAFETY: a valid vocabulary; read-only calls.
        let (eos, sep) = unsafe {
            (
                self.adds_end().then(|| sys::llama_vocab_eos(vocab)),
                sys::llama_vocab_get_add_sep(vocab).then(|| sys::llama_vocab_sep(vocab)),
            )
        };
        eos.into_iter().chain(sep).filter(|&token| self.check(token).is_ok()).collect()
    }

    /// Whether text can be converted to tokens and back. Models without a tokenizer work with token ids only.
    fn has_tokenizer(&self) -> bool {
        self.kind() != sys::LLAMA_VOCAB_TYPE_NONE
    }

    /// Writes the bytes of one token to `piece`; those of a special token only if `special` is set.
    pub fn piece(&self, token: Token, special: bool, piece: &mut Vec<u8>) {
        if !self.has_tokenizer() {
            // The engine would abort the process.
            piece.clear();
            return;
        }
        piece.resize(piece.capacity().max(32), 0);
        loop {
            // SAFETY: pointer and length describe `piece`; the token is in range.
            let length = unsafe {
                sys::llama_token_to_piece(
                    self.as_ptr(),
                    token,
                    piece.as_mut_ptr().cast(),
                    piece.len() as i32,
                    0,
                    special,
                )
            };
            if let Ok(length) = usize::try_from(length) {
                piece.truncate(length);
                return;
            }
            // A negative result is the required size.
            piece.resize(length.unsigned_abs() as usize, 0);
        }
    }

    pub fn detokenize(&self, tokens: &[Token], skip_special: bool) -> Result<String> {
        for &token in tokens {
            self.check(token)?;
        }
        // SAFETY: a valid vocabulary.
        let begin = unsafe { sys::llama_vocab_bos(self.as_ptr()) };
        // The engine removes the space that a vocabulary adds before a text only if this token does not precede it.
        let tokens = tokens.strip_prefix(&[begin]).filter(|_| skip_special).unwrap_or(tokens);
        let mut bytes = vec![0_u8; tokens.len() * 8 + 16];
        loop {
            // SAFETY: a valid vocabulary, and tokens in its range.
            let length = unsafe {
                sys::shim::detokenize(
                    self.as_ptr(),
                    tokens,
                    &mut bytes,
                    skip_special,
                    !skip_special,
                )
            }
            .map_err(unusable)?;
            if let Ok(length) = usize::try_from(length) {
                bytes.truncate(length);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                // In these vocabularies every word begins with a space, including the first.
                let is_of_words = self.kind() == sys::LLAMA_VOCAB_TYPE_WPM;
                return Ok(match text.strip_prefix(' ') {
                    Some(rest) if skip_special && is_of_words => rest.to_owned(),
                    _ => text,
                });
            }
            bytes.resize(length.unsigned_abs() as usize, 0);
        }
    }
}

/// Number of characters of the longest line, including the white space and empty lines after it.
fn longest_line(text: &str) -> usize {
    let (mut longest, mut length, mut ended) = (0, 0, false);
    for character in text.chars() {
        if ended && !character.is_whitespace() {
            (length, ended) = (0, false);
        }
        ended |= matches!(character, '\n' | '\r');
        length += 1;
        longest = longest.max(length);
    }
    longest
}

/// Maps a failure of the engine's tokenizer, whose vocabulary lacks something the tokenizer relies on.
#[allow(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn unusable(reason: String) -> Error {
    match Failure::of(&reason).kind(ErrorKind::InvalidModel) {
        ErrorKind::InvalidModel => Error::new(
            ErrorKind::InvalidModel,
            format!("the model's tokenizer is unusable: {reason}"),
        ),
        kind => Error::new(kind, format!("the text cannot be tokenised: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use mullama_testkit::fixture;

    use super::*;
    use crate::device::DeviceSet;
    use crate::engine::WeightSettings;
    use crate::options::ModelParams;

    fn vocabulary(name: &str, overrides: &[(&str, serde_json::Value)]) -> Vocab {
        let overrides = overrides.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        let overrides: std::collections::BTreeMap<_, _> = overrides.collect();
        let params =
            ModelParams::default().with_vocab_only(true).with_metadata_overrides(overrides);
        crate::runtime::require_cpu().unwrap();
        let settings = WeightSettings::resolve(&params, &DeviceSet::default()).unwrap();
        let weights = Weights::load(&fixture(name), &settings, &mut |_| true).unwrap();
        Vocab::new(Arc::new(weights))
    }

    /// Fragments combined at random: starts of tokens, text without a token, special tokens and their parts.
    const PARTS: [&str; 30] = [
        "a", "th", "the", "in", " ", "  ", "    ", "\n", "\n\n", "\n\n\n", "\t", "\r\n", "中",
        "中国", "你好", "😀", "é", "e\u{301}", "\u{2581}", "<|mark|>", "<|mark", "[x]", "</s>",
        "<s>", "<unk>", "<0x41>", "0", "00", ".", "\u{feff}",
    ];

    #[test]
    fn tokenizing_in_parts_equals_tokenizing_whole() {
        let no_space = ("tokenizer.ggml.add_space_prefix", false.into());
        let phi = ("general.name", "phi3".into());
        let ends = ("tokenizer.ggml.add_eos_token", true.into());
        let no_begin = ("tokenizer.ggml.add_bos_token", false.into());
        for (name, overrides) in [
            ("vocab-pieces", vec![]),
            ("vocab-pieces", vec![no_space, ends.clone()]),
            ("vocab-pieces", vec![phi, ends.clone(), no_begin]),
            ("vocab-unigram", vec![]),
            ("vocab-rwkv", vec![]),
            ("vocab-plamo2", vec![ends]),
            ("encoder", vec![]),
            ("tiny", vec![]),
        ] {
            let vocab = vocabulary(name, &overrides);
            let mut state = 7_u64;
            let mut random = |below: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as usize % below
            };
            for round in 0..2000 {
                let text: String = (0..random(30)).map(|_| PARTS[random(PARTS.len())]).collect();
                let (add, parse) = (round % 2 == 0, round % 3 == 0);
                let whole = vocab.tokenize_on_this_thread(&text, add, parse).unwrap();
                let parts = vocab.tokenize_in_parts(&text, add, parse, 1 + random(6)).unwrap();
                assert_eq!(parts, whole, "{name} {overrides:?} {text:?}");
            }
        }
    }

    #[test]
    fn megabyte_texts_are_tokenised() {
        for name in ["vocab-pieces", "vocab-unigram", "vocab-rwkv", "vocab-plamo2", "encoder"] {
            let vocab = vocabulary(name, &[]);
            for part in PARTS {
                let text = part.repeat((1 << 20) / part.len());
                assert!(!vocab.tokenize(&text, true, true).unwrap().is_empty(), "{name} {part:?}");
            }
        }
    }

    #[test]
    fn longest_line_ends_at_line_breaks_before_text() {
        let lengths = [("", 0), ("ab", 2), ("ab\ncde", 3), ("ab\n \n cde", 6), ("\n\n\n", 3)];
        for (text, length) in lengths {
            assert_eq!(longest_line(text), length, "{text:?}");
        }
    }
}
