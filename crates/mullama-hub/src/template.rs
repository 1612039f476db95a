//! Prompt templates: Jinja, which mullama renders, and Go templates, which are translated into
//! Jinja.
//!
//! Ollama's templates have two shapes. One iterates over `.Messages`. The other uses the text of
//! one turn (`.System`, `.Prompt` and `.Response`) and is rendered once per turn; for the last
//! turn, everything after `.Response` is omitted, because the model continues there.
//!
//! `kind.rs` describes the types of Ollama's data, which determine how a value prints and which
//! fields it has. The output has no white space between its tags, so it does not depend on the
//! renderer's settings for white space. It requires Jinja with the extensions that chat templates
//! use: loop controls, Python's methods, `raise_exception`, `strftime_now`, and a `tojson` that
//! escapes only what JSON requires.

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
    /// A Jinja template, as in GGUF files.
    Jinja(String),
    /// A Go template, as in Ollama's models.
    Go(String),
}

impl Template {
    /// Detects the language of a template.
    ///
    /// Returns `InvalidArgument` if it is neither Jinja nor a valid Go template.
    pub fn parse(text: &str) -> Result<Self> {
        if text.contains("{%") {
            return Ok(Self::Jinja(text.to_owned()));
        }
        parse::template(text).map_err(|problem| {
            Error::new(ErrorKind::InvalidArgument, format!("the template is damaged: {problem}"))
        })?;
        Ok(Self::Go(text.to_owned()))
    }

    /// The template in Jinja, for `messages` and `tools` in OpenAI's format, `enable_thinking` and
    /// `reasoning_effort`.
    ///
    /// Returns `Unsupported`, with the construct and its line, for a Go template that cannot be
    /// translated.
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
