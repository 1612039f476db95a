//! Prompt templates: Jinja, which the engine renders, and Go's, which is turned into Jinja.
//!
//! Ollama's templates come in two shapes. One goes through `.Messages`. The other has the text of one
//! turn, `.System`, `.Prompt` and `.Response`, and is rendered for each turn; for the last one, all
//! after `.Response` is left out, since the model goes on there.
//!
//! `kind.rs` has the types of Ollama's data, which say what a value prints as and which fields it has.
//! What is written has no white space between its tags, so it means the same whatever a renderer does
//! with that. It is for Jinja as models' templates use it: with loop controls, methods of Python,
//! `raise_exception`, `strftime_now`, and a `tojson` that escapes what JSON needs alone.

mod emit;
mod functions;
mod kind;
mod parse;
mod print;
mod printf;
#[cfg(test)]
mod tests;

use crate::{Error, ErrorKind, Result};

/// A prompt template.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Template {
    /// Jinja, as in GGUF files.
    Jinja(String),
    /// Go's language, as in Ollama's models.
    Go(String),
}

impl Template {
    /// Tells which language it is in.
    ///
    /// Gives `InvalidArgument` for one that is in neither.
    pub fn parse(text: &str) -> Result<Self> {
        if text.contains("{%") {
            return Ok(Self::Jinja(text.to_owned()));
        }
        parse::template(text).map_err(|problem| {
            Error::new(ErrorKind::InvalidArgument, format!("the template is damaged: {problem}"))
        })?;
        Ok(Self::Go(text.to_owned()))
    }

    /// The template in Jinja, for `messages` and `tools` in OpenAI's shape, `enable_thinking` and
    /// `reasoning_effort`.
    ///
    /// Gives `Unsupported`, with what it is and its line, for something in a Go template that cannot be
    /// turned.
    pub fn to_jinja(&self) -> Result<String> {
        match self {
            Self::Jinja(text) => Ok(text.clone()),
            Self::Go(text) => {
                parse::template(text).and_then(|parsed| emit::jinja(&parsed)).map_err(|problem| {
                    Error::new(
                        ErrorKind::Unsupported,
                        format!("the template cannot be used: {problem}"),
                    )
                    .with_hint(
                        "use a model whose GGUF file has a chat template, or write one in Jinja",
                    )
                })
            }
        }
    }
}
