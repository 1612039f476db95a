//! The parts of a loaded model.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::defaults::ModelDefaults;
use super::templates::ModelTemplates;
use super::vision::Vision;
use crate::chat::Templates;
use crate::embedding::Embedders;
use crate::engine::{AdapterSet, Fingerprint, Vocab, Weights, combine, fingerprint_of_file};
use crate::options::{ChatOptions, Lora, Prompt};
use crate::sampling::Grammars;
use crate::scheduler::Engine;
use crate::{CancelToken, Result, Token};

/// Everything that is freed when a model is closed.
pub(super) struct Loaded {
    // Dropped in this order: the contexts before the weights that they use.
    /// `None` if only the vocabulary was loaded, or if the model does not generate.
    pub engine: Option<Engine>,
    pub embedders: Embedders,
    pub vision: Vision,
    pub vocab: Vocab,
    pub weights: Arc<Weights>,
    /// For enforcing schemas and grammars.
    pub grammars: Grammars,
    pub templates: ModelTemplates,
    /// The defaults for requests: those stored with the model, or else those that its metadata
    /// recommend.
    pub defaults: ModelDefaults,
    /// The adapters for requests that specify none.
    pub adapters: Mutex<AdapterSet>,
    pub path: PathBuf,
    /// The open file, which may have been renamed or deleted since.
    pub file: File,
    /// Settings that computed cells depend on.
    pub settings: String,
    pub fingerprint: OnceLock<Result<Fingerprint>>,
}

impl Loaded {
    pub fn engine(&self) -> Result<&Engine> {
        self.engine.as_ref().ok_or_else(|| self.embedders.info().cannot_generate())
    }

    pub fn tokens_of(&self, prompt: Prompt) -> Result<Vec<Token>> {
        match prompt {
            Prompt::Text(text) => self.vocab.tokenize(&text, true, true),
            Prompt::Tokens(tokens) => {
                tokens.iter().try_for_each(|&token| self.vocab.check(token))?;
                Ok(tokens)
            }
        }
    }

    /// The prompt for the text between a prefix and a suffix.
    pub fn infill(&self, prefix: Prompt, suffix: &str) -> Result<Vec<Token>> {
        let prefix = match prefix {
            Prompt::Text(text) => self.vocab.tokenize(&text, false, false)?,
            tokens @ Prompt::Tokens(_) => self.tokens_of(tokens)?,
        };
        self.vocab.infill(&prefix, suffix)
    }

    /// The fingerprint that a saved state must have to be usable.
    pub fn fingerprint(&self, adapters: &AdapterSet) -> Result<Fingerprint> {
        let model = self.fingerprint.get_or_init(|| fingerprint_of_file(&self.file, &self.path));
        let model = model.as_ref().map_err(Clone::clone)?;
        let adapters = self.weights.fingerprint_of(adapters)?;
        Ok(combine(&[model, self.settings.as_bytes(), &adapters]))
    }

    /// The adapters that a request specifies, or else the model's.
    pub fn adapters_of(&self, lora: Option<&Lora>) -> Result<AdapterSet> {
        match lora {
            Some(lora) => self.weights.adapters(lora),
            None => Ok(self.adapters.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        }
    }

    /// The template of a request, or else the model's.
    pub fn templates(&self, options: &ChatOptions, cancel: &CancelToken) -> Result<Arc<Templates>> {
        match &options.chat.chat_template {
            Some(source) => self.templates.of_request(&self.vocab, source, cancel),
            None => self.templates.own(&self.vocab, &self.weights),
        }
    }

    /// Whether the template supports tools, and whether it can switch reasoning on and off.
    pub fn template_capabilities(&self) -> Option<(bool, bool)> {
        let templates = self.templates.own(&self.vocab, &self.weights).ok()?;
        Some((templates.take_tools(), templates.can_think()))
    }
}
