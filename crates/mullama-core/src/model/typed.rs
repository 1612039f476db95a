//! Answers that are values of a Rust type.

use std::ops::Deref;

use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::handle::Model;
use crate::chat::{ChatCompletion, Message};
use crate::options::ChatOptions;
use crate::scheduler::StopKind;
use crate::{Error, ErrorKind, Result};
use mullama_base::Text;

/// A finished chat answer with its parsed value. It derefs to the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TypedCompletion<T> {
    /// The parsed value.
    pub parsed: T,
    /// The answer itself.
    #[serde(flatten)]
    pub completion: ChatCompletion,
}

impl<T> Deref for TypedCompletion<T> {
    type Target = ChatCompletion;

    fn deref(&self) -> &ChatCompletion {
        &self.completion
    }
}

impl Model {
    /// Answers with a value: the answer matches the type's JSON schema and is deserialised. The
    /// option `json_schema` overrides the type's own schema.
    ///
    /// Fails as [`ErrorKind::InvalidGrammar`] if the type's schema cannot be enforced, or the type
    /// rejects a value that its schema allows, and as [`ErrorKind::InvalidArgument`] if the answer
    /// was cut short.
    pub fn chat_as<T: JsonSchema + DeserializeOwned>(
        &self,
        messages: &[Message],
        options: &ChatOptions,
    ) -> Result<TypedCompletion<T>> {
        read(self.chat(messages, &with_schema_of::<T>(options))?)
    }

    /// Like [`Model::chat_as`], without blocking the thread.
    pub async fn chat_as_async<T: JsonSchema + DeserializeOwned>(
        &self,
        messages: &[Message],
        options: &ChatOptions,
    ) -> Result<TypedCompletion<T>> {
        read(self.chat_async(messages, &with_schema_of::<T>(options)).await?)
    }
}

fn with_schema_of<T: JsonSchema>(options: &ChatOptions) -> ChatOptions {
    let mut options = options.clone();
    let schema = SchemaGenerator::default().into_root_schema_for::<T>();
    options.generate.json_schema.get_or_insert_with(|| schema.into());
    options
}

fn read<T: DeserializeOwned>(completion: ChatCompletion) -> Result<TypedCompletion<T>> {
    match serde_json::from_str(&completion.text) {
        Ok(parsed) => Ok(TypedCompletion { parsed, completion }),
        Err(error) => Err(refuse(&completion, &error)),
    }
}

fn refuse(completion: &ChatCompletion, error: &serde_json::Error) -> Error {
    let kind = completion.stop_reason.kind;
    let is_whole = matches!(kind, StopKind::EndToken | StopKind::StopText);
    let error = if is_whole {
        let message = format!("the answer cannot be read as the type: {error}");
        Error::new(ErrorKind::InvalidGrammar, message)
            .with_hint("the type must accept every value that its JSON schema allows")
    } else {
        let message = "the answer ended before it was complete";
        Error::new(ErrorKind::InvalidArgument, message).with_hint(Text::with_names(
            "raise {max_tokens}, or limit the length of texts and lists in the schema",
        ))
    };
    error.with_context("answer", &completion.text)
}
