//! Results of generations.

use std::borrow::Cow;

use pyo3::PyTypeInfo;
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::types::PyNone;

use crate::chat::{Message, ToolCallDelta};
use crate::class::{self, Wrap, class};
use crate::hints::{Anything, FinishReason, StopKind, Typed};
use crate::json::Json;

class! {
    /// Token counts of a request.
    #[eq]
    #[pickle(Self)]
    Usage(mullama::Usage) {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Prompt tokens that were reused from the cache.
        cached_tokens: u32,
        /// Prompt tokens that are of pictures.
        image_tokens: u32,
        /// Generated tokens, including a final end-of-generation token.
        completion_tokens: u32,
        /// Generated tokens that were reasoning, without its tags; only for chats.
        reasoning_tokens: u32,
        /// Drafted tokens: by a draft model or by prompt lookup.
        drafted_tokens: u32,
        /// Drafted tokens that were accepted.
        accepted_tokens: u32,
        /// The oldest messages of a chat, which `overflow` left out of the prompt or replaced by a
        /// summary.
        dropped_messages: u32,
        /// Tokens that `overflow` left out of the prompt, or dropped from the context.
        dropped_tokens: u32,
    }
}

class! {
    /// The exact reason why a generation ended.
    #[eq]
    #[pickle(Self)]
    StopReason(mullama::StopReason) {
        /// The kind of reason: `stop_text`, `end_token`, `max_tokens`, `context_size`, `timeout` or
        /// `cancelled`.
        kind: Json<StopKind>,
        /// The stop sequence that was found, or the text of the end token.
        text: Option<String>,
        /// The end token.
        token: Option<mullama::Token>,
    }
}

class! {
    /// The progress of prompt processing.
    #[eq]
    #[pickle(Self)]
    PromptProgress(mullama::PromptProgress) {
        /// Tokens processed so far, including those from the cache.
        computed: u32,
        /// Tokens of the prompt.
        total: u32,
        /// Tokens that were reused from the cache.
        cached: u32,
    }
}

class! {
    /// Times of a request, in milliseconds, and rates, in tokens per second.
    #[eq]
    #[pickle(Self)]
    Timings(mullama::Timings) {
        /// From the call to the start of prompt processing.
        queue_ms: f64,
        /// Prompt processing.
        prompt_ms: f64,
        /// From the call to the first token.
        first_token_ms: f64,
        /// From the call to the end.
        total_ms: f64,
        /// Prompt tokens per second of prompt processing.
        prompt_tps: f64,
        /// Generated tokens per second, after the first one.
        decode_tps: f64,
    }
}

class! {
    /// A token that was generated, with its log probability.
    #[eq]
    #[pickle(Self)]
    TokenLogprob(mullama::TokenLogprob) {
        /// The token.
        token: mullama::Token,
        /// Its text; a part of a character shows as U+FFFD.
        text: String,
        /// Its bytes.
        bytes: Cow<'static, [u8]>,
        /// Natural logarithm of its probability, before sampling options are applied.
        logprob: f32,
        /// The most likely tokens at this position, most likely first.
        top: Vec<TopLogprob>,
    }
}

class! {
    /// One of the most likely tokens at a position.
    #[eq]
    #[pickle(Self)]
    TopLogprob(mullama::TopLogprob) {
        /// The token.
        token: mullama::Token,
        /// Its text; a part of a character shows as U+FFFD.
        text: String,
        /// Its bytes.
        bytes: Cow<'static, [u8]>,
        /// Natural logarithm of its probability, before sampling options are applied.
        logprob: f32,
    }
}

class! {
    /// A finished answer. `str(completion)` is its text.
    #[eq, subclass]
    #[pickle(Self)]
    Completion(mullama::Completion), repr(text, finish_reason, usage) {
        /// The text, without the stop sequence that ended it.
        text: String,
        /// All generated tokens.
        tokens: Vec<mullama::Token>,
        /// Why the generation ended: `stop`, `length`, `tool_calls` or `cancelled`.
        finish_reason: Json<FinishReason>,
        /// The exact reason: the stop sequence, end token or limit.
        stop_reason: StopReason,
        /// Tokens that the request took.
        usage: Usage,
        /// Times and rates.
        timings: Timings,
        /// Log probabilities, if requested.
        logprobs: Option<Vec<TokenLogprob>>,
    }
    methods {
        fn __str__(&self) -> &str {
            &self.0.text
        }

        fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<String> {
            class::repr_html(slf)
        }
    }
}

class! {
    /// A finished chat answer: a completion with its message. Its `text` is the content, without
    /// reasoning and tool calls.
    #[eq, extends = Completion]
    #[pickle(Answer)]
    ChatCompletion(mullama::ChatCompletion), repr(message, finish_reason, usage) {
        /// The answer, ready to be appended to the messages of the next turn.
        message: Message,
    }
    methods {
        /// The answer as a value of the type that was given as `response_format`: a model of Pydantic, a
        /// dataclass, a `TypedDict` or another type. None where no type was given, and in a copy from `pickle`.
        ///
        /// Raises `InvalidArgumentError` where the answer was ended before it was complete.
        #[getter]
        fn parsed<'py>(&self, py: Python<'py>) -> PyResult<Typed<'py, Anything>> {
            let Some(response_type) = self.0.companion.get::<Py<PyAny>>() else {
                return Ok(Typed::new(PyNone::get(py).to_owned()));
            };
            let stop_kind = self.0.stop_reason.kind.name();
            let value = response_type.bind(py).call_method1("read", (&self.0.text, stop_kind))?;
            Ok(Typed::new(value))
        }
    }
}

/// A [`ChatCompletion`] that has not become a Python object yet.
pub struct Answer(mullama::ChatCompletion);

impl Wrap<mullama::ChatCompletion> for Answer {
    fn wrap(core: mullama::ChatCompletion) -> Self {
        Self(core)
    }
}

impl<'py> IntoPyObject<'py> for Answer {
    type Target = ChatCompletion;
    type Output = Bound<'py, ChatCompletion>;
    type Error = PyErr;

    const OUTPUT_TYPE: PyStaticExpr = ChatCompletion::TYPE_HINT;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        let base = Completion(self.0.completion.clone());
        Bound::new(py, PyClassInitializer::from(base).add_subclass(ChatCompletion(self.0)))
    }
}

class! {
    /// A chunk of an answer that is being generated. `str(chunk)` is its text.
    #[eq]
    #[pickle(Self)]
    Chunk(mullama::Chunk), repr(text, completion) {
        /// New text: whole characters, never part of a stop sequence. May be empty in the last
        /// chunk.
        text: String,
        /// Log probabilities of the new tokens, if requested.
        logprobs: Option<Vec<TokenLogprob>>,
        /// The progress of prompt processing, in chunks before the first token, if
        /// `prompt_progress` is set.
        progress: Option<PromptProgress>,
        /// The complete answer; only in the last chunk.
        completion: Option<Completion>,
    }
    methods {
        fn __str__(&self) -> &str {
            &self.0.text
        }
    }
}

class! {
    /// A chunk of a chat answer that is being generated. `str(chunk)` is its text.
    #[eq]
    #[pickle(Self)]
    ChatChunk(mullama::ChatChunk) {
        /// New text of the answer.
        text: String,
        /// New text of the reasoning before the answer.
        reasoning: String,
        /// New parts of tool calls.
        tool_calls: Vec<ToolCallDelta>,
        /// Log probabilities of all tokens since the last chunk, if requested, including those of
        /// reasoning, tool calls and tags.
        logprobs: Option<Vec<TokenLogprob>>,
        /// The progress of prompt processing, in chunks before the first token, if
        /// `prompt_progress` is set.
        progress: Option<PromptProgress>,
        /// The complete answer; only in the last chunk.
        completion: Option<Answer>,
    }
    methods {
        fn __str__(&self) -> &str {
            &self.0.text
        }
    }
}
