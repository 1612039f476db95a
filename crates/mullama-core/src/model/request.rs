//! Requests to a model: text, chat, tokens.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::constraint::{Compiling, Constraint};
use super::handle::Model;
use super::loaded::Loaded;
use super::vision::{SeenPrompt, tokens_of};
use crate::chat::{
    ChatCompletion, ChatStream, Message, PAST_DEADLINE, PICTURE, Pieces, Rendered, TEMPLATE_STACK,
    TEMPLATE_TIME, TOO_LONG, has_pictures, render, template_error,
};
use crate::engine::{DeadlineWatch, PreparedPicture, run_on_new_thread};
use crate::options::{ChatOptions, DraftMode, GenerateOptions, Lora, Prompt, deadline};
use crate::sampling::{GrammarSpec, ReasoningSpec, Sampling};
use crate::scheduler::{
    Answer, Banned, Completion, Delivery, Engine, Job, MaxGuesses, MediaRun, SharedAnswer, Stream,
};
use crate::{CancelToken, Error, ErrorKind, Result, Token};
use mullama_base::Text;
use mullama_sys::shim::ChatParser;
use serde_json::Value;

/// Size in bytes of the stack of the thread that decodes pictures.
const PICTURE_STACK: usize = 2 << 20;

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
struct Rendering {
    rendered: flume::Receiver<Result<Rendered>>,
    started: Instant,
    deadline: Option<Instant>,
    cancel: CancelToken,
}

impl Rendering {
    /// Waits for the prompt. The wait is limited: a single step of a template may exceed the time limit.
    fn wait(self) -> Result<Rendered> {
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

    async fn wait_async(self) -> Result<Rendered> {
        let _cancel = self.cancel.drop_guard();
        let rendered = run_on_new_thread(0, move || self.wait())?;
        rendered.recv_async().await.unwrap_or_else(|_| Err(panicked()))
    }
}

fn panicked() -> Error {
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
        let tokens = match &options.infill_suffix {
            Some(suffix) => loaded.infill(prompt, suffix)?,
            None => loaded.tokens_of(prompt)?,
        };
        let of_schema = |schema: &Value| GrammarSpec::Schema {
            schema: schema.clone(),
            reasoning: None,
            begun: String::new(),
        };
        let grammar =
            GrammarSpec::asked(options)?.or_else(|| options.json_schema.as_ref().map(of_schema));
        let constraint = Compiling::start(&loaded, grammar, deadline(began, options.timeout)?)?;
        let extras = RequestExtras { delivery, began: Some(began), ..RequestExtras::default() };
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
        let pictures = self.pictures(messages)?;
        let rendered = self.render(messages, options, true, began)?.wait()?;
        let (prepared, reader) =
            self.prepare_answer(rendered, &pictures, options, delivery, began)?;
        Ok(reader.read(self.submit_prepared(prepared, &options.generate)?, options))
    }

    async fn stream_answer_async(
        &self,
        messages: &[Message],
        options: &ChatOptions,
        delivery: Delivery,
    ) -> Result<ChatStream> {
        let began = Instant::now();
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
        let rendered = self.render(messages, options, true, began)?.wait_async().await?;
        let (prepared, reader) =
            self.prepare_answer(rendered, &pictures, options, delivery, began)?;
        let stream = self.submit_prepared_async(prepared, &options.generate).await?;
        Ok(reader.read(stream, options))
    }

    /// Decodes the pictures of messages, and divides them into parts.
    fn pictures(&self, messages: &[Message]) -> Result<Vec<Arc<PreparedPicture>>> {
        if !has_pictures(messages) {
            return Ok(Vec::new());
        }
        let loaded = self.loaded()?;
        loaded.vision.pictures(&loaded.weights, messages)
    }

    fn prepare_answer(
        &self,
        rendered: Rendered,
        pictures: &[Arc<PreparedPicture>],
        options: &ChatOptions,
        delivery: Delivery,
        began: Instant,
    ) -> Result<(PreparedRequest, AnswerReader)> {
        let loaded = self.loaded()?;
        let Rendered { prompt, grammar, stops, preserved, reasoning, parser, begun } = rendered;
        let SeenPrompt { tokens, media } =
            tokens_of(loaded.templates()?, &loaded.vocab, &prompt, pictures)?;
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
        let extras = RequestExtras { stops, preserved, reasoning, delivery, media, began };
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
        let began = Instant::now();
        let loaded = self.loaded()?;
        if has_pictures(messages) {
            loaded.vision.check_is_on(messages)?;
        }
        let rendered = self.render(messages, options, add_generation_prompt, began)?.wait()?;
        Ok(rendered.prompt.text.replace(PICTURE, "<image>"))
    }

    /// Renders on a separate thread, because templates are untrusted programs.
    fn render(
        &self,
        messages: &[Message],
        options: &ChatOptions,
        add_generation_prompt: bool,
        began: Instant,
    ) -> Result<Rendering> {
        let loaded = self.loaded()?;
        if options.generate.infill_suffix.is_some() {
            let problem = "is only for `generate` and `stream`, not for chats";
            return Err(Error::option("infill_suffix", problem));
        }
        let deadline = deadline(began, options.generate.timeout)?;
        let cancel = CancelToken::with_deadline(deadline);
        let messages = loaded.defaults.before(messages).into_owned();
        let (options, token) = (options.clone(), cancel.clone());
        let rendered = run_on_new_thread(TEMPLATE_STACK, move || {
            let templates = loaded.templates()?;
            render(templates, &loaded.vocab, &messages, &options, add_generation_prompt, &token)
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
        prompt: Vec<Token>,
        options: &GenerateOptions,
        constraint: Constraint,
        extras: RequestExtras,
    ) -> Result<Stream> {
        let RequestExtras { mut stops, preserved, reasoning, delivery, media, began } = extras;
        let n_image = media.iter().map(|run| run.range().len()).sum();
        let submitted = began.unwrap_or_else(Instant::now);
        let engine = loaded.engine()?;
        let n_ctx = self.context_size() as usize;
        if prompt.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the prompt is empty"));
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
            .with_hint(Text::with_names(
                "shorten the prompt, or load the model with a larger {context_size}",
            )));
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
        let answer = Answer::new(
            events,
            delivery,
            (prompt.len(), n_image),
            stops,
            with_logprobs,
            submitted,
            cancel.clone(),
        );
        let answer = SharedAnswer::new(answer);
        let given_up = answer.clone();
        let watch = DeadlineWatch::new(&cancel, move || given_up.give_up());
        let grammar = match constraint {
            Constraint::None => None,
            Constraint::Compiled(grammar) => Some(grammar),
            Constraint::Late => {
                answer.give_up();
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
