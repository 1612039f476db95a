//! The model that a user means: its file, and what the store says beside it.

use std::path::PathBuf;

use mullama::hub::{Source, Store, StoredModel};
use mullama::{Error, ErrorKind, GgufHeader, Message, resolve};
use serde_json::{Map, Value};

/// A model that is there.
pub struct Found {
    /// The file to load.
    pub path: PathBuf,
    /// The model of the store that the file is of.
    pub stored: Option<StoredModel>,
}

impl Found {
    /// Finds a file, the built-in model, or a model of the store.
    pub fn find(source: &str) -> Result<Self, Error> {
        let path = resolve(source)?;
        let named = || Store::open().ok()?.find_source(&Source::parse(source).ok()?).ok();
        let stored = named().filter(|model| model.path == path);
        Ok(Self { path, stored })
    }

    /// The options that come with the model, by mullama's names.
    pub fn options(&self) -> Map<String, Value> {
        self.stored.as_ref().map(|model| model.parameters.to_options()).unwrap_or_default()
    }

    /// The system message that comes with the model.
    pub fn system(&self) -> Option<&str> {
        self.stored.as_ref()?.system.as_deref().filter(|text| !text.is_empty())
    }

    /// The messages that come before a chat's first.
    pub fn messages(&self) -> Result<Vec<Message>, Error> {
        let messages = self.stored.iter().flat_map(|model| &model.messages);
        Message::list_from_json(
            messages
                .map(|message| {
                    serde_json::json!({ "role": message.role, "content": message.content })
                })
                .collect(),
        )
    }

    /// The store's chat template, where the file has none.
    pub fn template(&self) -> Result<Option<String>, Error> {
        let Some(model) = &self.stored else { return Ok(None) };
        if model.template.is_none()
            || GgufHeader::read(&self.path)?.text("tokenizer.chat_template").is_some()
        {
            return Ok(None);
        }
        let hint = "give a Jinja template with --chat-template, or continue text with --raw";
        model.jinja().map_err(|error| Error::from(error).with_hint(hint))
    }

    /// Refuses what cannot be run as it is meant.
    pub fn check(&self) -> Result<(), Error> {
        match &self.stored {
            Some(model) if !model.adapters.is_empty() => Err(Error::new(
                ErrorKind::Unsupported,
                format!("{} has a LoRA adapter, which mullama cannot apply yet", model.name),
            )
            .with_hint("merge the adapter into the model")),
            _ => Ok(()),
        }
    }

    /// What a Modelfile calls it.
    pub fn from(&self) -> String {
        match &self.stored {
            Some(model) => model.name.to_string(),
            None => std::path::absolute(&self.path)
                .unwrap_or_else(|_| self.path.clone())
                .to_string_lossy()
                .into_owned(),
        }
    }
}
