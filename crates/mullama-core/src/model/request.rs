//! Requests to a model: text, chat, tokens.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::constraint::{Compiling, Constraint};
use super::handle::Model;
use super::loaded::Loaded;
use super::vision::{PromptWithPictures, tokens_of};
use crate::chat::{
    ChatCompletion, ChatStream, Message, PAST_DEADLINE, PICTURE, Pieces, Rendered, TEMPLATE_STACK,
    TEMPLATE_TIME, TOO_LONG, Templates, count_pictures, fit, has_pictures, render, stays,
    template_error,
};
use crate::engine::{DeadlineWatch, PreparedPicture, run_on_new_thread};
use crate::options::{ChatOptions, DraftMode, GenerateOptions, Lora, Overflow, Prompt, deadline};
use crate::sampling::{GrammarSpec, ReasoningSpec, Sampling};
use crate::scheduler::{
    Answer, Banned, Completion, Delivery, Engine, Job, MaxGuesses, MediaRun, SharedAnswer, Stream,
    drop_oldest,
};
use crate::{CancelToken, Error, ErrorKind, Result, Token};
use mullama_base::Text;
use mullama_sys::shim::ChatParser;
use serde_json::Value;

/// Size in bytes of the stack of the thread that decodes pictures.
pub(super) const PICTURE_STACK: usize = 2 << 20;

/// How long after a request's deadline the error of its template is waited for.
const LINE_GRACE: Duration = Duration::from_millis(100);

/// The parts of a request other than its options.
#[derive(Default)]
pub(super) struct RequestExtras {
    /// Stop sequences of the chat template.
    stops: Vec<String>,
    /// Special tokens whose text is part of the answer.
    preserved: Vec<Token>,
    reasoning: Option<ReasoningSpec>,
    delivery: Delivery,
    /// The pictures of the prompt.
    media: Vec<MediaRun>,
    /// The start of the call, if it was before the request is submitted.
    began: Option<Instant>,
    /// Messages and tokens that were left out of the prompt.
    dropped: (usize, usize),
    /// What to do if the prompt is too long.
    shorten: Shorten,
}

/// What to do about a prompt that is too long.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Shorten {
    /// Nothing: it is an error.
    #[default]
    Refuse,
    /// As `Refuse`, for a chat that could leave out turns.
    SuggestTruncating,
    /// Drop the oldest tokens.
    Shift,
}

/// A rendered chat, with the pictures that are left in it.
pub(super) struct RenderedChat {
    templates: Arc<Templates>,
    rendered: Rendered,
    pictures: Vec<Arc<PreparedPicture>>,
    /// The first message that was not left out.
    pub start: usize,
    /// Messages and tokens that were left out.
    dropped: (usize, usize),
}

impl RenderedChat {
    /// The prompt, as it is shown to users.
    fn shown(&self) -> String {
        self.rendered.prompt.text.replace(PICTURE, "<image>")
    }
}

/// A request whose constraint is being compiled.
struct PreparedRequest {
    loaded: Arc<Loaded>,
    tokens: Vec<Token>,
    constraint: Compiling,
    extras: RequestExtras,
}

/// What turns the stream of a request into that of a chat.
struct AnswerReader {
    parser: ChatParser,
    pieces: Pieces,
    begun: Option<Message>,
}

impl AnswerReader {
    fn read(self, stream: Stream, options: &ChatOptions) -> ChatStream {
        ChatStream::new(stream, self.parser, self.pieces, options.companion.clone(), self.begun)
    }
}

/// A prompt that is being rendered.
pub(super) struct Rendering {
    rendered: flume::Receiver<Result<RenderedChat>>,
    started: Instant,
    deadline: Option<Instant>,
    cancel: CancelToken,
}

impl Rendering {
    /// Waits for the prompt. The wait is limited: a single step of a template may exceed the time limit.
    pub(super) fn wait(self) -> Result<RenderedChat> {
        let _cancel = self.cancel.drop_guard();
        let latest = self.started + TEMPLATE_TIME + Duration::from_secs(1);
        // The template's own error, which names the line, comes first if it comes at all.
        let until = self.deadline.map_or(latest, |deadline| deadline.min(latest) + LINE_GRACE);
        self.rendered.recv_deadline(until).unwrap_or_else(|error| match error {
            flume::RecvTimeoutError::Timeout if self.deadline.is_some_and(|it| it < latest) => {
                Err(template_error(PAST_DEADLINE))
            }
            flume::RecvTimeoutError::Timeout => Err(template_error(TOO_LONG)),
            flume::RecvTimeoutError::Disconnected => Err(panicked()),
        })
    }

    async fn wait_async(self) -> Result<RenderedChat> {
        let _cancel = self.cancel.drop_guard();
        let rendered = run_on_new_thread(0, move || self.wait())?;
        rendered.recv_async().await.unwrap_or_else(|_| Err(panicked()))
    }
}

pub(super) fn panicked() -> Error {
    Error::new(
        ErrorKind::Internal,
        "rendering the chat template failed because of a defect in mullama",
    )
}

impl Model {
    /// Generates until the model ends its answer or an option does; waits for the complete answer.
    pub fn generate(
        &self,
        prompt: impl Into<Prompt>,
        options: &GenerateOptions,
    ) -> Result<Completion> {
        self.start(prompt.into(), options, Delivery::Whole)?.finish()
    }

    /// As [`Model::generate`], without blocking the thread.
    pub async fn generate_async(
        &self,
        prompt: impl Into<Prompt>,
        options: &GenerateOptions,
    ) -> Result<Completion> {
        let started = self.start_async(prompt.into(), options, Delivery::Whole);
        started.await?.finish_async().await
    }

    /// Generates the text between two texts (fill in the middle), with a model that was trained for
    /// it: [`Model::generate`] with the option `infill_suffix`.
    pub fn infill(
        &self,
        prefix: impl Into<Prompt>,
        suffix: &str,
        options: &GenerateOptions,
    ) -> Result<Completion> {
        self.generate(prefix, &options.clone().with_infill_suffix(suffix))
    }

    /// Like [`Model::infill`], without blocking the thread.
    pub async fn infill_async(
        &self,
        prefix: impl Into<Prompt>,
        suffix: &str,
        options: &GenerateOptions,
    ) -> Result<Completion> {
        self.generate_async(prefix, &options.clone().with_infill_suffix(suffix)).await
    }

    /// Starts a generation and returns its pieces as they are generated.
    ///
    /// Pieces generated within two milliseconds of each other are delivered together.
    pub fn stream(&self, prompt: impl Into<Prompt>, options: &GenerateOptions) -> Result<Stream> {
        self.start(prompt.into(), options, Delivery::Pieces)
    }

    /// As [`Model::stream`], without blocking the thread until a grammar is compiled.
    pub async fn stream_async(
        &self,
        prompt: impl Into<Prompt>,
        options: &GenerateOptions,
    ) -> Result<Stream> {
        self.start_async(prompt.into(), options, Delivery::Pieces).await
    }

    fn start(
        &self,
        prompt: Prompt,
        options: &GenerateOptions,
        delivery: Delivery,
    ) -> Result<Stream> {
        self.submit_prepared(self.prepare(prompt, options, delivery)?, options)
    }

    async fn start_async(
        &self,
        prompt: Prompt,
        options: &GenerateOptions,
        delivery: Delivery,
    ) -> Result<Stream> {
        let prepared = self.prepare(prompt, options, delivery)?;
        self.submit_prepared_async(prepared, options).await
    }

    fn submit_prepared(
        &self,
        prepared: PreparedRequest,
        options: &GenerateOptions,
    ) -> Result<Stream> {
        let PreparedRequest { loaded, tokens, constraint, extras } = prepared;
        self.submit(loaded, tokens, options, constraint.wait()?, extras)
    }

    async fn submit_prepared_async(
        &self,
        prepared: PreparedRequest,
        options: &GenerateOptions,
    ) -> Result<Stream> {
        let PreparedRequest { loaded, tokens, constraint, extras } = prepared;
        self.submit(loaded, tokens, options, constraint.wait_async().await?, extras)
    }

    fn prepare(
        &self,
        prompt: Prompt,
        options: &GenerateOptions,
        delivery: Delivery,
    ) -> Result<PreparedRequest> {
        let began = Instant::now();
        let loaded = self.loaded()?;
        let shifts = match options.settled_overflow() {
            Overflow::Error => false,
            Overflow::Shift if options.infill_suffix.is_none() => true,
            Overflow::Shift => {
                let problem = "`shift` cannot be combined with {infill_suffix}";
                return Err(Error::option("overflow", Text::with_names(problem)));
            }
            Overflow::Truncate | Overflow::Compact => {
                let problem = "expected `error` or `shift`: the others are for chats";
                return Err(Error::option("overflow", problem));
            }
        };
        let tokens = match &options.infill_suffix {
            Some(suffix) => loaded.infill(prompt, suffix)?,
            None => loaded.tokens_of(prompt)?,
        };
        let of_schema = |schema: &Value| GrammarSpec::Schema {
            schema: schema.clone(),
            reasoning: None,
            begun: String::new(),
        };
        let grammar = GrammarSpec::from_options(options)?
            .or_else(|| options.json_schema.as_ref().map(of_schema));
        let constraint = Compiling::start(&loaded, grammar, deadline(began, options.timeout)?)?;
        let shorten = if shifts { Shorten::Shift } else { Shorten::Refuse };
        let began = Some(began);
        let extras = RequestExtras { delivery, began, shorten, ..RequestExtras::default() };
        Ok(PreparedRequest { loaded, tokens, constraint, extras })
    }

    /// Answers the last message, using the model's chat template, and waits for the complete
    /// answer. With `continue_final_message`, the answer continues a last message of the assistant.
    pub fn chat(&self, messages: &[Message], options: &ChatOptions) -> Result<ChatCompletion> {
        self.stream_answer(messages, options, Delivery::Whole)?.finish()
    }

    /// As [`Model::chat`], without blocking the thread.
    pub async fn chat_async(
        &self,
        messages: &[Message],
        options: &ChatOptions,
    ) -> Result<ChatCompletion> {
        let started = self.stream_answer_async(messages, options, Delivery::Whole);
        started.await?.finish_async().await
    }

    /// Starts an answer to the last message and returns its pieces as they are generated.
    ///
    /// Pieces generated within two milliseconds of each other are delivered together.
    pub fn stream_chat(&self, messages: &[Message], options: &ChatOptions) -> Result<ChatStream> {
        self.stream_answer(messages, options, Delivery::Pieces)
    }

    /// As [`Model::stream_chat`], without blocking the thread until the prompt is rendered.
    pub async fn stream_chat_async(
        &self,
        messages: &[Message],
        options: &ChatOptions,
    ) -> Result<ChatStream> {
        self.stream_answer_async(messages, options, Delivery::Pieces).await
    }

    fn stream_answer(
        &self,
        messages: &[Message],
        options: &ChatOptions,
        delivery: Delivery,
    ) -> Result<ChatStream> {
        let began = Instant::now();
        check_overflow(options)?;
        let pictures = self.pictures(messages)?;
        let rendered = self.render(messages, options, true, began, pictures)?.wait()?;
        let (prepared, reader) = self.prepare_answer(rendered, options, delivery, began)?;
        Ok(reader.read(self.submit_prepared(prepared, &options.generate)?, options))
    }

    async fn stream_answer_async(
        &self,
        messages: &[Message],
        options: &ChatOptions,
        delivery: Delivery,
    ) -> Result<ChatStream> {
        let began = Instant::now();
        check_overflow(options)?;
        let pictures = if has_pictures(messages) {
            let (model, messages) = (self.clone(), messages.to_vec());
            let pictures = run_on_new_thread(PICTURE_STACK, move || model.pictures(&messages))?;
            pictures.recv_async().await.unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Internal,
                    "reading a picture failed because of a defect in mullama",
                ))
            })?
        } else {
            Vec::new()
        };
        let rendered = self.render(messages, options, true, began, pictures)?;
        let rendered = rendered.wait_async().await?;
        let (prepared, reader) = self.prepare_answer(rendered, options, delivery, began)?;
        let stream = self.submit_prepared_async(prepared, &options.generate).await?;
        Ok(reader.read(stream, options))
    }

    /// Decodes the pictures of messages, and divides them into parts.
    pub(super) fn pictures(&self, messages: &[Message]) -> Result<Vec<Arc<PreparedPicture>>> {
        if !has_pictures(messages) {
            return Ok(Vec::new());
        }
        let loaded = self.loaded()?;
        loaded.vision.pictures(&loaded.weights, messages)
    }

    fn prepare_answer(
        &self,
        rendered: RenderedChat,
        options: &ChatOptions,
        delivery: Delivery,
        began: Instant,
    ) -> Result<(PreparedRequest, AnswerReader)> {
        let loaded = self.loaded()?;
        let RenderedChat { templates, rendered, pictures, dropped, .. } = rendered;
        let Rendered { prompt, grammar, stops, preserved, reasoning, parser, begun } = rendered;
        let PromptWithPictures { tokens, media } =
            tokens_of(&templates, &loaded.vocab, &prompt, &pictures)?;
        // Texts of several tokens are part of the answer anyway.
        let preserved: Vec<_> = preserved
            .iter()
            .filter_map(|text| match *loaded.vocab.tokenize(text, false, true).ok()? {
                [token] => Some(token),
                _ => None,
            })
            .collect();
        let pieces = Pieces { vocab: loaded.vocab.clone(), preserved: preserved.clone() };
        let deadline = deadline(began, options.generate.timeout)?;
        let constraint = Compiling::start(&loaded, grammar, deadline)?;
        let began = Some(began);
        let shorten = match options.generate.settled_overflow() {
            Overflow::Error => Shorten::SuggestTruncating,
            _ => Shorten::Refuse,
        };
        let extras =
            RequestExtras { stops, preserved, reasoning, delivery, media, began, dropped, shorten };
        let reader = AnswerReader { parser, pieces, begun };
        Ok((PreparedRequest { loaded, tokens, constraint, extras }, reader))
    }

    /// The prompt for a chat with these messages. Each picture is shown as `<image>`.
    pub fn apply_chat_template(
        &self,
        messages: &[Message],
        options: &ChatOptions,
        add_generation_prompt: bool,
    ) -> Result<String> {
        let rendering = self.render_prompt(messages, options, add_generation_prompt)?;
        Ok(rendering.wait()?.shown())
    }

    /// As [`Model::apply_chat_template`], without blocking the thread while the template renders.
    pub async fn apply_chat_template_async(
        &self,
        messages: &[Message],
        options: &ChatOptions,
        add_generation_prompt: bool,
    ) -> Result<String> {
        let rendering = self.render_prompt(messages, options, add_generation_prompt)?;
        Ok(rendering.wait_async().await?.shown())
    }

    fn render_prompt(
        &self,
        messages: &[Message],
        options: &ChatOptions,
        add_generation_prompt: bool,
    ) -> Result<Rendering> {
        let began = Instant::now();
        let loaded = self.loaded()?;
        check_overflow(options)?;
        let pictures = if options.generate.settled_overflow() == Overflow::Truncate {
            self.pictures(messages)?
        } else {
            if has_pictures(messages) {
                loaded.vision.check_supported(messages)?;
            }
            Vec::new()
        };
        self.render(messages, options, add_generation_prompt, began, pictures)
    }

    /// Renders on a separate thread, because templates are untrusted programs. With the overflow `Truncate` or
    /// `Compact`, the oldest turns are left out if the prompt would be too long.
    pub(super) fn render(
        &self,
        messages: &[Message],
        options: &ChatOptions,
        add_generation_prompt: bool,
        began: Instant,
        pictures: Vec<Arc<PreparedPicture>>,
    ) -> Result<Rendering> {
        let loaded = self.loaded()?;
        if options.generate.infill_suffix.is_some() {
            let problem = "is only for `generate` and `stream`, not for chats";
            return Err(Error::option("infill_suffix", problem));
        }
        let deadline = deadline(began, options.generate.timeout)?;
        let cancel = CancelToken::with_deadline(deadline);
        let n_given = messages.len();
        let messages = loaded.defaults.before(messages).into_owned();
        // Messages that are stored with the model stay.
        let n_stored = messages.len() - n_given;
        let (options, token) = (options.clone(), cancel.clone());
        let (n_ctx, steps) =
            (self.context_size() as usize, steps_of(options.generate.settled_overflow()));
        let max_tokens = options.generate.max_tokens.or(loaded.defaults.options.max_tokens);
        let answer = max_tokens.map_or(n_ctx / 4, |most| (most as usize).min(n_ctx / 2));
        let rendered = run_on_new_thread(TEMPLATE_STACK, move || {
            let (templates, vocab) = (loaded.templates(&options, &token)?, &loaded.vocab);
            let render = |messages: &[Message]| {
                render(&templates, vocab, messages, &options, add_generation_prompt, &token)
            };
            let Some(steps) = steps else {
                let rendered = render(&messages)?;
                let (start, dropped) = (0, (0, 0));
                return Ok(RenderedChat { templates, rendered, pictures, start, dropped });
            };
            let fitted = fit(&messages, n_stored, n_ctx - answer, steps, |left, start| {
                let rendered = render(left)?;
                let pictures = pictures_from(&messages, n_stored, start, &pictures);
                let size = tokens_of(&templates, vocab, &rendered.prompt, &pictures)?.tokens.len();
                Ok(((rendered, pictures), size))
            })?;
            let (rendered, pictures) = fitted.prompt;
            Ok(RenderedChat {
                templates,
                rendered,
                pictures,
                start: fitted.start.saturating_sub(n_stored),
                dropped: (fitted.messages, fitted.tokens),
            })
        })?;
        Ok(Rendering { rendered, started: Instant::now(), deadline, cancel })
    }

    /// Converts text to tokens. `add_special` adds the special tokens that the model expects around
    /// a text; `parse_special` parses special tokens written in the text.
    pub fn tokenize(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<Token>> {
        self.loaded()?.vocab.tokenize(text, add_special, parse_special)
    }

    /// Converts tokens to text; `skip_special` leaves special tokens out.
    pub fn detokenize(&self, tokens: &[Token], skip_special: bool) -> Result<String> {
        self.loaded()?.vocab.detokenize(tokens, skip_special)
    }

    /// The number of tokens of a text as a prompt.
    pub fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(self.loaded()?.vocab.tokenize(text, true, true)?.len())
    }

    /// Sets the adapters for all future requests that do not specify their own; running requests
    /// are not affected. Once read, an adapter stays in memory until the model is freed.
    pub fn set_lora(&self, lora: impl Into<Lora>) -> Result<()> {
        let loaded = self.loaded()?;
        let adapters = loaded.weights.adapters(&lora.into())?;
        *loaded.adapters.lock().unwrap_or_else(PoisonError::into_inner) = adapters;
        Ok(())
    }

    /// Submits a request to the engine.
    pub(super) fn submit(
        &self,
        loaded: Arc<Loaded>,
        mut prompt: Vec<Token>,
        options: &GenerateOptions,
        constraint: Constraint,
        extras: RequestExtras,
    ) -> Result<Stream> {
        let RequestExtras {
            mut stops,
            preserved,
            reasoning,
            delivery,
            media,
            began,
            mut dropped,
            shorten,
        } = extras;
        let n_image = media.iter().map(|run| run.range().len()).sum();
        let submitted = began.unwrap_or_else(Instant::now);
        let engine = loaded.engine()?;
        let n_ctx = self.context_size() as usize;
        if prompt.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the prompt is empty"));
        }
        if prompt.len() > n_ctx && shorten == Shorten::Shift {
            dropped.1 += drop_oldest(&mut prompt, 0, n_ctx, &loaded.vocab).1.len();
        }
        if prompt.len() > n_ctx {
            let pictures = match n_image {
                0 => String::new(),
                _ => format!(", {n_image} of them of pictures,"),
            };
            return Err(Error::new(
                ErrorKind::ContextOverflow,
                format!("the prompt has {} tokens{pictures} and the context {n_ctx}", prompt.len()),
            )
            .with_context("prompt_tokens", prompt.len())
            .with_context("context_size", n_ctx)
            .with_hint(Text::with_names(match shorten {
                Shorten::SuggestTruncating => {
                    "set {overflow} to `truncate`, or load the model with a larger {context_size}"
                }
                _ => "shorten the prompt, or load the model with a larger {context_size}",
            })));
        }
        let defaults = &loaded.defaults.options;
        let max_tokens = options.max_tokens.or(defaults.max_tokens);
        let own_stops = options.stop.as_ref().or(defaults.stop.as_ref());
        stops.extend(own_stops.iter().flat_map(|stop| stop.0.iter().cloned()));
        if stops.iter().any(String::is_empty) {
            return Err(Error::option("stop", "a stop sequence must not be empty"));
        }
        let (events, stream_events) = flume::unbounded();
        let deadline = deadline(submitted, options.timeout)?;
        let cancel = CancelToken::with_deadline(deadline);
        let with_logprobs = options.logprobs.is_some();
        let mut answer = Answer::new(
            events,
            delivery,
            (prompt.len(), n_image),
            stops,
            with_logprobs,
            submitted,
            cancel.clone(),
        );
        (answer.dropped_messages, answer.dropped_tokens) = (dropped.0 as u32, dropped.1 as u32);
        let answer = SharedAnswer::new(answer);
        let given_up = answer.clone();
        let watch = DeadlineWatch::new(&cancel, move || given_up.end_early());
        let grammar = match constraint {
            Constraint::None => None,
            Constraint::Compiled(grammar) => Some(grammar),
            Constraint::Late => {
                answer.end_early();
                return Ok(Stream::new(stream_events, cancel, watch, loaded));
            }
        };
        let job = Job {
            prompt,
            media,
            sampling: Sampling { reasoning, ..Sampling::resolve(options, defaults)? },
            grammar,
            processors: options.logits_processors.clone().unwrap_or_default(),
            banned: Banned::new(
                &loaded.vocab,
                options.banned_phrases.as_deref().unwrap_or_default(),
            )?,
            max_tokens,
            shifts: shorten == Shorten::Shift,
            preserved,
            logprobs: options.logprobs,
            prompt_progress: options.settled_prompt_progress(),
            max_guesses: max_guesses(engine, options, defaults)?,
            is_alone: options.settled_reproducible(),
            adapters: loaded.adapters_of(options.lora.as_ref())?,
            priority: options.settled_priority(),
            client: options.client.clone(),
            answer,
            cancel: cancel.clone(),
        };
        engine.submit(job, options.request_id.clone())?;
        Ok(Stream::new(stream_events, cancel, watch, loaded))
    }
}

/// Fails for what a single request for an answer cannot do when the context is full.
fn check_overflow(options: &ChatOptions) -> Result<()> {
    let problem = match options.generate.settled_overflow() {
        Overflow::Error | Overflow::Truncate => return Ok(()),
        Overflow::Shift => "`shift` is for `generate` and `stream`; chats have `truncate`",
        Overflow::Compact => "`compact` is for conversations, whose messages it replaces",
    };
    Err(Error::option("overflow", problem))
}

/// The parts of the context by whose multiples turns are left out: see [`fit`]. `None` if none are.
fn steps_of(overflow: Overflow) -> Option<usize> {
    match overflow {
        Overflow::Error | Overflow::Shift => None,
        Overflow::Truncate => Some(4),
        // A summary takes long.
        Overflow::Compact => Some(2),
    }
}

/// The pictures of the messages that [`fit`] leaves.
fn pictures_from(
    messages: &[Message],
    protected: usize,
    start: usize,
    pictures: &[Arc<PreparedPicture>],
) -> Vec<Arc<PreparedPicture>> {
    let mut pictures = pictures.iter().cloned();
    let mut left = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let own = pictures.by_ref().take(count_pictures(message));
        if index >= start || stays(index, message, protected) {
            left.extend(own);
        } else {
            own.for_each(drop);
        }
    }
    left
}

/// Number of guessed tokens per step, by method.
fn max_guesses(
    engine: &Engine,
    options: &GenerateOptions,
    defaults: &GenerateOptions,
) -> Result<MaxGuesses> {
    let mut settled = options.clone();
    settled.fill(&GenerateOptions {
        draft: defaults.draft,
        draft_max: defaults.draft_max,
        prompt_lookup: defaults.prompt_lookup,
        ..GenerateOptions::default()
    });
    let (most, copied) = (settled.settled_draft_max(), settled.settled_prompt_lookup());
    let mode = settled.settled_draft();
    if mode == DraftMode::Model && !engine.has_draft() {
        let problem = "the model was loaded without a draft model";
        return Err(Error::option("draft", problem)
            .with_hint(Text::with_names("load the model with {draft_model}")));
    }
    if mode == DraftMode::Mtp {
        let problem = "heads for multi-token prediction are not supported yet";
        return Err(Error::new(ErrorKind::Unsupported, problem).with_hint(Text::with_names(
            "load the model with {draft_model}, or use {prompt_lookup}",
        )));
    }
    if options.settled_reproducible() {
        // With `reproducible`, no guesses: steps of other sizes round differently.
        return Ok(MaxGuesses::default());
    }
    let by_model = if engine.has_draft() { most } else { 0 };
    Ok(match mode {
        DraftMode::Auto => MaxGuesses { by_lookup: copied, by_model },
        DraftMode::Off | DraftMode::Mtp => MaxGuesses::default(),
        DraftMode::Model => MaxGuesses { by_lookup: 0, by_model },
        DraftMode::Lookup => {
            MaxGuesses { by_lookup: if copied > 0 { copied } else { most }, by_model: 0 }
        }
    })
}
