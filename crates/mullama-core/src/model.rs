//! A loaded model: the handle that everything is asked through.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use mullama_hub::{PullOptions, StoredModel};
use mullama_sys as sys;
use serde::Serialize;
use serde_json::Value;
use sys::shim::ChatTemplates;

use crate::adapter::{AdapterSet, Lora};
use crate::chat::{ChatCompletion, ChatOptions, ChatStream, Rendered, render};
use crate::completion::Completion;
use crate::conversation::Chat;
use crate::device::DeviceSet;
use crate::embedding::{Embedders, Facts as EmbeddingFacts};
use crate::engine::{
    CancelToken, ContextSettings, Delivery, Engine, Job, SavedCells, Started, Stats, closed,
};
use crate::message::Message;
use crate::params::{ContextParams, ModelParams};
use crate::placement::Placement;
use crate::prompt::Prompt;
use crate::reasoning::ReasoningSpec;
use crate::sampling::{GenerateOptions, Grammar, GrammarSpec, Sampling, schema_to_gbnf};
use crate::source::{Brought, Found, pull};
use crate::state::{self, Fingerprint};
use crate::stream::Stream;
use crate::vocab::Vocab;
use crate::weights::Weights;
use crate::{Error, ErrorKind, Result, Token, planner, preflight, runtime};
use mullama_gguf::GgufHeader;

/// A loaded model: cheap to clone, usable from any thread, many requests at a time.
///
/// The model is freed when the last clone and the last stream are gone, or by [`Model::close`].
#[derive(Clone)]
pub struct Model {
    shared: Arc<Shared>,
}

struct Shared {
    facts: Facts,
    /// Empty once the model has been closed.
    loaded: RwLock<Option<Arc<Loaded>>>,
}

/// What is freed when a model is closed.
pub(crate) struct Loaded {
    // Dropped in this order: the contexts before the weights that they use.
    /// None where only the vocabulary was loaded, or the model does not generate.
    engine: Option<Engine>,
    pub(crate) embedders: Embedders,
    pub(crate) vocab: Vocab,
    weights: Arc<Weights>,
    /// Compiled on first use.
    templates: OnceLock<Result<ChatTemplates>>,
    template_override: Option<String>,
    /// What holds where a request says nothing: what the store keeps with the model, else what its
    /// metadata recommend.
    brought: Brought,
    /// The adapters of requests that name none.
    adapters: Mutex<AdapterSet>,
    path: PathBuf,
    /// Settings that what is computed depends on.
    settings: String,
    fingerprint: OnceLock<Result<Fingerprint>>,
}

/// What a request has beside its options.
#[derive(Default)]
struct Extras {
    grammar: Option<GrammarSpec>,
    /// Stop texts of the chat template.
    stops: Vec<String>,
    /// Special tokens whose text is part of the answer.
    preserved: Vec<Token>,
    reasoning: Option<ReasoningSpec>,
    delivery: Delivery,
}

/// A state that is to be saved.
struct WantedState {
    loaded: Arc<Loaded>,
    tokens: Vec<Token>,
    adapters: AdapterSet,
}

impl WantedState {
    fn save(self) -> Result<Vec<u8>> {
        let Self { loaded, tokens, adapters } = self;
        let cells = loaded.engine()?.save(adapters, tokens)?;
        Ok(state::encode(&cells, &loaded.fingerprint(&cells.adapters)?))
    }
}

/// What is known of a model for good.
struct Facts {
    path: PathBuf,
    context_size: u32,
    placement: Placement,
    gpu_layers: u32,
    n_layers: u32,
    n_vocab: u32,
    n_embd: u32,
    n_params: u64,
    size: u64,
    architecture: String,
    name: Option<String>,
    description: String,
    metadata: BTreeMap<String, String>,
    chat_template: Option<String>,
    capabilities: Capabilities,
}

/// What can be done with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// Text can be generated.
    pub generate: bool,
    /// There is a chat template.
    pub chat: bool,
    /// The chat template takes tools.
    pub tools: bool,
    /// The chat template can switch reasoning on and off.
    pub reasoning: bool,
    /// Texts can be embedded, without more ado.
    pub embed: bool,
    /// Documents can be ranked: there is a classification head.
    pub rerank: bool,
}

impl Model {
    /// Loads a model: a path to a GGUF file (the first shard of a split one), the name of a model in the
    /// local store (`llama3.2:1b`, `hf.co/user/repo:Q4_K_M`), or `demo`, the built-in model. Nothing is
    /// downloaded; [`Model::pull`] does that.
    ///
    /// What the store keeps with a model (a Modelfile's parameters, system message, messages, template)
    /// holds where neither these options nor those of a request say otherwise.
    ///
    /// ```
    /// use mullama_core::{ContextParams, Model, ModelParams};
    ///
    /// let model = Model::load("demo", ModelParams::default(), ContextParams::default())?;
    /// assert_eq!(model.architecture(), "llama");
    /// # Ok::<_, mullama_core::Error>(())
    /// ```
    pub fn load(
        source: impl AsRef<Path>,
        params: ModelParams,
        context: ContextParams,
    ) -> Result<Self> {
        Self::load_with_progress(source, params, context, |_| true)
    }

    /// As [`Model::load`]; `progress` hears how far it is, from 0 to 1, and cancels by returning
    /// false.
    pub fn load_with_progress(
        source: impl AsRef<Path>,
        mut params: ModelParams,
        mut context: ContextParams,
        mut progress: impl FnMut(f32) -> bool,
    ) -> Result<Self> {
        let found = Found::find(source)?;
        let header = GgufHeader::read(&found.path)?;
        let (brought, unusable) = found.fill(&header, &mut params, &mut context)?;
        let path = found.path;
        let vocab_only = params.vocab_only.unwrap_or(false);
        preflight::check(&path, &header, vocab_only)?;
        runtime::require_cpu()?;
        let (params, settings, devices) = if vocab_only {
            (params, None, DeviceSet::default())
        } else {
            let plan = planner::settle(&path, &header, &params, &context)?;
            (plan.params, Some(plan.settings), plan.devices)
        };
        let weights = Arc::new(Weights::load(&path, &params, &devices, &mut progress)?);
        let vocab = Vocab::new(Arc::clone(&weights));
        let adapters = params.lora.as_ref().map(|lora| weights.adapters(lora)).transpose()?;
        let adapters = adapters.unwrap_or_default();

        // SAFETY: the model is alive; plain questions.
        let (n_layers, n_embd, n_params, size, has_decoder, has_encoder) = unsafe {
            let model = weights.as_ptr();
            (
                sys::llama_model_n_layer(model),
                sys::llama_model_n_embd_out(model),
                sys::llama_model_n_params(model),
                sys::llama_model_size(model),
                sys::llama_model_has_decoder(model),
                sys::llama_model_has_encoder(model),
            )
        };
        let computed_with = settings.as_ref().map_or_else(String::new, |settings| {
            let ContextSettings { type_k, type_v, rope_freq_base, rope_freq_scale, .. } = settings;
            let overrides = &params.metadata_overrides;
            format!("{type_k:?} {type_v:?} {rope_freq_base} {rope_freq_scale} {overrides:?}")
        });
        // Encoders are embedded with only; what joins an encoder and a decoder does neither.
        let is_plain = has_decoder && !has_encoder;
        let (engine, started) = match &settings {
            None => (None, Started::default()),
            Some(settings) => {
                let (engine, mut started) =
                    Engine::start(Arc::clone(&weights), vocab.clone(), settings.clone())?;
                started.can_generate &= is_plain;
                if !started.can_generate {
                    started.placement = started.placement.weights_alone();
                }
                (started.can_generate.then_some(engine), started)
            }
        };
        let embedding = EmbeddingFacts::new(
            (&path, &header, &params, settings),
            is_plain,
            started.can_generate.then_some(started.n_ctx),
            &weights,
        );

        let metadata = weights.metadata();
        let chat_template = params
            .chat_template
            .clone()
            .or_else(|| metadata.get("tokenizer.chat_template").cloned());
        let (embed, rerank) = (embedding.can_embed(), embedding.can_rerank());
        let context_size = embedding.limit as u32;
        let loaded = Loaded {
            engine,
            embedders: Embedders::new(embedding, Arc::clone(&weights)),
            vocab,
            // Text can be continued without the template; a chat hears what is wrong with it.
            templates: unusable.map_or_else(OnceLock::new, |error| OnceLock::from(Err(error))),
            template_override: params.chat_template,
            brought: brought.or(&recommended(&weights)),
            adapters: Mutex::new(adapters),
            path: path.clone(),
            settings: computed_with,
            fingerprint: OnceLock::new(),
            weights,
        };
        let caps = chat_template.as_ref().and_then(|_| loaded.template_capabilities());
        let (tools, reasoning) = caps.unwrap_or_default();
        let facts = Facts {
            context_size,
            placement: started.placement,
            gpu_layers: loaded.weights.offloaded.0,
            n_layers: n_layers.max(0) as u32,
            n_vocab: loaded.vocab.len() as u32,
            n_embd: n_embd.max(0) as u32,
            n_params,
            size,
            architecture: header.text("general.architecture").unwrap_or_default().to_owned(),
            name: header.text("general.name").map(str::to_owned),
            description: loaded.weights.description(),
            metadata,
            capabilities: Capabilities {
                generate: started.can_generate,
                chat: started.can_generate && chat_template.is_some(),
                tools,
                reasoning,
                embed,
                rerank,
            },
            chat_template,
            path,
        };
        let loaded = RwLock::new(Some(Arc::new(loaded)));
        Ok(Self { shared: Arc::new(Shared { facts, loaded }) })
    }

    /// Downloads a model into the local store, from where [`Model::load`] takes it: a name of Ollama's
    /// registry or of another (`llama3.2:1b`, `host/user/model:tag`), a repository of Hugging Face
    /// (`hf.co/user/repo:Q4_K_M`), or the address of a GGUF file.
    ///
    /// A model that is there and current is not downloaded again; a download that was broken off goes on.
    ///
    /// ```no_run
    /// use mullama_core::{ContextParams, Model, ModelParams};
    ///
    /// Model::pull("llama3.2:1b")?;
    /// let model = Model::load("llama3.2:1b", ModelParams::default(), ContextParams::default())?;
    /// # Ok::<_, mullama_core::Error>(())
    /// ```
    pub fn pull(name: impl AsRef<str>) -> Result<StoredModel> {
        Self::pull_with(name, PullOptions::default())
    }

    /// As [`Model::pull`], with reports of progress, cancellation, and other registries.
    ///
    /// Gives `NotFound` for a model that there is not, `Download` for a failure of the network or the
    /// server, `InvalidModel` for what is no model, `Io` for a disk that is full or cannot be written.
    pub fn pull_with(name: impl AsRef<str>, options: PullOptions<'_>) -> Result<StoredModel> {
        pull(name.as_ref(), options)
    }

    /// Generates until the model is done or an option ends it; waits for the whole answer.
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
        self.start(prompt.into(), options, Delivery::Whole)?.finish_async().await
    }

    /// Starts a generation and gives its pieces as they come.
    ///
    /// Pieces that come within two milliseconds of each other come together.
    pub fn stream(&self, prompt: impl Into<Prompt>, options: &GenerateOptions) -> Result<Stream> {
        self.start(prompt.into(), options, Delivery::Pieces)
    }

    fn start(
        &self,
        prompt: Prompt,
        options: &GenerateOptions,
        delivery: Delivery,
    ) -> Result<Stream> {
        let loaded = self.loaded()?;
        let tokens = loaded.tokens_of(prompt)?;
        let grammar = match (&options.grammar, &options.json_schema) {
            (Some(_), Some(_)) => {
                return Err(Error::option("grammar", "cannot be combined with `json_schema`"));
            }
            (Some(gbnf), None) => Some(gbnf.clone()),
            (None, Some(schema)) => Some(schema_to_gbnf(schema)?),
            (None, None) => None,
        };
        let grammar = grammar.map(|gbnf| GrammarSpec { gbnf, ..GrammarSpec::default() });
        self.submit(loaded, tokens, options, Extras { grammar, delivery, ..Extras::default() })
    }

    /// Answers the last of the messages through the model's chat template; waits for the whole
    /// answer. Where the last message is the assistant's, the answer goes on from it: what comes is the
    /// rest.
    pub fn chat(&self, messages: &[Message], options: &ChatOptions) -> Result<ChatCompletion> {
        self.start_answer(messages, options, Delivery::Whole)?.finish()
    }

    /// As [`Model::chat`], without blocking the thread.
    pub async fn chat_async(
        &self,
        messages: &[Message],
        options: &ChatOptions,
    ) -> Result<ChatCompletion> {
        self.start_answer(messages, options, Delivery::Whole)?.finish_async().await
    }

    /// Starts an answer to the last of the messages and gives its pieces as they come.
    ///
    /// Pieces that come within two milliseconds of each other come together.
    pub fn stream_chat(&self, messages: &[Message], options: &ChatOptions) -> Result<ChatStream> {
        self.start_answer(messages, options, Delivery::Pieces)
    }

    fn start_answer(
        &self,
        messages: &[Message],
        options: &ChatOptions,
        delivery: Delivery,
    ) -> Result<ChatStream> {
        let loaded = self.loaded()?;
        let Rendered { prompt, grammar, stops, preserved, reasoning, parser, continues } = render(
            loaded.templates()?,
            &loaded.vocab,
            &loaded.brought.before(messages),
            options,
            true,
        )?;
        let tokens = loaded.vocab.tokenize(&prompt, true, true)?;
        // Texts that are no single token have their characters in the answer anyhow.
        let preserved = preserved
            .iter()
            .filter_map(|text| match *loaded.vocab.tokenize(text, false, true).ok()? {
                [token] => Some(token),
                _ => None,
            })
            .collect();
        let extras = Extras { grammar, stops, preserved, reasoning, delivery };
        let stream = self.submit(loaded, tokens, &options.generate, extras)?;
        ChatStream::new(stream, parser, continues)
    }

    /// Starts a conversation, which keeps what is said and calls tools: see [`Chat`].
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

    /// The prompt that a chat with these messages would start from.
    pub fn apply_chat_template(
        &self,
        messages: &[Message],
        options: &ChatOptions,
        add_generation_prompt: bool,
    ) -> Result<String> {
        let loaded = self.loaded()?;
        let messages = loaded.brought.before(messages);
        let rendered =
            render(loaded.templates()?, &loaded.vocab, &messages, options, add_generation_prompt)?;
        Ok(rendered.prompt)
    }

    /// Text to tokens. `add_special` adds the tokens that the model expects around a text,
    /// `parse_special` takes special tokens that are written out in the text for what they are.
    pub fn tokenize(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<Token>> {
        self.loaded()?.vocab.tokenize(text, add_special, parse_special)
    }

    /// Tokens to text, special tokens written out unless `skip_special` is set.
    pub fn detokenize(&self, tokens: &[Token], skip_special: bool) -> Result<String> {
        self.loaded()?.vocab.detokenize(tokens, skip_special)
    }

    /// How many tokens a text takes as a prompt.
    pub fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(self.loaded()?.vocab.tokenize(text, true, true)?.len())
    }

    /// Makes these the adapters of all requests from now on that name none of their own; what runs goes on
    /// with what it has. An adapter stays in memory once it was read, until the model is freed.
    pub fn set_lora(&self, lora: impl Into<Lora>) -> Result<()> {
        let loaded = self.loaded()?;
        let adapters = loaded.weights.adapters(&lora.into())?;
        *loaded.adapters.lock().unwrap_or_else(PoisonError::into_inner) = adapters;
        Ok(())
    }

    /// What was computed from a prompt, as bytes for [`Model::load_state`], of this process or another.
    /// What has not been computed yet is.
    ///
    /// Takes the memory that the tokens have in the KV cache. The default adapters count as part of the
    /// model. Gives `Unsupported` where the model keeps nothing between requests (`prefix_cache` 0).
    pub fn save_state(&self, prompt: impl Into<Prompt>) -> Result<Vec<u8>> {
        let wanted = self.prepare_state(prompt.into())?;
        self.compute_for_state(&wanted)?.finish()?;
        wanted.save()
    }

    /// As [`Model::save_state`], without blocking the thread while the prompt is computed.
    pub async fn save_state_async(&self, prompt: impl Into<Prompt>) -> Result<Vec<u8>> {
        let wanted = self.prepare_state(prompt.into())?;
        self.compute_for_state(&wanted)?.finish_async().await?;
        wanted.save()
    }

    fn prepare_state(&self, prompt: Prompt) -> Result<WantedState> {
        let loaded = self.loaded()?;
        let (tokens, adapters) = (loaded.tokens_of(prompt)?, loaded.adapters_of(None)?);
        Ok(WantedState { loaded, tokens, adapters })
    }

    fn compute_for_state(&self, wanted: &WantedState) -> Result<Stream> {
        let options = GenerateOptions::default().with_max_tokens(1).with_temperature(0.0);
        let loaded = Arc::clone(&wanted.loaded);
        self.submit(loaded, wanted.tokens.clone(), &options, Extras::default())
    }

    /// Takes a state that was saved: requests that begin with its prompt go on from there. Gives how many
    /// tokens it has.
    ///
    /// Gives `InvalidArgument` for a state of another model or other settings, or one that is damaged, and
    /// `OutOfMemory` where requests that run leave no room.
    pub fn load_state(&self, state: &[u8]) -> Result<usize> {
        let loaded = self.loaded()?;
        let adapters = loaded.adapters_of(None)?;
        let (tokens, data) = state::decode(state, &loaded.fingerprint(&adapters)?)?;
        let count = tokens.len();
        loaded.engine()?.restore(SavedCells { adapters, tokens, data: data.to_owned() })?;
        Ok(count)
    }

    /// As [`Model::load_state`], of a file that [`write_state`](crate::write_state) wrote.
    pub fn load_state_file(&self, path: impl AsRef<Path>) -> Result<usize> {
        self.load_state(&state::read_state(path.as_ref())?)
    }

    /// As [`Model::close`], but what runs or waits already is finished first.
    pub fn finish(&self) {
        if let Some(loaded) = self.take_loaded() {
            loaded.engine.iter().for_each(Engine::finish);
            loaded.embedders.finish();
        }
    }

    /// Cancels what runs and frees the model now. Everything asked of it from then on fails with
    /// [`ErrorKind::Closed`], of its clones too; what it is (its name, its size) can still be asked.
    pub fn close(&self) {
        if let Some(loaded) = self.take_loaded() {
            loaded.engine.iter().for_each(Engine::stop);
            loaded.embedders.stop();
        }
    }

    fn take_loaded(&self) -> Option<Arc<Loaded>> {
        self.shared.loaded.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What the model has done since it was loaded, and what it is doing: all zero where only the
    /// vocabulary was loaded.
    pub fn stats(&self) -> Result<Stats> {
        let loaded = self.loaded()?;
        let mut stats = loaded.engine.as_ref().map(Engine::stats).unwrap_or_default();
        (stats.embedded_inputs, stats.embedded_tokens, stats.embedding_steps) =
            loaded.embedders.counts();
        Ok(stats)
    }

    /// Whether the model has been closed.
    pub fn is_closed(&self) -> bool {
        self.loaded().is_err()
    }

    /// The sampling options that hold where a call sets none: the model's own recommendations, else
    /// the defaults.
    pub fn default_options(&self) -> Result<Value> {
        let loaded = self.loaded()?;
        let sampling = Sampling::resolve(&GenerateOptions::default(), &loaded.brought.options)?;
        // By way of text, which has 0.8 where the nearest 32-bit float is 0.800000011920929.
        serde_json::to_string(&sampling)
            .and_then(|text| serde_json::from_str(&text))
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
    }

    /// The file that the model was loaded from.
    pub fn path(&self) -> &Path {
        &self.shared.facts.path
    }

    /// Tokens of context, shared by all requests that run at once; of a model that does not generate, those
    /// of the longest text; 0 where only the vocabulary was loaded.
    pub fn context_size(&self) -> u32 {
        self.shared.facts.context_size
    }

    /// Where the weights, the KV cache and the compute buffers are, in bytes as allocated; those of
    /// embeddings count from when they are first computed.
    pub fn placement(&self) -> Placement {
        let own = self.shared.facts.placement.clone();
        let Ok(loaded) = self.loaded() else { return own };
        loaded.embedders.placements().fold(own, Placement::plus)
    }

    /// Layers on GPUs, as the engine reports them; the output layer counts.
    pub fn gpu_layers(&self) -> u32 {
        self.shared.facts.gpu_layers
    }

    /// Layers (blocks), without the output layer.
    pub fn n_layers(&self) -> u32 {
        self.shared.facts.n_layers
    }

    /// Tokens in the vocabulary.
    pub fn n_vocab(&self) -> u32 {
        self.shared.facts.n_vocab
    }

    /// Numbers in an embedding.
    pub fn n_embd(&self) -> u32 {
        self.shared.facts.n_embd
    }

    /// Parameters.
    pub fn n_params(&self) -> u64 {
        self.shared.facts.n_params
    }

    /// Bytes of all tensors.
    pub fn size(&self) -> u64 {
        self.shared.facts.size
    }

    /// The architecture, as the file names it: `llama`, `qwen3`, ...
    pub fn architecture(&self) -> &str {
        &self.shared.facts.architecture
    }

    /// The name that the file gives itself.
    pub fn name(&self) -> Option<&str> {
        self.shared.facts.name.as_deref()
    }

    /// Architecture, size class and quantisation in a few words.
    pub fn description(&self) -> &str {
        &self.shared.facts.description
    }

    /// The file's metadata as text, without arrays.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.shared.facts.metadata
    }

    /// The chat template in use (Jinja).
    pub fn chat_template(&self) -> Option<&str> {
        self.shared.facts.chat_template.as_deref()
    }

    /// What can be done with the model.
    pub fn capabilities(&self) -> Capabilities {
        self.shared.facts.capabilities
    }

    pub(crate) fn loaded(&self) -> Result<Arc<Loaded>> {
        let loaded = self.shared.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.clone().ok_or_else(closed)
    }

    /// Hands a request to the engine.
    fn submit(
        &self,
        loaded: Arc<Loaded>,
        prompt: Vec<Token>,
        options: &GenerateOptions,
        extras: Extras,
    ) -> Result<Stream> {
        let Extras { grammar, mut stops, preserved, reasoning, delivery } = extras;
        let submitted = Instant::now();
        let engine = loaded.engine()?;
        let n_ctx = self.context_size() as usize;
        if prompt.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the prompt is empty"));
        }
        if prompt.len() > n_ctx {
            return Err(Error::new(
                ErrorKind::ContextOverflow,
                format!("the prompt has {} tokens and the context {n_ctx}", prompt.len()),
            )
            .with_context("prompt_tokens", prompt.len())
            .with_context("context_size", n_ctx)
            .with_hint("shorten the prompt, or load the model with a larger `context_size`"));
        }
        let brought = &loaded.brought.options;
        let max_tokens = options.max_tokens.or(brought.max_tokens);
        if max_tokens == Some(0) {
            return Err(Error::option("max_tokens", "must be 1 or more"));
        }
        let own_stops = options.stop.as_ref().or(brought.stop.as_ref());
        stops.extend(own_stops.iter().flat_map(|stop| stop.0.iter().cloned()));
        if stops.iter().any(String::is_empty) {
            return Err(Error::option("stop", "a stop text must not be empty"));
        }
        let (events, stream_events) = flume::unbounded();
        let deadline = match options.timeout {
            None => None,
            Some(seconds) if seconds.is_finite() && seconds > 0.0 => {
                submitted.checked_add(Duration::from_secs_f32(seconds.min(1e9)))
            }
            Some(_) => return Err(Error::option("timeout", "must be more than 0")),
        };
        let cancel = CancelToken::with_deadline(deadline);
        engine.submit(Job {
            prompt,
            sampling: Sampling { reasoning, ..Sampling::resolve(options, brought)? },
            grammar: grammar.map(|spec| Grammar::new(&loaded.vocab, &spec)).transpose()?,
            max_tokens,
            stops,
            preserved,
            logprobs: options.logprobs,
            prompt_lookup: options.prompt_lookup.unwrap_or(0),
            adapters: loaded.adapters_of(options.lora.as_ref())?,
            delivery,
            events,
            cancel: cancel.clone(),
            submitted,
        })?;
        Ok(Stream::new(stream_events, cancel, loaded))
    }
}

impl Loaded {
    fn engine(&self) -> Result<&Engine> {
        self.engine.as_ref().ok_or_else(|| self.embedders.facts().cannot_generate())
    }

    fn tokens_of(&self, prompt: Prompt) -> Result<Vec<Token>> {
        match prompt {
            Prompt::Text(text) => self.vocab.tokenize(&text, true, true),
            Prompt::Tokens(tokens) => {
                tokens.iter().try_for_each(|&token| self.vocab.check(token))?;
                Ok(tokens)
            }
        }
    }

    /// What a state must have been saved with to be of use.
    fn fingerprint(&self, adapters: &AdapterSet) -> Result<Fingerprint> {
        let model = self.fingerprint.get_or_init(|| state::fingerprint_of_file(&self.path));
        let model = model.as_ref().map_err(Clone::clone)?;
        let adapters = self.weights.fingerprint_of(adapters)?;
        Ok(state::combine(&[model, self.settings.as_bytes(), &adapters]))
    }

    /// The adapters that a request asks for, else the model's.
    pub(crate) fn adapters_of(&self, lora: Option<&Lora>) -> Result<AdapterSet> {
        match lora {
            Some(lora) => self.weights.adapters(lora),
            None => Ok(self.adapters.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        }
    }

    fn templates(&self) -> Result<&ChatTemplates> {
        let templates = self.templates.get_or_init(|| {
            if self.template_override.is_none()
                && self.weights.metadata_value("tokenizer.chat_template").is_none()
            {
                return Err(Error::new(ErrorKind::Template, "the model has no chat template")
                    .with_hint("give one as `chat_template`, or use `generate`"));
            }
            let invalid = |reason: String| {
                Error::new(ErrorKind::Template, format!("the chat template is invalid: {reason}"))
            };
            let source = self
                .template_override
                .as_deref()
                .map(CString::new)
                .transpose()
                .map_err(|_| invalid("it contains a NUL byte".to_owned()))?;
            // SAFETY: the model is alive.
            unsafe { ChatTemplates::new(self.weights.as_ptr(), source.as_deref()) }.map_err(invalid)
        });
        templates.as_ref().map_err(Clone::clone)
    }

    /// Whether the template takes tools, and whether it can switch reasoning.
    fn template_capabilities(&self) -> Option<(bool, bool)> {
        let description = self.templates().ok()?.describe().ok()?;
        let description: Value = serde_json::from_str(&description).ok()?;
        let tools = description["caps"]["supports_tools"].as_bool().unwrap_or(false);
        Some((tools, description["thinking"].as_bool().unwrap_or(false)))
    }
}

/// The sampling options that a model's metadata recommends.
fn recommended(weights: &Weights) -> GenerateOptions {
    fn number<T: std::str::FromStr>(
        weights: &Weights,
        key: sys::llama_model_meta_key,
    ) -> Option<T> {
        weights.recommended(key)?.parse().ok()
    }
    let float = |key| number::<f32>(weights, key);
    GenerateOptions {
        temperature: float(sys::LLAMA_MODEL_META_KEY_SAMPLING_TEMP),
        top_k: number(weights, sys::LLAMA_MODEL_META_KEY_SAMPLING_TOP_K),
        top_p: float(sys::LLAMA_MODEL_META_KEY_SAMPLING_TOP_P),
        min_p: float(sys::LLAMA_MODEL_META_KEY_SAMPLING_MIN_P),
        xtc_probability: float(sys::LLAMA_MODEL_META_KEY_SAMPLING_XTC_PROBABILITY),
        xtc_threshold: float(sys::LLAMA_MODEL_META_KEY_SAMPLING_XTC_THRESHOLD),
        repeat_last_n: number(weights, sys::LLAMA_MODEL_META_KEY_SAMPLING_PENALTY_LAST_N),
        repeat_penalty: float(sys::LLAMA_MODEL_META_KEY_SAMPLING_PENALTY_REPEAT),
        mirostat: number(weights, sys::LLAMA_MODEL_META_KEY_SAMPLING_MIROSTAT),
        mirostat_tau: float(sys::LLAMA_MODEL_META_KEY_SAMPLING_MIROSTAT_TAU),
        mirostat_eta: float(sys::LLAMA_MODEL_META_KEY_SAMPLING_MIROSTAT_ETA),
        ..GenerateOptions::default()
    }
}
