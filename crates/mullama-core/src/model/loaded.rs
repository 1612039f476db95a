//! The parts of a loaded model.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mullama_base::Text;

use super::defaults::ModelDefaults;
use super::vision::Vision;
use crate::chat::Templates;
use crate::embedding::Embedders;
use crate::engine::{AdapterSet, Fingerprint, Vocab, Weights, combine, fingerprint_of_file};
use crate::options::{Lora, Prompt};
use crate::sampling::Grammars;
use crate::scheduler::Engine;
use crate::{Error, ErrorKind, Result, Token};

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
    /// Compiled on first use.
    pub templates: OnceLock<Result<Templates>>,
    pub template_override: Option<String>,
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

    pub fn templates(&self) -> Result<&Templates> {
        const CHAT_TEMPLATE_KEY: &str = "tokenizer.chat_template";
        let compile = || {
            let own = |key| self.weights.metadata_value(key);
            let (template, tool_use) = match &self.template_override {
                Some(template) => (Some(template.clone()), None),
                None => (own(CHAT_TEMPLATE_KEY), own(&format!("{CHAT_TEMPLATE_KEY}.tool_use"))),
            };
            let template = template.ok_or_else(|| {
                Error::new(ErrorKind::Template, "the model has no chat template")
                    .with_hint(Text::with_names("give one as {chat_template}, or use `generate`"))
            })?;
            Templates::new(&self.vocab, &template, tool_use.as_deref())
        };
        if self.templates.get().is_none() {
            match compile() {
                // There may be enough memory next time.
                Err(error) if error.kind() == ErrorKind::OutOfMemory => return Err(error),
                compiled => _ = self.templates.set(compiled),
            }
        }
        self.templates.get_or_init(compile).as_ref().map_err(Clone::clone)
    }

    /// Whether the template supports tools, and whether it can switch reasoning on and off.
    pub fn template_capabilities(&self) -> Option<(bool, bool)> {
        let templates = self.templates().ok()?;
        Some((templates.take_tools(), templates.can_think()))
    }
}
