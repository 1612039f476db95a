//! A caller's own changes to logits.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::kind::{FlagForm, option_type};
use crate::Token;

/// Changes the logits before the samplers see them.
///
/// A function `Fn(&[Token], &mut [f32]) -> Result<(), Box<dyn Error + Send + Sync>>` is one:
///
/// ```
/// use mullama_core::{GenerateOptions, LogitsProcessors};
///
/// let never_5 = LogitsProcessors::from_fn(|_tokens, logits| {
///     logits[5] = f32::NEG_INFINITY;
///     Ok(())
/// });
/// let options = GenerateOptions::default().with_logits_processors(never_5);
/// assert_eq!(options.logits_processors.unwrap().0.len(), 1);
/// ```
pub trait LogitsProcessor: Send + Sync {
    /// Changes the logits of the next token, one for each token of the vocabulary. `tokens` are the prompt and what
    /// has been generated; negative ones stand for pictures. An error ends the request with the kind `Callback`, and
    /// so do values that are not numbers.
    ///
    /// It is called on the model's thread: all requests of the model wait for it. It must not wait for requests of the
    /// same model.
    fn process(
        &self,
        tokens: &[Token],
        logits: &mut [f32],
    ) -> Result<(), Box<dyn StdError + Send + Sync>>;
}

impl<F> LogitsProcessor for F
where
    F: Fn(&[Token], &mut [f32]) -> Result<(), Box<dyn StdError + Send + Sync>> + Send + Sync,
{
    fn process(
        &self,
        tokens: &[Token],
        logits: &mut [f32],
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        self(tokens, logits)
    }
}

/// Processors of logits, in the order in which they are called.
#[derive(Clone, Default)]
pub struct LogitsProcessors(pub Vec<Arc<dyn LogitsProcessor>>);

impl LogitsProcessors {
    /// One processor, which is a function.
    pub fn from_fn(
        process: impl Fn(&[Token], &mut [f32]) -> Result<(), Box<dyn StdError + Send + Sync>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(vec![Arc::new(process)])
    }
}

impl<P: LogitsProcessor + 'static> From<Arc<P>> for LogitsProcessors {
    fn from(processor: Arc<P>) -> Self {
        Self(vec![processor])
    }
}

impl From<Vec<Arc<dyn LogitsProcessor>>> for LogitsProcessors {
    fn from(processors: Vec<Arc<dyn LogitsProcessor>>) -> Self {
        Self(processors)
    }
}

impl fmt::Debug for LogitsProcessors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogitsProcessors({})", self.0.len())
    }
}

/// The same processors, not equal ones.
impl PartialEq for LogitsProcessors {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

/// Functions are not data.
impl Serialize for LogitsProcessors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_none()
    }
}

impl<'de> Deserialize<'de> for LogitsProcessors {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("expected a function, or a list of functions"))
    }
}

option_type! {
    LogitsProcessors:
        "LogitsProcessor | Sequence[LogitsProcessor]",
        "LogitsProcessor | LogitsProcessor[]",
        FlagForm::None;
}
