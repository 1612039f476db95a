//! Replaces the oldest turns of a conversation that does not fit into the context by a summary.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::handle::Model;
use super::request::{PICTURE_STACK, panicked};
use crate::chat::{Message, stays};
use crate::engine::run_on_new_thread;
use crate::options::{ChatOptions, GenerateOptions, Overflow};
use crate::{Error, ErrorKind, Result};

/// The request for a summary. It stays in the conversation as the user's message before the summary.
const REQUEST: &str = "Summarize our conversation so far in a few sentences. Include names, numbers, decisions and \
                       everything else that is needed to continue it.";

/// The part of the context that a summary may take.
const SUMMARY_SHARE: u32 = 8;

/// The error of a function of the caller's.
pub type SummaryError = Box<dyn std::error::Error + Send + Sync>;

/// A function of the caller's that summarises messages.
#[derive(Clone)]
pub(super) struct Summarizer(Arc<SummaryFunction>);

type SummaryFunction =
    dyn Fn(&[Message]) -> std::result::Result<String, SummaryError> + Send + Sync;

impl Summarizer {
    pub fn new(
        summarize: impl Fn(&[Message]) -> std::result::Result<String, SummaryError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Arc::new(summarize))
    }

    pub fn summarize(&self, messages: &[Message]) -> Result<String> {
        (self.0)(messages).map_err(|cause| {
            let message = format!("summarising the conversation failed: {cause}");
            Error::new(ErrorKind::Callback, message).with_cause(cause)
        })
    }
}

impl fmt::Debug for Summarizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Summarizer(..)")
    }
}

/// The part of a conversation that a summary replaces, so that the rest fits into the context.
///
/// Front ends with conversations of their own use it; [`Chat`](crate::Chat) is built on it.
#[derive(Debug, Clone)]
pub struct Compaction {
    history: Vec<Message>,
    start: usize,
}

impl Compaction {
    /// The index in the history of the first message after those that are replaced.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The indices of the messages before [`Self::start`] that stay.
    pub fn kept(&self) -> Vec<usize> {
        (0..self.start).filter(|&index| self.stays(index)).collect()
    }

    /// The messages that are replaced.
    pub fn old(&self) -> Vec<Message> {
        let old = (0..self.start).filter(|&index| !self.stays(index));
        old.map(|index| self.history[index].clone()).collect()
    }

    fn stays(&self, index: usize) -> bool {
        stays(index, &self.history[index], 0)
    }

    /// The messages of the conversation after [`Self::turn`] has replaced the oldest turns.
    pub fn messages(&self, summary: &str) -> Vec<Message> {
        let kept = self.kept().into_iter().map(|index| self.history[index].clone());
        let rest = self.history[self.start..].iter().cloned();
        kept.chain(Self::turn(summary)).chain(rest).collect()
    }

    /// The turn that replaces the oldest ones: a request for a summary, and the summary. None if the summary
    /// is empty.
    pub fn turn(summary: &str) -> Vec<Message> {
        match summary.trim() {
            "" => Vec::new(),
            summary => vec![Message::user(REQUEST), Message::assistant(summary)],
        }
    }

    /// Asks the model for a summary. `options` are those of the conversation.
    pub fn summarize(&self, model: &Model, options: &ChatOptions) -> Result<String> {
        let (messages, options) = self.request(model, options);
        Ok(model.chat(&messages, &options)?.completion.text)
    }

    /// As [`Self::summarize`], without blocking the thread.
    pub async fn summarize_async(&self, model: &Model, options: &ChatOptions) -> Result<String> {
        let (messages, options) = self.request(model, options);
        Ok(model.chat_async(&messages, &options).await?.completion.text)
    }

    fn request(&self, model: &Model, options: &ChatOptions) -> (Vec<Message>, ChatOptions) {
        let GenerateOptions { timeout, temperature, seed, lora, priority, client, .. } =
            options.generate.clone();
        let generate = GenerateOptions {
            timeout,
            temperature,
            seed,
            lora,
            priority,
            client,
            max_tokens: Some((model.context_size() / SUMMARY_SHARE).max(1)),
            overflow: Some(Overflow::Truncate),
            ..GenerateOptions::default()
        };
        let mut asked = ChatOptions::from(generate);
        asked.chat.reasoning = Some(false);
        asked.chat.template_kwargs.clone_from(&options.chat.template_kwargs);
        let mut messages = self.history[..self.start].to_vec();
        messages.push(Message::user(REQUEST));
        (messages, asked)
    }
}

/// The replacement of a conversation's oldest turns, for front ends with conversations of their own.
#[derive(Debug, Clone, Serialize)]
pub struct Compacted {
    /// See [`Compaction::kept`].
    pub kept: Vec<usize>,
    /// See [`Compaction::start`].
    pub start: usize,
    /// See [`Compaction::turn`]; empty if the front end makes the summary.
    pub turn: Vec<Message>,
}

impl Model {
    /// As [`Self::compaction_async`], with the model's own summary if `summarizes` is set.
    pub async fn compact_async(
        &self,
        history: &[Message],
        input: &[Message],
        options: &ChatOptions,
        summarizes: bool,
    ) -> Result<Option<Compacted>> {
        let compaction = self.compaction_async(history, input, options).await?;
        let Some(compaction) = compaction else { return Ok(None) };
        let turn = if summarizes {
            Compaction::turn(&compaction.summarize_async(self, options).await?)
        } else {
            Vec::new()
        };
        Ok(Some(Compacted { kept: compaction.kept(), start: compaction.start(), turn }))
    }

    /// Finds the oldest turns of a conversation that a summary must replace before `input` is answered. `None` if the
    /// conversation fits into the context, with room for an answer.
    pub fn compaction(
        &self,
        history: &[Message],
        input: &[Message],
        options: &ChatOptions,
    ) -> Result<Option<Compaction>> {
        let messages = [history, input].concat();
        let pictures = self.pictures(&messages)?;
        let mut options = options.clone();
        options.generate.overflow = Some(Overflow::Compact);
        let rendering = self.render(&messages, &options, true, Instant::now(), pictures)?;
        let start = rendering.wait()?.start.min(history.len());
        let compaction = Compaction { history: history.to_vec(), start };
        Ok((compaction.kept().len() < start).then_some(compaction))
    }

    /// As [`Self::compaction`], without blocking the thread.
    pub async fn compaction_async(
        &self,
        history: &[Message],
        input: &[Message],
        options: &ChatOptions,
    ) -> Result<Option<Compaction>> {
        let (model, history, input) = (self.clone(), history.to_vec(), input.to_vec());
        let options = options.clone();
        let find = move || model.compaction(&history, &input, &options);
        let found = run_on_new_thread(PICTURE_STACK, find)?;
        found.recv_async().await.unwrap_or_else(|_| Err(panicked()))
    }
}
