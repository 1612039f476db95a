//! `Model`: a model whose methods wait, with the GIL released.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Instant;

use mullama::{CancelToken, ContextParams, ModelParams};
use pyo3::PyClass;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::chat::Messages;
use crate::embeddings::{InputsArgument, Reranking, TextsArgument, Vectors};
use crate::errors::Result;
use crate::json;
use crate::options;
use crate::owned::Owned;
use crate::pull::{Pull, StoredModel};
use crate::results::{Answer, Completion, repr};
use crate::stream::{ChatStream, Stream};
use crate::text::{LoraArgument, PromptArgument, Source, StateArgument, Text, Tokens, class_name};
use crate::turn::start_chat;
use crate::wait::{SIGNAL_INTERVAL, block, with_python};

/// What a loaded model is: the part that `Model` and `AsyncModel` share.
#[pyclass(frozen, subclass, weakref, module = "mullama")]
pub struct BaseModel(Owned<mullama::Model>);

impl BaseModel {
    pub fn new(model: mullama::Model) -> PyClassInitializer<Self> {
        PyClassInitializer::from(Self(Owned::new(model)))
    }
}

#[pymethods]
impl BaseModel {
    /// Whether the model has been closed.
    #[getter]
    fn is_closed(&self) -> bool {
        self.0.peek().is_closed()
    }

    /// The file that the model was loaded from.
    #[getter]
    fn path(&self) -> &OsStr {
        self.0.peek().path().as_os_str()
    }

    /// Tokens of context, shared by all requests that run at once; of a model that does not
    /// generate, those of the longest text; 0 where only the vocabulary was loaded.
    #[getter]
    fn context_size(&self) -> u32 {
        self.0.peek().context_size()
    }

    /// Where the weights, the KV cache and the compute buffers are, in bytes as allocated; those of
    /// embeddings count from when they are first computed.
    #[getter]
    fn placement(&self) -> Placement {
        Placement(self.0.peek().placement())
    }

    /// What the model has done since it was loaded, and what it is doing.
    fn stats(&self) -> Result<Stats> {
        Ok(Stats(self.0.get()?.stats()?))
    }

    /// Layers on GPUs, as the engine reports them; the output layer counts.
    #[getter]
    fn gpu_layers(&self) -> u32 {
        self.0.peek().gpu_layers()
    }

    /// Layers (blocks), without the output layer.
    #[getter]
    fn n_layers(&self) -> u32 {
        self.0.peek().n_layers()
    }

    /// Tokens in the vocabulary.
    #[getter]
    fn n_vocab(&self) -> u32 {
        self.0.peek().n_vocab()
    }

    /// Numbers in an embedding.
    #[getter]
    fn n_embd(&self) -> u32 {
        self.0.peek().n_embd()
    }

    /// Parameters.
    #[getter]
    fn n_params(&self) -> u64 {
        self.0.peek().n_params()
    }

    /// Bytes of all tensors.
    #[getter]
    fn size(&self) -> u64 {
        self.0.peek().size()
    }

    /// The architecture, as the file names it: `llama`, `qwen3`, ...
    #[getter]
    fn architecture(&self) -> &str {
        self.0.peek().architecture()
    }

    /// The name that the file gives itself.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.0.peek().name()
    }

    /// Architecture, size class and quantisation in a few words.
    #[getter]
    fn description(&self) -> &str {
        self.0.peek().description()
    }

    /// The file's metadata as text, without arrays.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.0.peek().metadata().into_pyobject(py)
    }

    /// The chat template in use (Jinja).
    #[getter]
    fn chat_template(&self) -> Option<&str> {
        self.0.peek().chat_template()
    }

    /// What can be done with the model.
    #[getter]
    fn capabilities(&self) -> Capabilities {
        self.0.peek().capabilities().into()
    }

    /// The sampling options that hold where a call sets none: the model's own recommendations, else
    /// the defaults.
    #[getter]
    fn default_options<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        Ok(json::plain(py, &self.0.peek().default_options()?)?)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let attributes = ["name", "description", "context_size", "gpu_layers", "is_closed"];
        repr(slf, &attributes)
    }
}

/// What can be done with a model.
#[pyclass(frozen, eq, get_all, module = "mullama")]
#[derive(PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct Capabilities {
    /// Text can be generated.
    generate: bool,
    /// There is a chat template.
    chat: bool,
    /// The chat template takes tools.
    tools: bool,
    /// The chat template can switch reasoning on and off.
    reasoning: bool,
    /// Texts can be embedded, without more ado.
    embed: bool,
    /// Documents can be ranked: there is a classification head.
    rerank: bool,
}

#[pymethods]
impl Capabilities {
    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["generate", "chat", "tools", "reasoning", "embed", "rerank"])
    }
}

impl From<mullama::Capabilities> for Capabilities {
    fn from(capabilities: mullama::Capabilities) -> Self {
        let mullama::Capabilities { generate, chat, tools, reasoning, embed, rerank, .. } =
            capabilities;
        Self { generate, chat, tools, reasoning, embed, rerank }
    }
}

/// Where a loaded model is.
#[pyclass(frozen, eq, module = "mullama")]
#[derive(PartialEq)]
pub struct Placement(mullama::Placement);

#[pymethods]
impl Placement {
    /// The devices that hold a part of the model, the machine's own memory last.
    #[getter]
    fn devices(&self) -> Vec<DeviceShare> {
        self.0.devices.iter().cloned().map(DeviceShare).collect()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["devices"])
    }
}

/// What one device holds of a model, in bytes as they were allocated.
#[pyclass(frozen, eq, module = "mullama")]
#[derive(PartialEq)]
pub struct DeviceShare(mullama::DeviceShare);

#[pymethods]
impl DeviceShare {
    /// The device's name; `CPU` is the machine's own memory.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// Layers; the output layer counts as one.
    #[getter]
    fn layers(&self) -> u32 {
        self.0.layers
    }

    /// Bytes of weights.
    #[getter]
    fn weights(&self) -> u64 {
        self.0.weights
    }

    /// Bytes of KV cache.
    #[getter]
    fn kv(&self) -> u64 {
        self.0.kv
    }

    /// Bytes of buffers to compute in.
    #[getter]
    fn compute(&self) -> u64 {
        self.0.compute
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["name", "layers", "weights", "kv", "compute"])
    }
}

/// What a model has done since it was loaded, and what it is doing.
#[pyclass(frozen, eq, module = "mullama")]
#[derive(PartialEq)]
pub struct Stats(mullama::Stats);

#[pymethods]
impl Stats {
    /// Requests that are running.
    #[getter]
    fn running(&self) -> u32 {
        self.0.running
    }

    /// Requests that wait for their turn.
    #[getter]
    fn waiting(&self) -> u32 {
        self.0.waiting
    }

    /// Requests that have ended, however they did.
    #[getter]
    fn finished(&self) -> u64 {
        self.0.finished
    }

    /// Steps of the engine.
    #[getter]
    fn steps(&self) -> u64 {
        self.0.steps
    }

    /// Tokens of prompts that were computed.
    #[getter]
    fn prompt_tokens(&self) -> u64 {
        self.0.prompt_tokens
    }

    /// Tokens of prompts that had been computed before.
    #[getter]
    fn cached_tokens(&self) -> u64 {
        self.0.cached_tokens
    }

    /// Tokens that were generated.
    #[getter]
    fn completion_tokens(&self) -> u64 {
        self.0.completion_tokens
    }

    /// Tokens that were guessed ahead (`prompt_lookup`).
    #[getter]
    fn drafted_tokens(&self) -> u64 {
        self.0.drafted_tokens
    }

    /// Guesses among those that were right.
    #[getter]
    fn accepted_tokens(&self) -> u64 {
        self.0.accepted_tokens
    }

    /// Cells of the KV cache in use.
    #[getter]
    fn kv_used(&self) -> u32 {
        self.0.kv_used
    }

    /// Cells of those that are kept for later requests only; told when none is running.
    #[getter]
    fn kv_kept(&self) -> u32 {
        self.0.kv_kept
    }

    /// Tokens that were kept and have been given up to make room.
    #[getter]
    fn evicted_tokens(&self) -> u64 {
        self.0.evicted_tokens
    }

    /// Tokens that had left the KV cache and were copied back (`cache_ram`).
    #[getter]
    fn restored_tokens(&self) -> u64 {
        self.0.restored_tokens
    }

    /// Times that a request gave its cells up and was computed again later.
    #[getter]
    fn preemptions(&self) -> u64 {
        self.0.preemptions
    }

    /// Texts that were embedded, and documents that were scored.
    #[getter]
    fn embedded_inputs(&self) -> u64 {
        self.0.embedded_inputs
    }

    /// Tokens of those.
    #[getter]
    fn embedded_tokens(&self) -> u64 {
        self.0.embedded_tokens
    }

    /// Batches that they were computed in.
    #[getter]
    fn embedding_steps(&self) -> u64 {
        self.0.embedding_steps
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(
            slf,
            &[
                "running",
                "waiting",
                "finished",
                "steps",
                "prompt_tokens",
                "cached_tokens",
                "completion_tokens",
                "drafted_tokens",
                "accepted_tokens",
                "kv_used",
                "kv_kept",
                "evicted_tokens",
                "restored_tokens",
                "preemptions",
                "embedded_inputs",
                "embedded_tokens",
                "embedding_steps",
            ],
        )
    }
}

/// A loaded model. Its methods wait for their results with the GIL released, so many threads can
/// use one model at a time; Ctrl-C cancels what the main thread waits for.
///
/// `source` is the path of a GGUF file (the first shard of a split one), the name of a model in the
/// local store, or `demo`, the built-in model; `Model.pull` downloads. `progress` is called with how far loading is, from 0 to 1, and cancels it by returning
/// False. The other options are those of `mullama.options.LoadOptions`.
///
/// The model is freed when the last reference to it is gone, or by `close()`, which a `with` block
/// calls at its end.
#[pyclass(frozen, subclass, extends = BaseModel, module = "mullama")]
pub struct Model;

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (source, *, progress = None, **options))]
    fn new(
        py: Python<'_>,
        source: Source,
        progress: Option<Py<PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> Result<PyClassInitializer<Self>> {
        let params = options::load(options)?;
        let progress = Progress::new(py, progress)?;
        let model = py.detach(|| load(source.0, params, progress))?;
        Ok(BaseModel::new(model).add_subclass(Self))
    }

    /// Downloads a model into the local store: a name (`llama3.2:1b`, `host/user/model:tag`), a
    /// repository of Hugging Face (`hf.co/user/repo:Q4_K_M`), or the address of a GGUF file. One that is
    /// there and current is not downloaded again; a download that was broken off goes on.
    ///
    /// `progress` is called with a `PullProgress`, on another thread, and cancels by returning False.
    /// `insecure` allows plain HTTP to other machines, `token` is for a registry that wants one;
    /// Hugging Face's is `HF_TOKEN`.
    #[staticmethod]
    #[pyo3(signature = (name, *, progress = None, insecure = false, token = None))]
    fn pull(
        py: Python<'_>,
        name: Text,
        progress: Option<Py<PyAny>>,
        insecure: bool,
        token: Option<Text>,
    ) -> Result<StoredModel> {
        block(py, Pull::new(py, name, progress, insecure, token)?.run())?
    }

    /// Generates until the model is done or an option ends it, and gives the whole answer.
    ///
    /// `prompt` is text or a list of token ids. The options are those of
    /// `mullama.options.GenerateOptions`.
    #[pyo3(signature = (prompt, **options))]
    fn generate(
        slf: &Bound<'_, Self>,
        prompt: PromptArgument,
        options: Option<&Bound<'_, PyDict>>,
    ) -> Result<Completion> {
        let options = options::generate(options)?;
        Ok(Completion(block(slf.py(), core(slf)?.generate_async(prompt.0, &options))??))
    }

    /// Starts a generation and gives an iterator of its pieces.
    ///
    /// `prompt` is text or a list of token ids. The options are those of
    /// `mullama.options.GenerateOptions`.
    #[pyo3(signature = (prompt, **options))]
    fn stream(
        slf: &Bound<'_, Self>,
        prompt: PromptArgument,
        options: Option<&Bound<'_, PyDict>>,
    ) -> Result<Stream> {
        let options = options::generate(options)?;
        let model = core(slf)?;
        let stream = slf.py().detach(|| model.stream(prompt.0, &options));
        Ok(Stream::new(stream?))
    }

    /// Answers the last of the messages through the model's chat template.
    ///
    /// `messages` is a list of dicts in OpenAI's shape; the `message` of an earlier answer can be
    /// one of them. The options are those of `mullama.options.ChatOptions`.
    #[pyo3(signature = (messages, **options))]
    fn chat(
        slf: &Bound<'_, Self>,
        messages: Messages,
        options: Option<&Bound<'_, PyDict>>,
    ) -> Result<Answer> {
        let options = options::chat(options)?;
        Ok(Answer(block(slf.py(), core(slf)?.chat_async(&messages.0, &options))??))
    }

    /// Starts an answer to the last of the messages and gives an iterator of its pieces.
    ///
    /// `messages` is a list of dicts in OpenAI's shape; the `message` of an earlier answer can be
    /// one of them. The options are those of `mullama.options.ChatOptions`.
    #[pyo3(signature = (messages, **options))]
    fn stream_chat(
        slf: &Bound<'_, Self>,
        messages: Messages,
        options: Option<&Bound<'_, PyDict>>,
    ) -> Result<ChatStream> {
        let options = options::chat(options)?;
        let model = core(slf)?;
        let stream = slf.py().detach(|| model.stream_chat(&messages.0, &options));
        Ok(ChatStream::new(stream?))
    }

    /// Vectors of texts, in the order of the texts.
    ///
    /// `texts` is a text or a list of them; a list of token ids can stand for a text. The options
    /// are those of `mullama.options.EmbedOptions`.
    #[pyo3(signature = (texts, **options))]
    fn embed(
        slf: &Bound<'_, Self>,
        texts: InputsArgument,
        options: Option<&Bound<'_, PyDict>>,
    ) -> Result<Vectors> {
        let options = options::embed(options)?;
        Ok(Vectors(block(slf.py(), core(slf)?.embed_async(texts.0, &options))??))
    }

    /// Puts documents in the order of how well they answer a query, the best first.
    ///
    /// The model must be a reranker: one with a classification head. The options are those of
    /// `mullama.options.RerankOptions`.
    #[pyo3(signature = (query, documents, **options))]
    fn rerank(
        slf: &Bound<'_, Self>,
        query: Text,
        documents: TextsArgument,
        options: Option<&Bound<'_, PyDict>>,
    ) -> Result<Reranking> {
        let options = options::rerank(options)?;
        let ranked = core(slf)?.rerank_async(&query.0, &documents.0, &options);
        Ok(Reranking(block(slf.py(), ranked)??))
    }

    /// Starts a conversation, which keeps what is said and calls tools that the model asks for.
    ///
    /// `system` is what the model is told for all of it, `messages` what has been said before.
    /// `max_tool_rounds` is how often the model may have tools called before its answer (8): when it
    /// asks for more, what it asks is the answer, and it is told of the limit. The other options are
    /// those of `mullama.options.ChatOptions`, and hold for every answer. Of tools that are no
    /// functions, the calls are the caller's to make.
    #[pyo3(signature = (*, system = None, messages = None, max_tool_rounds = None, **options))]
    fn start_chat<'py>(
        slf: &Bound<'py, Self>,
        system: Option<Text>,
        messages: Option<Bound<'py, PyAny>>,
        max_tool_rounds: Option<u32>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> Result<Bound<'py, PyAny>> {
        core(slf)?;
        let keywords = options::for_chat(slf.py(), options)?;
        keywords.set_item("system", system.map(|text| text.0))?;
        keywords.set_item("messages", messages)?;
        keywords.set_item("max_tool_rounds", max_tool_rounds)?;
        Ok(start_chat(slf, "Chat", Some(&keywords))?)
    }

    /// The prompt that a chat with these messages would start from.
    ///
    /// The options are those of `mullama.options.ChatOptions`.
    #[pyo3(signature = (messages, *, add_generation_prompt = true, **options))]
    fn apply_chat_template(
        slf: &Bound<'_, Self>,
        messages: Messages,
        add_generation_prompt: bool,
        options: Option<&Bound<'_, PyDict>>,
    ) -> Result<String> {
        let options = options::chat(options)?;
        let model = core(slf)?;
        let prompt = slf
            .py()
            .detach(|| model.apply_chat_template(&messages.0, &options, add_generation_prompt));
        Ok(prompt?)
    }

    /// Text to tokens. `add_special` adds the tokens that the model expects around a text,
    /// `parse_special` takes special tokens that are written out in the text for what they are.
    #[pyo3(signature = (text, add_special = true, parse_special = false))]
    fn tokenize(
        slf: &Bound<'_, Self>,
        text: Text,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<mullama::Token>> {
        let model = core(slf)?;
        let tokens = slf.py().detach(|| model.tokenize(&text.0, add_special, parse_special));
        Ok(tokens?)
    }

    /// Tokens to text, special tokens written out unless `skip_special` is set.
    #[pyo3(signature = (tokens, skip_special = false))]
    fn detokenize(slf: &Bound<'_, Self>, tokens: Tokens, skip_special: bool) -> Result<String> {
        let model = core(slf)?;
        Ok(slf.py().detach(|| model.detokenize(&tokens.0, skip_special))?)
    }

    /// How many tokens a text takes as a prompt.
    fn count_tokens(slf: &Bound<'_, Self>, text: Text) -> Result<usize> {
        let model = core(slf)?;
        Ok(slf.py().detach(|| model.count_tokens(&text.0))?)
    }

    /// Makes these the LoRA adapters of all requests from now on that name none of their own: a path, or
    /// a list of paths and of pairs of a path and a scale. An empty list is the model without any.
    fn set_lora(slf: &Bound<'_, Self>, lora: LoraArgument) -> Result<()> {
        let model = core(slf)?;
        Ok(slf.py().detach(|| model.set_lora(lora.0))?)
    }

    /// What was computed from a prompt (text or a list of token ids), as bytes for `load_state` of this
    /// process or another; what has not been computed yet is. With `path` they are written to that file
    /// as well.
    #[pyo3(signature = (prompt, path = None))]
    fn save_state<'py>(
        slf: &Bound<'py, Self>,
        prompt: PromptArgument,
        path: Option<Source>,
    ) -> Result<Bound<'py, PyBytes>> {
        let state = block(slf.py(), core(slf)?.save_state_async(prompt.0))??;
        if let Some(path) = path {
            slf.py().detach(|| mullama::write_state(path.0, &state))?;
        }
        Ok(PyBytes::new(slf.py(), &state))
    }

    /// Takes a state that was saved, as bytes or from the file of this path: requests that begin with its
    /// prompt go on from there. Gives how many tokens it has.
    ///
    /// Raises `InvalidArgumentError` for the state of another model or of other settings.
    fn load_state(slf: &Bound<'_, Self>, state: StateArgument) -> Result<usize> {
        let model = core(slf)?;
        Ok(slf.py().detach(|| state.load(model))?)
    }

    /// Frees the model. What runs is cancelled, or finished first with `finish`. Everything asked of it
    /// from then on raises `ClosedError`; what it is (its name, its size) can still be asked.
    #[pyo3(signature = (*, finish = false))]
    fn close(slf: &Bound<'_, Self>, finish: bool) -> Result<()> {
        let model = core(slf)?;
        slf.py().detach(|| if finish { model.finish() } else { model.close() });
        Ok(())
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(slf: &Bound<'_, Self>, _exception: &Bound<'_, PyAny>) -> Result<()> {
        Self::close(slf, false)
    }
}

/// The model behind a `Model` or an `AsyncModel`.
pub fn core<'a, T>(model: &'a Bound<'_, T>) -> Result<&'a mullama::Model>
where
    T: PyClass<BaseType = BaseModel>,
{
    Ok(model.as_super().get().0.get()?)
}

/// Loads a model. Takes a while; called without the GIL.
pub fn load(
    source: PathBuf,
    (model, context): (ModelParams, ContextParams),
    mut progress: Progress,
) -> Result<mullama::Model> {
    let hear = |fraction| progress.hear(fraction);
    let loaded = mullama::Model::load_with_progress(source, model, context, hear);
    match progress.raised {
        Some(raised) => Err(raised.into()),
        None => Ok(loaded?),
    }
}

/// Refuses what cannot be called.
pub fn check_callable(py: Python<'_>, callback: Option<&Py<PyAny>>) -> PyResult<()> {
    match callback.map(|callback| callback.bind(py)) {
        Some(callback) if !callback.is_callable() => {
            let message = format!("progress is a function, not {}", class_name(callback));
            Err(PyTypeError::new_err(message))
        }
        _ => Ok(()),
    }
}

/// Only False says stop; what a function without `return` gives does not.
pub fn says_stop(py: Python<'_>, answer: &Py<PyAny>) -> bool {
    answer.extract(py).is_ok_and(|go_on: bool| !go_on)
}

/// Tells a Python function how far loading is.
pub struct Progress {
    callback: Option<Py<PyAny>>,
    /// What the function, or the handler of a signal, raised.
    raised: Option<PyErr>,
    heard: Instant,
    /// Where the result of loading is no longer wanted.
    abandoned: CancelToken,
}

impl Progress {
    pub fn new(py: Python<'_>, callback: Option<Py<PyAny>>) -> PyResult<Self> {
        check_callable(py, callback.as_ref())?;
        let abandoned = CancelToken::default();
        Ok(Self { callback, raised: None, heard: Instant::now(), abandoned })
    }

    /// Cancels loading from elsewhere.
    pub fn cancel_token(&self) -> CancelToken {
        self.abandoned.clone()
    }

    fn hear(&mut self, fraction: f32) -> bool {
        if self.abandoned.is_cancelled() {
            return false;
        }
        if self.callback.is_none() && self.heard.elapsed() < SIGNAL_INTERVAL {
            return true;
        }
        self.heard = Instant::now();
        // Where Python is shutting down there is nobody to tell.
        let go_on = with_python(|py| {
            let answer = py.check_signals().and_then(|()| {
                self.callback.as_ref().map(|callback| callback.call1(py, (fraction,))).transpose()
            });
            match answer {
                Ok(answer) => !answer.is_some_and(|answer| says_stop(py, &answer)),
                Err(error) => {
                    self.raised = Some(error);
                    false
                }
            }
        });
        go_on.unwrap_or(true)
    }
}
