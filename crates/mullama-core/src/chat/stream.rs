//! The answer of a chat as it is generated.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream as AsyncStream;
use mullama_sys::shim::ChatParser;

use super::message::{Content, Message, Role, ToolCall};
use super::results::{ChatChunk, ChatCompletion, ToolCallDelta};
use crate::engine::Vocab;
use crate::options::Companion;
use crate::scheduler::{Chunk, FinishReason, Stream, TokenLogprob};
use crate::{CancelToken, Error, ErrorKind, Result, Token};

/// An answer of a chat while it is being generated: an iterator of chunks, blocking or
/// asynchronous.
///
/// The last chunk has the whole [`ChatCompletion`]. Dropping the stream cancels the generation.
pub struct ChatStream {
    stream: Stream,
    parser: ChatParser,
    pieces: Pieces,
    companion: Companion,
    /// The model's output so far.
    raw: String,
    /// Log probabilities not delivered yet.
    logprobs: Option<Vec<TokenLogprob>>,
    /// The message delivered so far, including the prefill.
    message: Message,
    /// The text and the reasoning of the prefill.
    prefill: (String, String),
    completion: Option<ChatCompletion>,
    /// Earliest time of the next parse: see [`PARSING_SHARE`].
    parse_after: Option<Instant>,
}

/// The complete answer is parsed again for new pieces, which takes longer as it grows. Pieces are collected so that
/// parsing takes at most one part in `PARSING_SHARE` of the time.
const PARSING_SHARE: u32 = 20;

impl fmt::Debug for ChatStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatStream").field("completion", &self.completion).finish_non_exhaustive()
    }
}

impl ChatStream {
    /// `begun`: the start of the answer (the prefill), if the prompt ends with it.
    pub(crate) fn new(
        stream: Stream,
        parser: ChatParser,
        pieces: Pieces,
        companion: Companion,
        begun: Option<Message>,
    ) -> Self {
        let message = Message { content: None, ..Message::assistant("") };
        let (raw, prefill) = <(String, (String, String))>::default();
        let (completion, parse_after) = (None, None);
        let logprobs = None;
        let mut chat = Self {
            stream,
            parser,
            pieces,
            companion,
            raw,
            logprobs,
            message,
            prefill,
            completion,
            parse_after,
        };
        if let Some(begun) = begun {
            chat.advance_to(begun);
            let reasoning = chat.message.reasoning.clone().unwrap_or_default();
            chat.prefill = (chat.message.text(), reasoning);
        }
        chat
    }

    /// Waits for the next chunk; `None` after the last.
    pub fn next_chunk(&mut self) -> Option<Result<ChatChunk>> {
        loop {
            let chunk = self.stream.next_chunk()?;
            if let Some(news) = self.receive_chunk(chunk) {
                return Some(news);
            }
        }
    }

    /// As [`Stream::next_chunk_within`].
    #[allow(clippy::result_unit_err, reason = "there is nothing to say about a wait")]
    pub fn next_chunk_within(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<Result<ChatChunk>>, ()> {
        let until = Instant::now() + timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Some(chunk) = self.stream.next_chunk_within(left)? else { return Ok(None) };
            if let Some(news) = self.receive_chunk(chunk) {
                return Ok(Some(news));
            }
        }
    }

    /// The next chunk, if it is already available.
    pub fn ready_chunk(&mut self) -> Option<Result<ChatChunk>> {
        loop {
            let chunk = self.stream.ready_chunk()?;
            if let Some(news) = self.receive_chunk(chunk) {
                return Some(news);
            }
        }
    }

    /// As [`Self::next_chunk`], without blocking the thread.
    pub async fn next_chunk_async(&mut self) -> Option<Result<ChatChunk>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Cancels the generation; the partial answer is still delivered, with the finish reason
    /// `cancelled`.
    pub fn cancel(&self) {
        self.stream.cancel();
    }

    /// A token that cancels the generation from any thread.
    pub fn cancel_token(&self) -> CancelToken {
        self.stream.cancel_token()
    }

    /// The complete answer, after the last chunk.
    pub fn completion(&self) -> Option<&ChatCompletion> {
        self.completion.as_ref()
    }

    /// Waits for the end and returns the complete answer.
    pub fn finish(mut self) -> Result<ChatCompletion> {
        while let Some(chunk) = self.stream.next_chunk() {
            self.append_unparsed(chunk?);
        }
        self.into_completion()
    }

    /// As [`Self::finish`], without blocking the thread.
    pub async fn finish_async(mut self) -> Result<ChatCompletion> {
        while let Some(chunk) = self.stream.next_chunk_async().await {
            self.append_unparsed(chunk?);
        }
        self.into_completion()
    }

    /// Adds a piece of text; only the last one is parsed.
    fn append_unparsed(&mut self, chunk: Chunk) {
        if chunk.completion.is_some() {
            self.parse_chunk(chunk);
        } else {
            self.add(chunk);
        }
    }

    fn into_completion(mut self) -> Result<ChatCompletion> {
        self.completion.take().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "the engine's thread ended without an answer")
        })
    }

    /// Processes a piece and returns the chunk to deliver, if it is time to parse.
    fn receive_chunk(&mut self, chunk: Result<Chunk>) -> Option<Result<ChatChunk>> {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => return Some(Err(error)),
        };
        if chunk.progress.is_some() {
            return Some(Ok(ChatChunk { progress: chunk.progress, ..ChatChunk::default() }));
        }
        let begun = Instant::now();
        if chunk.completion.is_none() && self.parse_after.is_some_and(|after| begun < after) {
            self.add(chunk);
            return None;
        }
        let news = self.parse_chunk(chunk);
        self.parse_after = Some(begun + begun.elapsed() * PARSING_SHARE);
        Some(Ok(news))
    }

    /// Adds the text and log probabilities of a piece.
    fn add(&mut self, chunk: Chunk) {
        self.raw.push_str(&chunk.text);
        if let Some(new) = chunk.logprobs {
            self.logprobs.get_or_insert_default().extend(new);
        }
    }

    /// Parses the text including this piece and returns what is new in the message.
    fn parse_chunk(&mut self, mut chunk: Chunk) -> ChatChunk {
        let whole = chunk.completion.take();
        self.add(chunk);
        let ended_early =
            whole.as_ref().is_some_and(|completion| completion.finish_reason != FinishReason::Stop);
        let is_partial = whole.is_none() || ended_early;
        let message = self.parse(is_partial);
        let mut news = self.advance_to(message);
        news.logprobs = self.logprobs.take();
        if let Some(mut completion) = whole {
            let message = self.without_prefill();
            if let Some(reasoning) = &message.reasoning {
                completion.usage.reasoning_tokens =
                    self.pieces.tokens_within(&completion.tokens, &self.raw, reasoning);
            }
            completion.text = message.text();
            if completion.finish_reason == FinishReason::Stop && !message.tool_calls.is_empty() {
                completion.finish_reason = FinishReason::ToolCalls;
            }
            let companion = self.companion.clone();
            let completion = ChatCompletion { message, completion, companion };
            self.completion = Some(completion.clone());
            news.completion = Some(completion);
        }
        news
    }

    /// The part of the message that the model generated, without the prefill.
    fn without_prefill(&self) -> Message {
        fn strip_prefill<'a>(text: &'a str, prefill: &str) -> &'a str {
            text.strip_prefix(prefill).unwrap_or(text)
        }
        let mut message = self.message.clone();
        let (text, reasoning) = &self.prefill;
        if !text.is_empty() {
            message.content = Some(Content::Text(strip_prefill(&message.text(), text).to_owned()));
        }
        if let Some(thought) = message.reasoning.take() {
            let thought = strip_prefill(&thought, reasoning);
            message.reasoning = (!thought.is_empty()).then(|| thought.to_owned());
        }
        message
    }

    /// The message so far. An answer that is not in the format of the template is text.
    fn parse(&self, is_partial: bool) -> Message {
        let parsed = match parse_answer(&self.parser, &self.raw, is_partial) {
            // The parser ignores what does not match in a partial answer. The last character may be cut.
            Ok(message) if is_partial && is_empty(&message) => {
                let raw = self.raw.trim_end_matches(char::REPLACEMENT_CHARACTER);
                parse_answer(&self.parser, raw, false).map(|_| message)
            }
            parsed => parsed,
        };
        parsed.unwrap_or_else(|reason| {
            log::debug!("an answer does not follow the chat template and is text: {reason}");
            Message::assistant(self.prefill.0.clone() + &self.raw)
        })
    }

    /// Makes `parsed` the current message and returns what is new in it.
    fn advance_to(&mut self, parsed: Message) -> ChatChunk {
        let mut news = ChatChunk::default();

        let text = parsed.text();
        let before = self.message.text();
        // With more text, the parser may reinterpret text as a tag or a call. Delivered text cannot be taken back, so
        // nothing is delivered until the parsed text starts with it again.
        if let Some(new) = text.strip_prefix(before.as_str()) {
            new.clone_into(&mut news.text);
            self.message.content = (!text.is_empty()).then_some(Content::Text(text));
        }
        if let Some(reasoning) = parsed.reasoning {
            let before = self.message.reasoning.get_or_insert_default();
            if let Some(new) = reasoning.strip_prefix(before.as_str()) {
                new.clone_into(&mut news.reasoning);
                *before = reasoning;
            }
        }
        for (index, call) in parsed.tool_calls.into_iter().enumerate() {
            if let Some(known) = self.message.tool_calls.get_mut(index) {
                if let Some(new) = call.function.arguments.strip_prefix(&known.function.arguments)
                    && !new.is_empty()
                {
                    news.tool_calls.push(ToolCallDelta {
                        index,
                        id: None,
                        name: None,
                        arguments: new.to_owned(),
                    });
                    known.function.arguments = call.function.arguments;
                }
            } else {
                let id = if call.id.is_empty() { new_call_id() } else { call.id };
                news.tool_calls.push(ToolCallDelta {
                    index,
                    id: Some(id.clone()),
                    name: Some(call.function.name.clone()),
                    arguments: call.function.arguments.clone(),
                });
                self.message.tool_calls.push(ToolCall { id, ..call });
            }
        }
        self.message.role = Role::Assistant;
        news
    }
}

impl Iterator for ChatStream {
    type Item = Result<ChatChunk>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_chunk()
    }
}

impl AsyncStream for ChatStream {
    type Item = Result<ChatChunk>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match Pin::new(&mut self.stream).poll_next(cx) {
                Poll::Ready(Some(chunk)) => {
                    if let Some(news) = self.receive_chunk(chunk) {
                        return Poll::Ready(Some(news));
                    }
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Whether a message has neither text nor reasoning nor calls.
pub(super) fn is_empty(message: &Message) -> bool {
    message.text().is_empty() && message.reasoning.is_none() && message.tool_calls.is_empty()
}

/// Parses the text of an answer, together with the start that the prompt ends with. Returns the reason if it fails.
pub(super) fn parse_answer(
    parser: &ChatParser,
    text: &str,
    is_partial: bool,
) -> std::result::Result<Message, String> {
    let parsed = parser.parse(text, is_partial)?;
    serde_json::from_str(&parsed).map_err(|error| error.to_string())
}

/// Converts tokens of an answer to text.
pub(crate) struct Pieces {
    pub vocab: Vocab,
    /// Special tokens whose text is part of the answer.
    pub preserved: Vec<Token>,
}

impl Pieces {
    /// Number of tokens that overlap with `part` in `raw`, the text of `tokens`.
    fn tokens_within(&self, tokens: &[Token], raw: &str, part: &str) -> u32 {
        let part = part.trim();
        let Some(start) = raw.find(part).filter(|_| !part.is_empty()) else { return 0 };
        let (mut at, mut piece) = (0, Vec::new());
        let overlaps = |&&token: &&Token| {
            self.vocab.piece(token, self.preserved.contains(&token), &mut piece);
            let before = at;
            at += piece.len();
            at > start && before < start + part.len()
        };
        tokens.iter().filter(overlaps).count() as u32
    }
}

/// Returns an id that is unique in this process, and almost certainly across processes.
fn new_call_id() -> String {
    // Each `RandomState` has its own keys.
    format!("call_{:016x}", RandomState::new().hash_one("tool call"))
}
