//! The input of a generation.

use crate::Token;

/// A prompt: text, or tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Text. Special tokens written in it are parsed, and the model's own (such as a beginning of
    /// sequence) are added.
    Text(String),
    /// Tokens, used unchanged.
    Tokens(Vec<Token>),
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Prompt {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<Vec<Token>> for Prompt {
    fn from(tokens: Vec<Token>) -> Self {
        Self::Tokens(tokens)
    }
}

impl From<&[Token]> for Prompt {
    fn from(tokens: &[Token]) -> Self {
        Self::Tokens(tokens.to_vec())
    }
}
