//! The defaults of a model for requests: options, a system message, messages.

use std::borrow::Cow;

use crate::chat::{Message, Role};
use crate::options::{ContextParams, GenerateOptions, ModelParams};
use crate::source::ResolvedModel;
use crate::{Error, Result};
use mullama_gguf::GgufHeader;

/// The defaults of a stored model for requests.
#[derive(Default)]
pub(crate) struct ModelDefaults {
    /// Options that apply if a request does not set them.
    pub options: GenerateOptions,
    system: Option<Message>,
    messages: Vec<Message>,
}

impl ModelDefaults {
    /// Sets options that the caller left open to those stored with the model. Returns the defaults for requests, and
    /// the error of the chat template if it cannot be used.
    pub fn fill(
        model: &ResolvedModel,
        header: &GgufHeader,
        params: &mut ModelParams,
        context: &mut ContextParams,
    ) -> Result<(Self, Option<Error>)> {
        let options = model.fill_options(params, context)?;
        let system = model.system().map(Message::system);
        let defaults = Self { options, system, messages: model.messages()? };
        if params.chat_template.is_some() {
            return Ok((defaults, None));
        }
        let (template, unusable) = match model.chat_template(header) {
            Ok(template) => (template, None),
            Err(error) => (None, Some(error)),
        };
        params.chat_template = template;
        Ok((defaults, unusable))
    }

    /// Fills options that are not set.
    pub fn or(mut self, others: &GenerateOptions) -> Self {
        self.options.fill(others);
        self
    }

    /// The messages of a chat: the system message, unless the chat has its own, then those stored with the model, then
    /// the chat's.
    pub fn before<'a>(&self, messages: &'a [Message]) -> Cow<'a, [Message]> {
        let own = messages
            .first()
            .is_some_and(|first| matches!(first.role, Role::System | Role::Developer));
        let system = self.system.as_ref().filter(|_| !own);
        if system.is_none() && self.messages.is_empty() {
            return Cow::Borrowed(messages);
        }
        let (first, rest) = messages.split_at(usize::from(own));
        system.into_iter().chain(first).chain(&self.messages).chain(rest).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(messages: &[Message]) -> Vec<String> {
        messages.iter().map(Message::text).collect()
    }

    #[test]
    fn default_messages_precede_the_chat() {
        let defaults = ModelDefaults {
            system: Some(Message::system("S")),
            messages: vec![Message::user("U"), Message::assistant("A")],
            ..ModelDefaults::default()
        };
        let question = [Message::user("Q")];
        assert_eq!(texts(&defaults.before(&question)), ["S", "U", "A", "Q"]);
        let own = [Message::system("mine"), Message::user("Q")];
        assert_eq!(texts(&defaults.before(&own)), ["mine", "U", "A", "Q"]);
        assert_eq!(texts(&ModelDefaults::default().before(&question)), ["Q"]);
    }
}
