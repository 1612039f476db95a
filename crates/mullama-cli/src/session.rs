//! A conversation with a model.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mullama::hub::Parameters;
use mullama::{
    ChatOptions, Completion, Content, ContentPart, Error, ErrorKind, FinishReason, Message, Model,
    Overflow, Prompt, ResolvedModel, StopKind, TokenLogprob, write_state,
};
use mullama_base::{Text, folders, units};
use serde_json::{Map, Value};

use crate::conversation_store::{Conversation, ConversationStore};
use crate::dropped;
use crate::failure::Failure;
use crate::options::Options;
use crate::progress::Loading;
use crate::source;
use crate::terminal::{forget_interrupt, interrupt_token, print_answer, print_message, table};

/// The settings from the command line. They override those of the model.
pub struct Settings {
    /// Options by name.
    pub options: Map<String, Value>,
    /// The system message.
    pub system: Option<String>,
    /// Whether prompts are continued as text, without a chat template.
    pub raw: bool,
    /// Whether times and rates are printed.
    pub verbose: bool,
    /// Whether the conversation continues that of the last run, and is stored for the next.
    pub keep: bool,
    /// Whether the user can type commands such as `/clear`.
    pub is_interactive: bool,
    /// The prompt cache file.
    pub prompt_cache: Option<PromptCache>,
}

/// A file with the state of the KV cache after a prompt and its answer.
#[derive(Clone)]
pub struct PromptCache {
    pub file: PathBuf,
    /// Whether the state is written at the end.
    pub is_writable: bool,
}

/// A loaded model, its options, and the conversation.
pub struct Session {
    pub settings: Settings,
    pub found: ResolvedModel,
    pub model: Model,
    /// Parameters set during the session. They override the command line.
    pub parameters: Parameters,
    /// The current system message.
    pub system: Option<String>,
    /// The conversation, without the system message.
    pub messages: Vec<Message>,
    /// Images for the next message.
    images: Vec<ContentPart>,
    options: ChatOptions,
    raw: bool,
    store: Option<ConversationStore>,
    /// The loading time, until it is reported.
    loading: Option<Duration>,
    /// In raw mode: the last prompt and its continuation.
    text: String,
}

impl Session {
    /// Loads the model.
    pub fn start(source: &str, settings: Settings) -> Result<Self, Failure> {
        let found = ResolvedModel::find(source)?;
        let store = settings.keep.then(|| ConversationStore::of(&found)).transpose()?;
        let before = store.as_ref().map(ConversationStore::read).transpose()?.flatten();
        let Conversation { system, messages } = match before {
            Some(before) => before,
            None => Conversation {
                system: found.system().map(str::to_owned),
                messages: found.messages()?,
            },
        };
        let system = settings.system.clone().or(system);
        let parameters = Parameters::default();
        let Loaded { model, options, raw, took } = load(&found, &settings, &parameters)?;
        let loading = Some(took);
        if let Some(cache) = &settings.prompt_cache
            && folders::expand_home(&cache.file).exists()
        {
            let tokens = model.load_state_file(&cache.file)?;
            if settings.verbose {
                print_message(format_args!("{:<22}{tokens} token(s)", "prompt cache:"));
            }
        }
        Ok(Self {
            settings,
            found,
            model,
            parameters,
            system,
            messages,
            images: Vec::new(),
            options,
            raw,
            store,
            loading,
            text: String::new(),
        })
    }

    /// Ends the session. Writes the prompt cache, if requested.
    pub fn close(self) -> Result<(), Failure> {
        let Some(cache) = self.settings.prompt_cache.as_ref().filter(|cache| cache.is_writable)
        else {
            return Ok(());
        };
        let prompt: Prompt = if self.raw {
            self.text.as_str().into()
        } else {
            let text =
                self.model.apply_chat_template(&self.all_messages(), &self.options, false)?;
            // The template already contains the start token (BOS).
            self.model.tokenize(&text, false, true)?.into()
        };
        Ok(write_state(&cache.file, &self.model.save_state(prompt)?)?)
    }

    /// The conversation, with the system message.
    fn all_messages(&self) -> Vec<Message> {
        let system = self.system.iter().map(Message::system);
        system.chain(self.messages.iter().cloned()).collect()
    }

    /// The current options by name.
    pub fn option_values(&self) -> Map<String, Value> {
        merge_options(&self.found, &self.settings, &self.parameters)
    }

    /// Sets parameters that do not require loading the model again.
    pub fn set(&mut self, parameters: Parameters) -> Result<(), Failure> {
        let values = merge_options(&self.found, &self.settings, &parameters);
        self.options = Options::parse(values)?.chat;
        self.parameters = parameters;
        Ok(())
    }

    /// Loads the model again with these parameters; restores the old ones if that fails.
    pub fn reload(&mut self, parameters: Parameters) -> Result<(), Failure> {
        self.model.close();
        let loaded = match load(&self.found, &self.settings, &parameters) {
            Ok(loaded) => loaded,
            Err(failure) => {
                self.restore()?;
                return Err(failure);
            }
        };
        self.parameters = parameters;
        self.take(loaded);
        Ok(())
    }

    /// Loads the model again after it was closed.
    pub fn restore(&mut self) -> Result<(), Failure> {
        // The interrupt was meant for the previous operation, not for this one.
        forget_interrupt();
        self.take(load(&self.found, &self.settings, &self.parameters)?);
        Ok(())
    }

    fn take(&mut self, Loaded { model, options, raw, took }: Loaded) {
        (self.model, self.options, self.raw, self.loading) = (model, options, raw, Some(took));
    }

    /// Resets the conversation.
    pub fn clear(&mut self) -> Result<(), Failure> {
        self.messages = self.found.messages()?;
        self.store_conversation()
    }

    /// A hint about a full context.
    pub fn context_hint(&self) -> String {
        if !self.settings.is_interactive {
            return "set a larger context with -c".to_owned();
        }
        let larger = self.model.context_size().saturating_mul(2);
        let larger =
            format!("/set parameter num_ctx {larger} loads the model with a larger context");
        if self.messages.is_empty() {
            larger
        } else {
            format!(
                "/clear starts a new conversation, {larger}, and --overflow truncate or compact leaves out or sums up old turns"
            )
        }
    }

    /// Stores the conversation, if requested.
    fn store_conversation(&self) -> Result<(), Failure> {
        match &self.store {
            Some(store) => Ok(store.write(self.system.as_deref(), &self.messages)?),
            None => Ok(()),
        }
    }

    /// Adds an image to the next message.
    pub fn add_image(&mut self, path: &Path) -> Result<(), Failure> {
        if !self.can_see() {
            let message = "the model takes text only: it has no projector that can be used";
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_hint("models that accept pictures come with a projector: give its file with --mmproj")
                .into());
        }
        self.images.push(ContentPart::image_file(path)?);
        Ok(())
    }

    /// Adds the pictures whose paths are in a prompt to the next message, if the model accepts pictures. Returns the
    /// rest of the prompt.
    pub fn attach_dropped_files(&mut self, prompt: String) -> Result<String, Failure> {
        if !self.can_see() {
            return Ok(prompt);
        }
        let (text, paths) = dropped::split(&prompt);
        for path in paths {
            self.add_image(&path)?;
            print_message(format_args!("added the picture {}", path.display()));
        }
        Ok(text)
    }

    /// Whether the next message has pictures.
    pub fn has_images(&self) -> bool {
        !self.images.is_empty()
    }

    fn can_see(&self) -> bool {
        self.model.capabilities().vision && !self.raw
    }

    /// Answers a prompt on standard output, and adds both to the messages. If that fails, nothing is added.
    pub fn answer(&mut self, prompt: String) -> Result<FinishReason, Failure> {
        if self.raw {
            return self.continue_text(prompt);
        }
        let mut question = Message::user(prompt.clone());
        if !self.images.is_empty() {
            let mut parts = std::mem::take(&mut self.images);
            if !prompt.is_empty() {
                parts.push(ContentPart::text(prompt));
            }
            question.content = Some(Content::Parts(parts));
        }
        let options = self.make_room(&question)?;
        let mut messages = self.all_messages();
        messages.push(question.clone());
        let mut stream = self.model.stream_chat(&messages, &options)?;
        let cancel = stream.cancel_token();
        let _interrupted = interrupt_token().on_cancel(move || cancel.cancel());
        write_out(|| Ok(stream.next_chunk().transpose()?.map(|chunk| chunk.text)))?;
        let completion = stream.completion().ok_or_else(missing_answer)?;
        for call in &completion.message.tool_calls {
            print_answer(&format!("{}({})\n", call.function.name, call.function.arguments))?;
        }
        if let dropped @ 1.. = completion.usage.dropped_messages {
            print_message(format_args!("note: {dropped} older messages were left out"));
        }
        self.messages.extend([question, completion.message.clone()]);
        let loading = self.loading.take();
        self.report(completion, loading);
        self.store_conversation()?;
        self.finish_reason_of(completion)
    }

    /// With `--overflow compact`, replaces the oldest messages by a summary if there is no room for an answer. Returns
    /// the options of the answer.
    fn make_room(&mut self, question: &Message) -> Result<ChatOptions, Failure> {
        let mut options = self.options.clone();
        if options.generate.overflow != Some(Overflow::Compact) {
            return Ok(options);
        }
        options.generate.overflow = Some(Overflow::Truncate);
        let (history, input) = (self.all_messages(), std::slice::from_ref(question));
        if let Some(compaction) = self.model.compaction(&history, input, &options)? {
            let summary = compaction.summarize(&self.model, &options)?;
            self.messages =
                compaction.messages(&summary).split_off(usize::from(self.system.is_some()));
            let count = compaction.old().len();
            print_message(format_args!("note: {count} older messages were replaced by a summary"));
        }
        Ok(options)
    }

    fn continue_text(&mut self, prompt: String) -> Result<FinishReason, Failure> {
        let mut stream = self.model.stream(prompt.as_str(), &self.options.generate)?;
        let cancel = stream.cancel_token();
        let _interrupted = interrupt_token().on_cancel(move || cancel.cancel());
        write_out(|| Ok(stream.next_chunk().transpose()?.map(|chunk| chunk.text)))?;
        let completion = stream.completion().ok_or_else(missing_answer)?;
        self.text = prompt + &completion.text;
        let loading = self.loading.take();
        self.report(completion, loading);
        self.finish_reason_of(completion)
    }

    /// Why an answer ended. Fails if the answer was truncated but had to follow a format.
    fn finish_reason_of(&self, completion: &Completion) -> Result<FinishReason, Failure> {
        let ChatOptions { generate, chat, .. } = &self.options;
        let is_free = |format: &Value| format.get("type").is_some_and(|ty| ty == "text");
        let has_form = generate.json_schema.is_some()
            || generate.grammar.is_some()
            || generate.regex.is_some()
            || generate.lark.is_some()
            || chat.response_format.as_ref().is_some_and(|format| !is_free(format));
        if completion.finish_reason != FinishReason::Length {
            return Ok(completion.finish_reason);
        }
        let generated = completion.usage.completion_tokens;
        let by_limit = completion.stop_reason.kind == StopKind::MaxTokens;
        match (has_form, by_limit) {
            (false, true) => {}
            (false, false) => print_message(format_args!(
                "note: the answer was cut off because the context is full; {}",
                self.context_hint()
            )),
            (true, true) => {
                let problem = format!(
                    "the answer was cut off after {} and does not have the requested format",
                    units::count(generated as usize, "token")
                );
                return Err(Error::option("max_tokens", problem)
                    .with_hint(Text::with_names("raise {max_tokens}, or leave it out"))
                    .into());
            }
            (true, false) => {
                let message = "the context was full before the answer had the requested format";
                return Err(Error::new(ErrorKind::ContextOverflow, message)
                    .with_hint(Text::with_names("a larger {context_size} has room for more"))
                    .into());
            }
        }
        Ok(completion.finish_reason)
    }

    fn report(&self, completion: &Completion, loading: Option<Duration>) {
        if let Some(tokens) = &completion.logprobs {
            print_message(logprobs(tokens).trim_end());
        }
        if !self.settings.verbose {
            return;
        }
        let (usage, timings) = (&completion.usage, &completion.timings);
        let load_ms = loading.map(|took| took.as_secs_f64() * 1e3);
        let decoding = (timings.total_ms - timings.first_token_ms).max(0.0);
        print_message("");
        let rows = [
            ("total duration", Some(milliseconds(timings.total_ms + load_ms.unwrap_or(0.0)))),
            ("load duration", load_ms.map(milliseconds)),
            ("first token after", Some(milliseconds(timings.first_token_ms))),
            ("prompt eval count", Some(format!("{} token(s)", usage.prompt_tokens))),
            (
                "prompt cached count",
                Some(usage.cached_tokens)
                    .filter(|count| *count > 0)
                    .map(|count| format!("{count} token(s)")),
            ),
            (
                "prompt image count",
                Some(usage.image_tokens)
                    .filter(|count| *count > 0)
                    .map(|count| format!("{count} token(s)")),
            ),
            ("prompt eval duration", Some(milliseconds(timings.prompt_ms))),
            ("prompt eval rate", Some(format!("{:.2} tokens/s", timings.prompt_tps))),
            ("eval count", Some(format!("{} token(s)", usage.completion_tokens))),
            (
                "drafted count",
                Some((usage.drafted_tokens, usage.accepted_tokens))
                    .filter(|(drafted, _)| *drafted > 0)
                    .map(|(drafted, accepted)| format!("{drafted} token(s), {accepted} accepted")),
            ),
            ("eval duration", Some(milliseconds(decoding))),
            ("eval rate", Some(format!("{:.2} tokens/s", timings.decode_tps))),
            ("finish reason", Some(completion.finish_reason.name().to_owned())),
        ];
        for (name, value) in rows {
            if let Some(value) = value {
                print_message(format_args!("{:<22}{value}", format!("{name}:")));
            }
        }
    }
}

/// A table of an answer's tokens with log probabilities, and the most likely alternatives.
fn logprobs(tokens: &[TokenLogprob]) -> String {
    let shown = |text: &str, logprob: f32| format!("{text:?} {logprob:.3}");
    let rows: Vec<_> = tokens
        .iter()
        .map(|token| {
            let top = token.top.iter().map(|top| shown(&top.text, top.logprob));
            let top = top.collect::<Vec<_>>().join("  ");
            vec![format!("{:?}", token.text), format!("{:.3}", token.logprob), top]
        })
        .collect();
    table(&["TOKEN", "LOGPROB", "CANDIDATES"], &rows)
}

/// A loaded model, and the options for its answers.
struct Loaded {
    model: Model,
    options: ChatOptions,
    raw: bool,
    took: Duration,
}

/// Merges the options: those set in the session override the command line, which overrides the model's.
fn merge_options(
    found: &ResolvedModel,
    settings: &Settings,
    parameters: &Parameters,
) -> Map<String, Value> {
    let mut values = found.options();
    values.extend(settings.options.clone());
    values.extend(parameters.to_options());
    values
}

fn load(
    found: &ResolvedModel,
    settings: &Settings,
    parameters: &Parameters,
) -> Result<Loaded, Failure> {
    let mut options = Options::parse(merge_options(found, settings, parameters))?;
    if options.model.chat_template.is_none() && !settings.raw {
        options.model.chat_template = source::chat_template(found)?;
    }
    if options.model.projector.is_none() {
        options.model.projector =
            found.projector()?.map(|path| path.to_string_lossy().into_owned());
    }
    let begun = Instant::now();
    let mut progress = Loading::new();
    let Options { model, context, chat } = options;
    // The options above include the stored ones.
    let file = found.without_defaults();
    let model = Model::load_resolved(&file, model, context, |fraction| {
        progress.update(fraction);
        !interrupt_token().is_cancelled()
    })?;
    drop(progress);
    if settings.verbose {
        report_loading(&model, found);
    }
    let raw = settings.raw || !model.capabilities().chat;
    if raw && settings.keep {
        return Err(Error::new(
            ErrorKind::Template,
            "the model has no chat template, so there is no conversation to continue",
        )
        .with_hint("give a template with --chat-template, or leave --keep-context out")
        .into());
    }
    Ok(Loaded { model, options: chat, raw, took: begun.elapsed() })
}

/// Prints the placement of the model, and its unused parameters.
fn report_loading(model: &Model, found: &ResolvedModel) {
    for share in &model.placement().devices {
        print_message(format_args!(
            "{:<22}{} layers, {} weights, {} KV cache, {} compute",
            format!("{}:", share.name),
            share.layers,
            units::binary(share.weights),
            units::binary(share.kv),
            units::binary(share.compute)
        ));
    }
    let unused = found.stored.iter().flat_map(|stored| stored.parameters.unused());
    for name in unused {
        print_message(format_args!("{:<22}{name}", "unused parameter:"));
    }
}

fn milliseconds(milliseconds: f64) -> String {
    if milliseconds < 1e3 {
        format!("{milliseconds:.3}ms")
    } else {
        format!("{:.3}s", milliseconds / 1e3)
    }
}

fn missing_answer() -> Error {
    Error::new(ErrorKind::Internal, "the stream ended without an answer")
}

/// Prints pieces of text as they arrive, and a final newline.
fn write_out(mut next: impl FnMut() -> mullama::Result<Option<String>>) -> Result<(), Failure> {
    let mut at_line_start = true;
    while let Some(text) = next()? {
        if !text.is_empty() {
            print_answer(&text)?;
            at_line_start = text.ends_with('\n');
        }
    }
    if !at_line_start {
        print_answer("\n")?;
    }
    Ok(())
}
