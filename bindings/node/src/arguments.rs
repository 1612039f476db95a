//! Conversion of arguments, which `lib/arguments.ts` has validated.

use mullama::{ChatOptions, Error, ErrorKind, Message, Naming, OptionSet, Prompt, parse_options};
use napi::bindgen_prelude::{Either, FromNapiValue, Int32Array};
use napi::sys;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::argument_error;

/// Text that is valid Unicode.
pub type Text = String;

/// A prompt, or a text to embed.
pub type TextOrTokens = Either<String, Int32Array>;

pub fn prompt(prompt: TextOrTokens) -> Prompt {
    match prompt {
        Either::A(text) => text.into(),
        Either::B(tokens) => tokens.to_vec().into(),
    }
}

/// A value passed as JSON text: reading it takes one call of Node-API, and reading an object one
/// for each of its parts.
pub struct Json<T = Value>(pub T);

impl<T: DeserializeOwned> FromNapiValue for Json<T> {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        // SAFETY: the caller guarantees that `env` and `value` are valid.
        let text = unsafe { String::from_napi_value(env, value) }?;
        let problem = |error| Error::new(ErrorKind::Internal, format!("no JSON: {error}"));
        serde_json::from_str(&text).map(Self).map_err(|error| argument_error(&problem(error)))
    }
}

pub fn messages(messages: Json) -> napi::Result<Vec<Message>> {
    Message::list_from_json(messages.0).map_err(|error| argument_error(&error))
}

/// Options by name.
pub type Options = Json<Map<String, Value>>;

impl Options {
    /// Removes a boolean option and returns its value, or `default` if it is absent or null.
    pub fn take_flag(&mut self, name: &str, default: bool) -> napi::Result<bool> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(argument_error(&Error::option(name, "expected true or false"))),
        }
    }

    /// Removes a string option and returns its value.
    pub fn take_text(&mut self, name: &str) -> napi::Result<Option<String>> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(argument_error(&Error::option(name, "expected a string"))),
        }
    }

    /// Parses the remaining options into these sets. Fails for an option that none of them has.
    pub fn fill(self, sets: &mut [&mut dyn OptionSet]) -> napi::Result<()> {
        let is_function = |(_, value): &(&String, &Value)| value.get("$function").is_some();
        if let Some((name, _)) = self.0.iter().find(is_function) {
            // The name may be unknown.
            let unset = Map::from_iter([(name.clone(), Value::Null)]);
            parse_options(sets, unset, Naming::Camel).map_err(|error| argument_error(&error))?;
            let problem = "a function has no meaning here";
            return Err(argument_error(&Error::argument(name, problem)));
        }
        parse_options(sets, self.0, Naming::Camel).map_err(|error| argument_error(&error))
    }

    /// Parses the remaining options as one set.
    pub fn parse<T: OptionSet + Default>(self) -> napi::Result<T> {
        let mut set = T::default();
        self.fill(&mut [&mut set])?;
        Ok(set)
    }

    /// Parses the remaining options as those of a chat.
    pub fn parse_chat(self) -> napi::Result<ChatOptions> {
        let mut parsed = ChatOptions::default();
        let [generate, chat] = parsed.option_sets();
        self.fill(&mut [generate, chat])?;
        Ok(parsed)
    }
}
