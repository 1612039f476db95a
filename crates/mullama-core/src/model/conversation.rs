//! A conversation, which stores the messages and runs the tools that the model calls.

use serde_json::Value;

use super::compaction::{Compaction, Summarizer, SummaryError};
use super::handle::Model;
use crate::chat::{
    ChatChunk, ChatCompletion, ChatInput, ChatStream, Message, Tool, ToolOutput, ToolRequest, Turn,
};
use crate::options::{ChatOptions, Overflow};
use crate::{CancelToken, Result};

impl Model {
    /// Starts a conversation, which stores the messages and runs tools: see [`Chat`].
    ///
    /// ```
    /// # use mullama_core::{ChatOptions, ContextParams, Model, ModelParams};
    /// # let model = Model::load("demo", ModelParams::default(), ContextParams::default())?;
    /// let greedy = ChatOptions::default().with_temperature(0.0);
    /// let mut chat = model.start_chat().with_options(greedy);
    /// assert!(chat.send("What is the capital of France?")?.text.contains("Paris"));
    /// assert_eq!(chat.messages().len(), 2);
    /// # Ok::<_, mullama_core::Error>(())
    /// ```
    pub fn start_chat(&self) -> Chat {
        Chat::new(self.clone())
    }
}

/// A conversation, which stores the messages and runs the tools that the model calls.
///
/// ```
/// use mullama_core::{ChatOptions, ContextParams, Model, ModelParams, Tool};
/// use serde_json::json;
///
/// let model = Model::load("demo", ModelParams::default(), ContextParams::default())?;
/// let parameters = json!({
///     "type": "object",
///     "properties": {"city": {"type": "string"}},
///     "required": ["city"],
/// });
/// let weather = Tool::new("get_weather", "Get the weather in a city", parameters, |_| {
///     json!({"temperature": 18, "condition": "sunny"})
/// });
/// let greedy = ChatOptions::default().with_temperature(0.0);
/// let mut chat = model.start_chat().with_tools([weather]).with_options(greedy);
/// let answer = chat.send("What is the weather in Paris?")?;
/// assert_eq!(answer.text, "The weather in Paris is 18 degrees and sunny.");
/// # Ok::<_, mullama_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Chat {
    model: Model,
    messages: Vec<Message>,
    tools: Vec<Tool>,
    options: ChatOptions,
    max_tool_rounds: Option<u32>,
    summarizer: Option<Summarizer>,
}

impl Chat {
    pub(crate) fn new(model: Model) -> Self {
        Self {
            model,
            messages: Vec::new(),
            tools: Vec::new(),
            options: ChatOptions::default(),
            max_tool_rounds: None,
            summarizer: None,
        }
    }

    /// Adds instructions for the whole chat.
    #[must_use]
    pub fn with_system(mut self, text: impl Into<String>) -> Self {
        self.messages.push(Message::system(text));
        self
    }

    /// Sets the tools that the model may call, in place of those of the options.
    #[must_use]
    pub fn with_tools(mut self, tools: impl Into<Vec<Tool>>) -> Self {
        self.tools = tools.into();
        self
    }

    /// Sets the options of every answer.
    #[must_use]
    pub fn with_options(mut self, options: impl Into<ChatOptions>) -> Self {
        self.options = options.into();
        self
    }

    /// Sets the maximum rounds of tool calls before an answer. Default: 8. Further calls are
    /// returned as the answer (finish reason `tool_calls`), and the model is informed of the limit.
    #[must_use]
    pub fn with_max_tool_rounds(mut self, rounds: u32) -> Self {
        self.max_tool_rounds = Some(rounds);
        self
    }

    /// Sets a function that summarises the oldest messages when the context is full, with the option `overflow` set
    /// to [`Overflow::Compact`]. Without one, the model summarises them itself.
    #[must_use]
    pub fn with_compact(
        mut self,
        summarize: impl Fn(&[Message]) -> std::result::Result<String, SummaryError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.summarizer = Some(Summarizer::new(summarize));
        self
    }

    /// The messages so far.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The messages so far, to be modified.
    pub fn messages_mut(&mut self) -> &mut Vec<Message> {
        &mut self.messages
    }

    /// Sends a message and waits for the answer, calling tools as needed. If it fails, the conversation is unchanged.
    pub fn send(&mut self, input: impl Into<ChatInput>) -> Result<ChatCompletion> {
        self.send_with(input, &self.options.clone())
    }

    /// As [`Self::send`], with other options than the chat's.
    pub fn send_with(
        &mut self,
        input: impl Into<ChatInput>,
        options: &ChatOptions,
    ) -> Result<ChatCompletion> {
        let input = input.into();
        let (options, dropped) = self.make_room(&input, options)?;
        let mut turn = self.turn(input, &options, dropped);
        loop {
            let answer = self.model.chat(turn.messages(), &options)?;
            if let Some(completion) = self.run_calls(&mut turn, &answer)? {
                return Ok(completion);
            }
        }
    }

    /// As [`Self::send`], without blocking the thread while the model computes; tools are called on that thread.
    pub async fn send_async(&mut self, input: impl Into<ChatInput>) -> Result<ChatCompletion> {
        let input = input.into();
        let (options, dropped) = self.make_room_async(&input).await?;
        let mut turn = self.turn(input, &options, dropped);
        loop {
            let answer = self.model.chat_async(turn.messages(), &options).await?;
            if let Some(completion) = self.run_calls(&mut turn, &answer)? {
                return Ok(completion);
            }
        }
    }

    /// Sends a message and returns the answer in pieces as it is generated, calling tools as needed.
    ///
    /// The turn is added to the conversation with the last chunk. Until then, and if it fails or is dropped, the
    /// conversation is unchanged.
    pub fn stream(&mut self, input: impl Into<ChatInput>) -> Result<ChatTurn<'_>> {
        self.stream_with(input, &self.options.clone())
    }

    /// As [`Self::stream`], with other options than the chat's.
    pub fn stream_with(
        &mut self,
        input: impl Into<ChatInput>,
        options: &ChatOptions,
    ) -> Result<ChatTurn<'_>> {
        let input = input.into();
        let (options, dropped) = self.make_room(&input, options)?;
        let turn = self.turn(input, &options, dropped);
        let stream = self.model.stream_chat(turn.messages(), &options)?;
        Ok(ChatTurn { chat: self, turn, options, stream: Some(stream), requests: None })
    }

    /// With the overflow `Compact`, replaces the oldest messages by a summary if there is no room for an answer to
    /// the input. Returns the options of the turn, and the number of messages that were replaced.
    fn make_room(
        &mut self,
        input: &ChatInput,
        options: &ChatOptions,
    ) -> Result<(ChatOptions, usize)> {
        let options = self.with_tools_in(options);
        let compaction = match options.generate.settled_overflow() {
            Overflow::Compact => {
                self.model.compaction(&self.messages, input.messages(), &options)?
            }
            _ => return Ok((options, 0)),
        };
        let Some(compaction) = compaction else { return Ok((within_turn(options), 0)) };
        let summary = match &self.summarizer {
            Some(summarizer) => summarizer.summarize(&compaction.old())?,
            None => compaction.summarize(&self.model, &options)?,
        };
        Ok((within_turn(options), self.replace_oldest(&compaction, &summary)))
    }

    /// As [`Self::make_room`], with the chat's options.
    async fn make_room_async(&mut self, input: &ChatInput) -> Result<(ChatOptions, usize)> {
        let options = self.with_tools_in(&self.options);
        let compaction = match options.generate.settled_overflow() {
            Overflow::Compact => {
                self.model.compaction_async(&self.messages, input.messages(), &options).await?
            }
            _ => return Ok((options, 0)),
        };
        let Some(compaction) = compaction else { return Ok((within_turn(options), 0)) };
        let summary = match &self.summarizer {
            Some(summarizer) => summarizer.summarize(&compaction.old())?,
            None => compaction.summarize_async(&self.model, &options).await?,
        };
        Ok((within_turn(options), self.replace_oldest(&compaction, &summary)))
    }

    /// Returns the number of messages that the summary replaced.
    fn replace_oldest(&mut self, compaction: &Compaction, summary: &str) -> usize {
        self.messages = compaction.messages(summary);
        compaction.start() - compaction.kept().len()
    }

    fn with_tools_in(&self, options: &ChatOptions) -> ChatOptions {
        let mut options = options.clone();
        if !self.tools.is_empty() {
            let definitions = self.tools.iter().map(|tool| tool.definition().clone());
            options.chat.tools = Some(definitions.collect());
        }
        options
    }

    /// `dropped` is the number of messages that a summary replaced.
    fn turn(&self, input: ChatInput, options: &ChatOptions, dropped: usize) -> Turn {
        let tools = options.chat.tools.clone().unwrap_or_default();
        let callable = self.tools.iter().filter(|tool| tool.is_callable());
        let callable = callable.map(|tool| tool.name().to_owned()).collect();
        let mut turn =
            Turn::new(self.messages.clone(), input, tools, callable, self.max_tool_rounds);
        turn.note_dropped(dropped);
        turn
    }

    /// Runs the calls of an answer. Returns the turn's completion if it is over.
    fn run_calls(
        &mut self,
        turn: &mut Turn,
        answer: &ChatCompletion,
    ) -> Result<Option<ChatCompletion>> {
        let requests = turn.record_answer(answer);
        if let Some(completion) = turn.completion() {
            self.messages.extend_from_slice(turn.new_messages());
            return Ok(Some(completion.clone()));
        }
        turn.record_tool_results(self.call(requests))?;
        Ok(None)
    }

    fn call(&self, requests: Vec<ToolRequest>) -> Vec<ToolOutput> {
        let call = |ToolRequest { name, arguments, .. }: ToolRequest| match self
            .tools
            .iter()
            .find(|tool| tool.name() == name)
        {
            Some(tool) => tool.call(Value::Object(arguments)),
            None => ToolOutput::error(format!("there is no tool `{name}`")),
        };
        requests.into_iter().map(call).collect()
    }
}

/// The options of the requests of a turn. If tools make it too long, turns are left out.
fn within_turn(mut options: ChatOptions) -> ChatOptions {
    options.generate.overflow = Some(Overflow::Truncate);
    options
}

/// An answer of a [`Chat`] as it is generated: an iterator of chunks, over all rounds of tool calls.
///
/// The last chunk has the whole [`ChatCompletion`]. Dropping it cancels the generation.
#[derive(Debug)]
pub struct ChatTurn<'a> {
    chat: &'a mut Chat,
    turn: Turn,
    options: ChatOptions,
    /// `None` when it is over, and while tool calls are pending.
    stream: Option<ChatStream>,
    /// Tool calls that are pending.
    requests: Option<Vec<ToolRequest>>,
}

impl ChatTurn<'_> {
    /// Waits for the next chunk, calling tools on the way; `None` after the last.
    pub fn next_chunk(&mut self) -> Option<Result<ChatChunk>> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.stream = None;
            self.requests = None;
        }
        next
    }

    fn advance(&mut self) -> Result<Option<ChatChunk>> {
        if let Some(requests) = self.requests.take() {
            let outputs = self.chat.call(requests);
            self.turn.record_tool_results(outputs)?;
            self.stream = Some(self.chat.model.stream_chat(self.turn.messages(), &self.options)?);
        }
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let Some(chunk) = stream.next_chunk().transpose()? else { return Ok(None) };
        if let Some(answer) = &chunk.completion {
            let requests = self.turn.record_answer(answer);
            self.stream = None;
            if self.turn.completion().is_some() {
                self.chat.messages.extend_from_slice(self.turn.new_messages());
            } else {
                // They run when the next chunk is requested, so that the reader sees the calls first.
                self.requests = Some(requests);
            }
        }
        Ok(Some(self.turn.chunk(chunk)))
    }

    /// A token that cancels the generation of this round from any thread.
    pub fn cancel_token(&self) -> Option<CancelToken> {
        self.stream.as_ref().map(ChatStream::cancel_token)
    }

    /// The complete answer, after the last chunk.
    pub fn completion(&self) -> Option<&ChatCompletion> {
        self.turn.completion()
    }
}

impl Iterator for ChatTurn<'_> {
    type Item = Result<ChatChunk>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_chunk()
    }
}
