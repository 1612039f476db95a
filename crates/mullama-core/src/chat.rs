//! Chat: messages to a prompt through the model's template, and the answer back to a message.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream as AsyncStream;
use mullama_sys::shim::{ChatParser, ChatTemplates};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::completion::{Chunk, Completion, FinishReason};
use crate::message::{Content, Message, Role, ToolCall};
use crate::options::{OptionSet, options};
use crate::reasoning::ReasoningSpec;
use crate::sampling::{GenerateOptions, GrammarSpec, GrammarTriggers, schema_to_gbnf};
use crate::stream::Stream;
use crate::vocab::Vocab;
use crate::{CancelToken, Error, ErrorKind, Result, tool};

options! {
    /// What a chat takes beyond a generation's options.
    pub struct ChatFields in ChatOptions.chat {
        /// Tools that the model may call, in OpenAI's shape; functions too, in Python and Node.js.
        /// Default: none.
        tools <- Vec<Value>,
        /// Whether tools are called: `auto`, `none`, `required`, or one by name as
        /// `{"type": "function", "function": {"name": ...}}`. Default: `auto`.
        tool_choice <- Value,
        /// Whether several tools may be called in one answer. Default: false.
        parallel_tool_calls: bool,
        /// `{"type": "text"}`, `{"type": "json_object"}`, or `{"type": "json_schema", "json_schema":
        /// {"schema": ...}}`. Default: text.
        response_format <- Value,
        /// Whether a model that can reason does so before it answers. Default: true.
        reasoning: bool,
        /// Most tokens of reasoning: when they are spent, it is ended with the tag of the model's own
        /// template, and the answer follows. Default: none.
        reasoning_budget: u32,
        /// Arguments for the chat template. Default: none.
        template_kwargs <- Map<String, Value>,
    }
}

/// What a chat is to do: a generation's options, and a chat's own. It has the setters of both.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ChatOptions {
    /// Options that every generation has.
    pub generate: GenerateOptions,
    /// Options that only a chat has.
    pub chat: ChatFields,
}

impl ChatOptions {
    /// Sets the options that every generation has.
    #[must_use]
    pub fn with_generate(mut self, generate: GenerateOptions) -> Self {
        self.generate = generate;
        self
    }

    /// The options by name, for [`crate::parse_options`].
    pub fn option_sets(&mut self) -> [&mut dyn OptionSet; 2] {
        [&mut self.generate, &mut self.chat]
    }
}

impl From<GenerateOptions> for ChatOptions {
    fn from(generate: GenerateOptions) -> Self {
        Self::default().with_generate(generate)
    }
}

/// A finished answer of a chat: a [`Completion`] with its message.
#[derive(Debug, Clone, Serialize)]
pub struct ChatCompletion {
    /// The answer, to be added to the messages of the next turn.
    pub message: Message,
    /// The rest. Its `text` is the answer's content, without reasoning and tool calls.
    #[serde(flatten)]
    pub completion: Completion,
}

impl Deref for ChatCompletion {
    type Target = Completion;

    fn deref(&self) -> &Completion {
        &self.completion
    }
}

impl std::fmt::Display for ChatCompletion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.completion.text)
    }
}

/// What is new in an answer that is being generated. Its `Display` is its text.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChatChunk {
    /// New text of the answer.
    pub text: String,
    /// New text of the reasoning before the answer.
    pub reasoning: String,
    /// What is new in tool calls.
    pub tool_calls: Vec<ToolCallDelta>,
    /// The whole answer, in the last chunk.
    pub completion: Option<ChatCompletion>,
}

impl std::fmt::Display for ChatChunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is new in one tool call. The first delta of a call has its id and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToolCallDelta {
    /// Which of the answer's calls.
    pub index: usize,
    /// Names the call, for the result to refer to.
    pub id: Option<String>,
    /// The tool's name.
    pub name: Option<String>,
    /// New text of the arguments.
    pub arguments: String,
}

/// A rendered prompt, with what is needed to run it and to understand the answer.
pub(crate) struct Rendered {
    pub prompt: String,
    pub grammar: Option<GrammarSpec>,
    pub stops: Vec<String>,
    pub preserved: Vec<String>,
    pub reasoning: Option<ReasoningSpec>,
    pub parser: ChatParser,
    /// The last message is the beginning of the answer.
    pub continues: bool,
}

/// What the shim gives for a request.
#[derive(Deserialize)]
struct Applied {
    prompt: String,
    generation_prompt: String,
    grammar: String,
    grammar_lazy: bool,
    grammar_triggers: Vec<Trigger>,
    preserved_tokens: Vec<String>,
    additional_stops: Vec<String>,
    thinking_start: String,
    thinking_end: Vec<String>,
}

#[derive(Deserialize)]
struct Trigger {
    #[serde(rename = "type")]
    kind: String,
    value: String,
    token: i32,
}

/// Renders messages with the model's template. A last message of the assistant that says something is
/// the beginning of the answer, where there is to be one.
pub(crate) fn render(
    templates: &ChatTemplates,
    vocab: &Vocab,
    messages: &[Message],
    options: &ChatOptions,
    add_generation_prompt: bool,
) -> Result<Rendered> {
    if messages.is_empty() {
        return Err(Error::new(ErrorKind::InvalidArgument, "there are no messages"));
    }
    let continues = add_generation_prompt && messages.last().is_some_and(is_beginning);
    let beginning = messages.last().filter(|_| continues);
    let prefill = beginning.map(Message::text).unwrap_or_default();
    let messages: Vec<Value> = messages
        .iter()
        .enumerate()
        .map(|(index, message)| message.to_template_json(index))
        .collect::<Result<_>>()?;
    let mut request = json!({
        "messages": messages,
        "add_generation_prompt": add_generation_prompt,
        "continue_final_message": continues,
        "enable_thinking": options.chat.reasoning.unwrap_or(true),
        "parallel_tool_calls": options.chat.parallel_tool_calls.unwrap_or(false),
    });
    let chosen = tools(options)?;
    let with_tools = !chosen.tools.is_empty();
    if with_tools {
        request["tools"] = chosen.tools.into();
        request["tool_choice"] = chosen.choice.into();
    }
    if let Some(kwargs) = &options.chat.template_kwargs {
        request["template_kwargs"] = kwargs.clone().into();
    }
    let schema = output_schema(options)?;
    if let Some(schema) = &schema {
        request["json_schema"] = schema.clone();
    }
    if schema.is_some() && options.generate.grammar.is_some() {
        return Err(Error::option("grammar", "cannot be combined with a JSON schema"));
    }

    let template_error = |reason: String| {
        Error::new(ErrorKind::Template, format!("the chat template failed: {reason}"))
            .with_hint("check the messages, or give another template as `chat_template`")
    };
    let (applied, parser) = templates.apply(&request.to_string()).map_err(template_error)?;
    let applied: Applied =
        serde_json::from_str(&applied).map_err(|error| template_error(error.to_string()))?;
    if applied.prompt.is_empty() {
        return Err(template_error("it made nothing of the messages".to_owned()));
    }

    // The template's own grammar covers tools and schema alike; a caller's stands by itself.
    let grammar = match (&options.generate.grammar, applied.grammar.is_empty()) {
        (Some(gbnf), true) => Some(GrammarSpec { gbnf: gbnf.clone(), ..GrammarSpec::default() }),
        (Some(_), false) => {
            return Err(Error::option("grammar", "cannot be combined with tools"));
        }
        (None, false) => Some(GrammarSpec {
            gbnf: applied.grammar.clone(),
            lazy: applied.grammar_lazy.then(|| triggers(&applied.grammar_triggers, vocab)),
            prefill: applied.generation_prompt.clone(),
        }),
        (None, true) => schema
            .map(|schema| schema_to_gbnf(&schema))
            .transpose()?
            .map(|gbnf| GrammarSpec { gbnf, prefill, ..GrammarSpec::default() }),
    };
    let reasoning = reasoning_spec(options, &applied)?;
    Ok(Rendered {
        prompt: applied.prompt,
        grammar,
        reasoning,
        continues,
        stops: applied.additional_stops,
        preserved: applied.preserved_tokens,
        parser,
    })
}

/// Whether an answer can go on from a message: one of the assistant that says something and calls
/// nothing.
fn is_beginning(message: &Message) -> bool {
    message.role == Role::Assistant
        && message.tool_calls.is_empty()
        && (!message.text().is_empty()
            || message.reasoning.as_ref().is_some_and(|it| !it.is_empty()))
}

/// The bound on reasoning. Reasoning that is switched off has none left to begin with: a template need
/// not know of the switch.
fn reasoning_spec(options: &ChatOptions, applied: &Applied) -> Result<Option<ReasoningSpec>> {
    let off = options.chat.reasoning == Some(false);
    let budget = match options.chat.reasoning_budget {
        Some(budget) if !off => budget,
        None if !off => return Ok(None),
        _ => 0,
    };
    if applied.thinking_end.is_empty() {
        // A model that does not reason spends nothing.
        if applied.thinking_start.is_empty() || off {
            return Ok(None);
        }
        let message = "the model's template does not say how reasoning ends: it cannot be bounded";
        return Err(
            Error::new(ErrorKind::Unsupported, message).with_context("option", "reasoning_budget")
        );
    }
    Ok(Some(ReasoningSpec {
        budget,
        start: applied.thinking_start.clone(),
        ends: applied.thinking_end.clone(),
        prefill: applied.generation_prompt.clone(),
    }))
}

struct ChosenTools {
    tools: Vec<Value>,
    choice: &'static str,
}

/// The tools that may be called, and whether one must be. A tool that is chosen by name is the only
/// one that is offered, and must be called.
fn tools(options: &ChatOptions) -> Result<ChosenTools> {
    let tools = options.chat.tools.clone().unwrap_or_default();
    tool::check_all(&tools)?;
    let choice = match &options.chat.tool_choice {
        None => "auto",
        Some(Value::String(choice)) => match choice.as_str() {
            "auto" => "auto",
            "none" => "none",
            "required" => "required",
            _ => {
                let problem = format!("`{choice}` is none of auto, none, required");
                return Err(Error::option("tool_choice", problem));
            }
        },
        Some(choice) => {
            // `{"name": ...}` says it in short.
            let name = choice["function"]["name"].as_str().or(choice["name"].as_str());
            let name = name.ok_or_else(|| {
                Error::option("tool_choice", "expected auto, none, required, or a function's name")
            })?;
            let named: Vec<_> =
                tools.into_iter().filter(|tool| tool["function"]["name"] == name).collect();
            if named.is_empty() {
                return Err(Error::option("tool_choice", format!("there is no tool `{name}`")));
            }
            return Ok(ChosenTools { tools: named, choice: "required" });
        }
    };
    if choice == "required" && tools.is_empty() {
        return Err(Error::option("tool_choice", "is `required`, and there are no tools"));
    }
    Ok(ChosenTools { tools, choice })
}

/// The schema that the answer must follow, from `json_schema` or `response_format`.
fn output_schema(options: &ChatOptions) -> Result<Option<Value>> {
    let problem = |what: &str| Err(Error::option("response_format", what));
    let format = match &options.chat.response_format {
        None => return Ok(options.generate.json_schema.clone()),
        Some(_) if options.generate.json_schema.is_some() => {
            return problem("cannot be combined with `json_schema`");
        }
        Some(format) => format,
    };
    match format["type"].as_str() {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(json!({"type": "object"}))),
        Some("json_schema") => match &format["json_schema"]["schema"] {
            schema @ Value::Object(_) => Ok(Some(schema.clone())),
            _ => problem("has no schema at json_schema.schema"),
        },
        _ => problem("its type is none of text, json_object, json_schema"),
    }
}

/// The triggers in the form that the engine's grammar takes (`common/sampling.cpp`).
fn triggers(triggers: &[Trigger], vocab: &Vocab) -> GrammarTriggers {
    let mut result = GrammarTriggers::default();
    for trigger in triggers {
        match trigger.kind.as_str() {
            "token" => result.tokens.push(trigger.token),
            // A word that is one token is told apart by that token, not by its text.
            "word" => match vocab.tokenize(&trigger.value, false, true).as_deref() {
                Ok([token]) => result.tokens.push(*token),
                _ => result.patterns.push(escape(&trigger.value)),
            },
            "pattern_full" => {
                let start = if trigger.value.starts_with('^') { "" } else { "^" };
                let end = if trigger.value.ends_with('$') { "" } else { "$" };
                result.patterns.push(format!("{start}{}{end}", trigger.value));
            }
            _ => result.patterns.push(trigger.value.clone()),
        }
    }
    result
}

/// A regular expression that matches exactly this text.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if ".^$|()*+?[]{}\\".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// An answer of a chat while it is being generated: an iterator of chunks, blocking or
/// asynchronous.
///
/// The last chunk has the whole [`ChatCompletion`]. Dropping the stream cancels the generation.
pub struct ChatStream {
    stream: Stream,
    parser: ChatParser,
    /// All that the model has said.
    raw: String,
    /// What has been handed out, as a message; the text that the answer began with counts.
    message: Message,
    /// The text, and the reasoning, that the answer began with.
    prefill: (String, String),
    completion: Option<ChatCompletion>,
    /// When the next piece is worth looking at: see [`PARSING_SHARE`].
    parse_after: Option<Instant>,
}

/// The answer is parsed anew with each piece, which takes the longer the more of it there is. Pieces
/// wait for each other so that no more than one part in so many of the time goes into it.
const PARSING_SHARE: u32 = 20;

impl ChatStream {
    /// `continues` where the prompt ends with the beginning of the answer.
    pub(crate) fn new(stream: Stream, parser: ChatParser, continues: bool) -> Result<Self> {
        let message = Message { content: None, ..Message::assistant("") };
        let (raw, prefill) = <(String, (String, String))>::default();
        let (completion, parse_after) = (None, None);
        let mut chat = Self { stream, parser, raw, message, prefill, completion, parse_after };
        if continues {
            let given = chat.parse(true)?;
            chat.advance_to(given);
            let reasoning = chat.message.reasoning.clone().unwrap_or_default();
            chat.prefill = (chat.message.text(), reasoning);
        }
        Ok(chat)
    }

    /// Waits for the next chunk; `None` after the last.
    pub fn next_chunk(&mut self) -> Option<Result<ChatChunk>> {
        loop {
            let chunk = self.stream.next_chunk()?;
            if let Some(news) = self.take_in(chunk) {
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
            if let Some(news) = self.take_in(chunk) {
                return Ok(Some(news));
            }
        }
    }

    /// The next chunk if it is there already.
    pub fn ready_chunk(&mut self) -> Option<Result<ChatChunk>> {
        loop {
            let chunk = self.stream.ready_chunk()?;
            if let Some(news) = self.take_in(chunk) {
                return Some(news);
            }
        }
    }

    /// As [`Self::next_chunk`], without blocking the thread.
    pub async fn next_chunk_async(&mut self) -> Option<Result<ChatChunk>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Stops the generation; what there is of it still comes, with the finish reason `cancelled`.
    pub fn cancel(&self) {
        self.stream.cancel();
    }

    /// A token that stops the generation from anywhere.
    pub fn cancel_token(&self) -> CancelToken {
        self.stream.cancel_token()
    }

    /// The whole answer, once the last chunk has come.
    pub fn completion(&self) -> Option<&ChatCompletion> {
        self.completion.as_ref()
    }

    /// Waits for the end and gives the whole answer.
    pub fn finish(mut self) -> Result<ChatCompletion> {
        while let Some(chunk) = self.stream.next_chunk() {
            self.absorb(chunk?)?;
        }
        self.into_completion()
    }

    /// As [`Self::finish`], without blocking the thread.
    pub async fn finish_async(mut self) -> Result<ChatCompletion> {
        while let Some(chunk) = self.stream.next_chunk_async().await {
            self.absorb(chunk?)?;
        }
        self.into_completion()
    }

    /// Takes a piece of text in without looking at it: only the last is parsed.
    fn absorb(&mut self, chunk: Chunk) -> Result<()> {
        if chunk.completion.is_some() {
            self.understand(chunk)?;
        } else {
            self.raw.push_str(&chunk.text);
        }
        Ok(())
    }

    fn into_completion(mut self) -> Result<ChatCompletion> {
        self.completion.take().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "the engine's thread ended without an answer")
        })
    }

    /// What a piece that has come gives to hand on, if it is time for that.
    fn take_in(&mut self, chunk: Result<Chunk>) -> Option<Result<ChatChunk>> {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => return Some(Err(error)),
        };
        let begun = Instant::now();
        if chunk.completion.is_none() && self.parse_after.is_some_and(|after| begun < after) {
            self.raw.push_str(&chunk.text);
            return None;
        }
        let news = self.understand(chunk);
        self.parse_after = Some(begun + begun.elapsed() * PARSING_SHARE);
        Some(news)
    }

    /// What a piece of text adds to the message.
    fn understand(&mut self, chunk: Chunk) -> Result<ChatChunk> {
        self.raw.push_str(&chunk.text);
        let ended_early = chunk
            .completion
            .as_ref()
            .is_some_and(|completion| completion.finish_reason != FinishReason::Stop);
        let is_partial = chunk.completion.is_none() || ended_early;
        let message = self.parse(is_partial)?;
        let mut news = self.advance_to(message);
        if let Some(mut completion) = chunk.completion {
            let message = self.without_prefill();
            completion.text = message.text();
            if completion.finish_reason == FinishReason::Stop && !message.tool_calls.is_empty() {
                completion.finish_reason = FinishReason::ToolCalls;
            }
            let completion = ChatCompletion { message, completion };
            self.completion = Some(completion.clone());
            news.completion = Some(completion);
        }
        Ok(news)
    }

    /// What is the model's own of the message.
    fn without_prefill(&self) -> Message {
        fn rest<'a>(text: &'a str, prefill: &str) -> &'a str {
            text.strip_prefix(prefill).unwrap_or(text)
        }
        let mut message = self.message.clone();
        let (text, reasoning) = &self.prefill;
        if !text.is_empty() {
            message.content = Some(Content::Text(rest(&message.text(), text).to_owned()));
        }
        if let Some(thought) = message.reasoning.take() {
            let thought = rest(&thought, reasoning);
            message.reasoning = (!thought.is_empty()).then(|| thought.to_owned());
        }
        message
    }

    fn parse(&self, is_partial: bool) -> Result<Message> {
        let malformed = |reason: String| {
            Error::new(
                ErrorKind::Template,
                format!("the model's answer does not follow its chat template: {reason}"),
            )
            .with_context("answer", &self.raw)
        };
        let parsed = self.parser.parse(&self.raw, is_partial).map_err(malformed)?;
        serde_json::from_str(&parsed).map_err(|error| malformed(error.to_string()))
    }

    /// Makes `parsed` the message so far, and tells what is new in it.
    fn advance_to(&mut self, parsed: Message) -> ChatChunk {
        let mut news = ChatChunk::default();

        let text = parsed.text();
        let before = self.message.text();
        // A parse of more text may take something back that looked like text; what has been handed
        // out cannot be, and waits until the rest agrees with it.
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
                    if let Some(news) = self.take_in(chunk) {
                        return Poll::Ready(Some(news));
                    }
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// An id that no other call of this process has, and that none of another is likely to have.
fn new_call_id() -> String {
    // Each `RandomState` has its own keys.
    format!("call_{:016x}", RandomState::new().hash_one("tool call"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_for_patterns() {
        assert_eq!(escape("<tool_call>"), "<tool_call>");
        assert_eq!(escape("[a](b)."), "\\[a\\]\\(b\\)\\.");
    }

    #[test]
    fn a_named_tool_is_the_only_one_and_required() {
        let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
        let mut options = ChatOptions::default().with_tools([tool("a"), tool("b")]);
        options.chat.tool_choice = Some(tool("b"));
        let chosen = tools(&options).unwrap();
        assert_eq!((chosen.tools, chosen.choice), (vec![tool("b")], "required"));
        options.chat.tool_choice = Some(tool("c"));
        assert!(tools(&options).is_err_and(|error| error.to_string().contains("`c`")));
    }
}
