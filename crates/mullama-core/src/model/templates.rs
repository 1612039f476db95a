//! The chat templates of one model: its own, and those of requests.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mullama_base::{Recent, Text};

use crate::chat::Templates;
use crate::engine::{Vocab, Weights};
use crate::{CancelToken, Error, ErrorKind, Result};

/// The key of the template in a model's metadata.
const CHAT_TEMPLATE_KEY: &str = "tokenizer.chat_template";

pub(super) struct ModelTemplates {
    /// Replaces the template of the metadata.
    replacement: Option<String>,
    /// Compiled on first use.
    own: OnceLock<Result<Arc<Templates>>>,
    of_requests: Mutex<Recent<Arc<Templates>>>,
}

impl ModelTemplates {
    /// `unusable` is the error of a model whose template cannot be used. Text can be generated without the template;
    /// only chats return the error.
    pub fn new(replacement: Option<String>, unusable: Option<Error>) -> Self {
        let own = unusable.map_or_else(OnceLock::new, |error| OnceLock::from(Err(error)));
        Self { replacement, own, of_requests: Mutex::default() }
    }

    /// The source of the model's template.
    pub fn source(&self, weights: &Weights) -> Option<String> {
        self.replacement.clone().or_else(|| weights.metadata_value(CHAT_TEMPLATE_KEY))
    }

    /// The model's template.
    pub fn own(&self, vocab: &Vocab, weights: &Weights) -> Result<Arc<Templates>> {
        let compile = || {
            let source = self.source(weights).ok_or_else(|| {
                Error::new(ErrorKind::Template, "the model has no chat template")
                    .with_hint(Text::with_names("give one as {chat_template}, or use `generate`"))
            })?;
            let tool_use = match self.replacement {
                Some(_) => None,
                None => weights.metadata_value(&format!("{CHAT_TEMPLATE_KEY}.tool_use")),
            };
            Templates::new(vocab, &source, tool_use.as_deref()).map(Arc::new)
        };
        if self.own.get().is_none() {
            match compile() {
                // There may be enough memory next time.
                Err(error) if error.kind() == ErrorKind::OutOfMemory => return Err(error),
                compiled => _ = self.own.set(compiled),
            }
        }
        self.own.get_or_init(compile).clone()
    }

    /// The template of a request.
    pub fn of_request(
        &self,
        vocab: &Vocab,
        source: &str,
        cancel: &CancelToken,
    ) -> Result<Arc<Templates>> {
        let recent = || self.of_requests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = recent().get(source) {
            return Ok(Arc::clone(known));
        }
        let compiled = Arc::new(Templates::of_option(vocab, source, cancel)?);
        recent().add(source.to_owned(), Arc::clone(&compiled));
        Ok(compiled)
    }
}
