//! The caller's functions that change logits.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::kind::{FlagForm, option_type};
use crate::Token;

/// Changes the logits before the samplers see them.
///
/// Functions `Fn(&[Token], &mut [f32]) -> Result<(), Box<dyn Error + Send + Sync>>` implement it:
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
    /// Changes the logits of the next token in place: one per token of the vocabulary. `tokens` are the prompt and the
    /// generated tokens; negative ones represent pictures. If it returns an error, or leaves NaN or positive infinity
    /// in the logits, the request fails with the kind `Callback`.
    ///
    /// It is called on the model's thread, so all requests of the model wait for it. It must not wait for a request of
    /// the same model.
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

/// Logits processors, in the order of their calls.
#[derive(Clone, Default)]
pub struct LogitsProcessors(pub Vec<Arc<dyn LogitsProcessor>>);

impl LogitsProcessors {
    /// Creates a list with one function.
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

/// Compares identity: the same processors in the same order.
impl PartialEq for LogitsProcessors {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

/// Functions cannot be serialised; the value is null.
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
