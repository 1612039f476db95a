//! The measured models and sizes, from `settings.json`, which the other languages read as well.

use std::collections::BTreeMap;

use mullama_floor::Token;
use serde::Deserialize;

use crate::Result;

#[derive(Deserialize)]
struct Settings {
    /// Number of prompt tokens before decoding.
    prompt: usize,
    models: BTreeMap<String, Sizes>,
}

/// Sizes of the measurements with one model.
#[derive(Clone, Copy, Deserialize)]
pub struct Sizes {
    pub rounds: usize,
    /// Number of generated tokens.
    pub decode: usize,
    /// Number of tokens of measured prompts.
    pub prefill: usize,
}

/// A model to measure.
pub struct Model {
    pub name: String,
    /// A file, or `demo`.
    pub path: String,
    pub prompt: usize,
    pub sizes: Sizes,
}

impl Model {
    /// Reads `NAME=PATH`.
    pub fn parse(word: &str) -> Result<Self> {
        let settings: Settings = serde_json::from_str(include_str!("../settings.json"))?;
        let (name, path) = word.split_once('=').ok_or_else(|| format!("no NAME=PATH: {word}"))?;
        let sizes = *settings.models.get(name).ok_or_else(|| format!("no settings for {name}"))?;
        Ok(Self { name: name.to_owned(), path: path.to_owned(), prompt: settings.prompt, sizes })
    }
}

/// The sizes of the logical and the physical batch: mullama's defaults, which it does not expose.
pub const BATCH: (u32, u32) = (2048, 512);

/// The number of physical cores: mullama's default number of threads.
pub fn threads() -> u32 {
    num_cpus::get_physical().min(num_cpus::get()).max(1) as u32
}

/// Prompts of random tokens. All are different, so that caching has no effect.
pub struct Prompts {
    state: u64,
    n_vocab: u64,
}

impl Prompts {
    pub fn new(n_vocab: u32) -> Self {
        Self { state: 1, n_vocab: n_vocab.into() }
    }

    pub fn next(&mut self, length: usize) -> Vec<Token> {
        let mut draw = || {
            // Knuth's constants for a linear congruential generator (MMIX).
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005);
            self.state = self.state.wrapping_add(1_442_695_040_888_963_407);
            ((self.state >> 33) % self.n_vocab) as Token
        };
        (0..length).map(|_| draw()).collect()
    }
}
