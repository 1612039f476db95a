//! Stores conversations from one run to the next (`run --keep-context`).

use std::path::{Path, PathBuf};

use mullama::hub::Digest;
use mullama::{Error, ErrorKind, Message, ResolvedModel};
use mullama_base::{folders, read_file, write_durably};
use serde_json::{Map, Value, json};

use crate::source;

/// Maximum size of a stored conversation in bytes.
const MAX_SIZE: u64 = 256 << 20;

/// The content of a conversation.
pub struct Conversation {
    pub system: Option<String>,
    pub messages: Vec<Message>,
}

/// The file of the conversation with a model.
pub struct ConversationStore(PathBuf);

impl ConversationStore {
    /// The file for this model. Each model has its own.
    pub fn of(found: &ResolvedModel) -> Result<Self, Error> {
        let data = folders::data_dir().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "this user has no folder for conversations")
                .with_hint("set XDG_DATA_HOME to a folder, or leave --keep-context out")
        })?;
        let name = Digest::of(source::from(found).as_bytes()).short();
        Ok(Self(data.join("conversations").join(name + ".json")))
    }

    /// Reads the stored conversation, if there is one.
    pub fn read(&self) -> Result<Option<Conversation>, Error> {
        let bytes = match read_file(&self.0, MAX_SIZE) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::unreadable(&self.0, error)),
        };
        let damaged = |problem: &dyn std::fmt::Display| {
            Error::new(
                ErrorKind::Io,
                format!("the conversation in {} is damaged: {problem}", self.0.display()),
            )
            .with_hint("delete the file to start a new conversation")
        };
        let mut kept: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|error| damaged(&error))?;
        let messages = kept.remove("messages").ok_or_else(|| damaged(&"it has no messages"))?;
        let messages = Message::list_from_json(messages).map_err(|error| damaged(&error))?;
        let system = match kept.remove("system") {
            Some(Value::String(system)) => Some(system),
            None | Some(Value::Null) => None,
            Some(_) => return Err(damaged(&"its system message is not text")),
        };
        Ok(Some(Conversation { system, messages }))
    }

    /// Replaces the stored conversation.
    pub fn write(&self, system: Option<&str>, messages: &[Message]) -> Result<(), Error> {
        let text = json!({ "system": system, "messages": messages }).to_string();
        let folder = self.0.parent().unwrap_or(Path::new(""));
        std::fs::create_dir_all(folder)
            .and_then(|()| write_durably(&self.0, text.as_bytes()))
            .map_err(|error| Error::io("write the conversation to", &self.0, error))
    }
}
