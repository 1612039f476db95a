//! What a generation gives.

use pyo3::prelude::*;
use pyo3::types::PyAny;

use crate::chat::{Message, ToolCallDelta};
use crate::json;

/// `Usage(prompt_tokens=3, ...)`: the class of an object, and these of its attributes.
pub fn repr<T>(object: &Bound<'_, T>, attributes: &[&str]) -> PyResult<String> {
    let object = object.as_any();
    let attributes: Vec<_> = attributes
        .iter()
        .map(|name| Ok(format!("{name}={}", object.getattr(*name)?.repr()?)))
        .collect::<PyResult<_>>()?;
    Ok(format!("{}({})", object.get_type().name()?, attributes.join(", ")))
}

/// Tokens that a request took.
#[pyclass(frozen, eq, get_all, module = "mullama")]
#[derive(PartialEq)]
#[allow(clippy::struct_field_names, reason = "these are OpenAI's names")]
pub struct Usage {
    /// Tokens of the prompt.
    prompt_tokens: u32,
    /// Tokens of the prompt that had been computed before.
    cached_tokens: u32,
    /// Tokens that were generated; a closing end-of-generation token counts.
    completion_tokens: u32,
}

#[pymethods]
impl Usage {
    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["prompt_tokens", "cached_tokens", "completion_tokens"])
    }
}

impl From<mullama::Usage> for Usage {
    fn from(usage: mullama::Usage) -> Self {
        let mullama::Usage { prompt_tokens, cached_tokens, completion_tokens } = usage;
        Self { prompt_tokens, cached_tokens, completion_tokens }
    }
}

/// Times of a request, in milliseconds, and rates, in tokens per second.
#[pyclass(frozen, eq, get_all, module = "mullama")]
#[derive(PartialEq)]
pub struct Timings {
    /// From the call to the start of the prompt's computation.
    queue_ms: f64,
    /// The prompt's computation.
    prompt_ms: f64,
    /// From the call to the first token.
    first_token_ms: f64,
    /// From the call to the end.
    total_ms: f64,
    /// Tokens of the prompt per second of its computation.
    prompt_tps: f64,
    /// Tokens after the first per second.
    decode_tps: f64,
}

#[pymethods]
impl Timings {
    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(
            slf,
            &["queue_ms", "prompt_ms", "first_token_ms", "total_ms", "prompt_tps", "decode_tps"],
        )
    }
}

impl From<mullama::Timings> for Timings {
    fn from(timings: mullama::Timings) -> Self {
        let mullama::Timings {
            queue_ms,
            prompt_ms,
            first_token_ms,
            total_ms,
            prompt_tps,
            decode_tps,
        } = timings;
        Self { queue_ms, prompt_ms, first_token_ms, total_ms, prompt_tps, decode_tps }
    }
}

/// A token that was generated, with its log probability.
#[pyclass(frozen, eq, module = "mullama")]
#[derive(PartialEq)]
pub struct TokenLogprob(mullama::TokenLogprob);

#[pymethods]
impl TokenLogprob {
    /// The token.
    #[getter]
    fn token(&self) -> mullama::Token {
        self.0.token
    }

    /// Its text; a part of a character shows as U+FFFD.
    #[getter]
    fn text(&self) -> &str {
        &self.0.text
    }

    /// Natural logarithm of its probability, before any sampling option.
    #[getter]
    fn logprob(&self) -> f32 {
        self.0.logprob
    }

    /// The likeliest tokens at its place, likeliest first.
    #[getter]
    fn top(&self) -> Vec<TopLogprob> {
        self.0.top.iter().cloned().map(TopLogprob).collect()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["token", "text", "logprob", "top"])
    }
}

/// One of the likeliest tokens at a place.
#[pyclass(frozen, eq, module = "mullama")]
#[derive(PartialEq)]
pub struct TopLogprob(mullama::TopLogprob);

#[pymethods]
impl TopLogprob {
    /// The token.
    #[getter]
    fn token(&self) -> mullama::Token {
        self.0.token
    }

    /// Its text; a part of a character shows as U+FFFD.
    #[getter]
    fn text(&self) -> &str {
        &self.0.text
    }

    /// Natural logarithm of its probability, before any sampling option.
    #[getter]
    fn logprob(&self) -> f32 {
        self.0.logprob
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["token", "text", "logprob"])
    }
}

fn logprobs(logprobs: Option<&Vec<mullama::TokenLogprob>>) -> Option<Vec<TokenLogprob>> {
    logprobs.map(|list| list.iter().cloned().map(TokenLogprob).collect())
}

/// A finished answer. `str(completion)` is its text.
#[pyclass(frozen, subclass, module = "mullama")]
pub struct Completion(pub mullama::Completion);

#[pymethods]
impl Completion {
    /// The text, without the stop text that ended it.
    #[getter]
    fn text(&self) -> &str {
        &self.0.text
    }

    /// Every token that was generated.
    #[getter]
    fn tokens(&self) -> Vec<mullama::Token> {
        self.0.tokens.clone()
    }

    /// Why the generation ended: `stop`, `length`, `tool_calls` or `cancelled`.
    #[getter]
    fn finish_reason(&self) -> &'static str {
        self.0.finish_reason.name()
    }

    /// Tokens that the request took.
    #[getter]
    fn usage(&self) -> Usage {
        self.0.usage.into()
    }

    /// Times and rates.
    #[getter]
    fn timings(&self) -> Timings {
        self.0.timings.into()
    }

    /// Log probabilities, where they were asked for.
    #[getter]
    fn logprobs(&self) -> Option<Vec<TokenLogprob>> {
        logprobs(self.0.logprobs.as_ref())
    }

    /// Everything as plain Python, to be written as JSON.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json::to_python(py, &self.0)
    }

    fn __str__(&self) -> &str {
        &self.0.text
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["text", "finish_reason", "usage"])
    }
}

/// A finished answer of a chat: a completion with its message. Its `text` is the answer's content,
/// without reasoning and tool calls.
#[pyclass(frozen, extends = Completion, module = "mullama")]
pub struct ChatCompletion(pub mullama::ChatCompletion);

#[pymethods]
impl ChatCompletion {
    /// The answer, to be added to the messages of the next turn.
    #[getter]
    fn message(&self) -> Message {
        Message(self.0.message.clone())
    }

    /// Everything as plain Python, to be written as JSON.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json::to_python(py, &self.0)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["message", "finish_reason", "usage"])
    }
}

/// A [`ChatCompletion`] that is still to become a Python object.
pub struct Answer(pub mullama::ChatCompletion);

impl<'py> IntoPyObject<'py> for Answer {
    type Target = ChatCompletion;
    type Output = Bound<'py, ChatCompletion>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        let base = Completion(self.0.completion.clone());
        Bound::new(py, PyClassInitializer::from(base).add_subclass(ChatCompletion(self.0)))
    }
}

/// A piece of an answer that is being generated. `str(chunk)` is its text.
#[pyclass(frozen, module = "mullama")]
pub struct Chunk(pub mullama::Chunk);

#[pymethods]
impl Chunk {
    /// New text: whole characters, never any part of a stop text. Empty in a last chunk that has
    /// nothing to add.
    #[getter]
    fn text(&self) -> &str {
        &self.0.text
    }

    /// Log probabilities of the new tokens, where they were asked for.
    #[getter]
    fn logprobs(&self) -> Option<Vec<TokenLogprob>> {
        logprobs(self.0.logprobs.as_ref())
    }

    /// The whole answer, in the last chunk.
    #[getter]
    fn completion(&self) -> Option<Completion> {
        self.0.completion.clone().map(Completion)
    }

    fn __str__(&self) -> &str {
        &self.0.text
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["text", "completion"])
    }
}

/// What is new in an answer of a chat that is being generated. `str(chunk)` is its text.
#[pyclass(frozen, module = "mullama")]
pub struct ChatChunk(pub mullama::ChatChunk);

#[pymethods]
impl ChatChunk {
    /// New text of the answer.
    #[getter]
    fn text(&self) -> &str {
        &self.0.text
    }

    /// New text of the reasoning before the answer.
    #[getter]
    fn reasoning(&self) -> &str {
        &self.0.reasoning
    }

    /// What is new in tool calls.
    #[getter]
    fn tool_calls(&self) -> Vec<ToolCallDelta> {
        self.0.tool_calls.iter().cloned().map(ToolCallDelta).collect()
    }

    /// The whole answer, in the last chunk.
    #[getter]
    fn completion(&self) -> Option<Answer> {
        self.0.completion.clone().map(Answer)
    }

    fn __str__(&self) -> &str {
        &self.0.text
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["text", "reasoning", "tool_calls", "completion"])
    }
}
