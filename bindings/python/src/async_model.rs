//! `AsyncModel`: a model whose methods are awaited.

use std::borrow::Cow;

use mullama::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::chat::Messages;
use crate::embeddings::{InputsArgument, Reranking, TextsArgument, Vectors};
use crate::errors::Result;
use crate::model::{BaseModel, Progress, core, load};
use crate::options;
use crate::pull::Pull;
use crate::results::{Answer, Completion};
use crate::stream::{AsyncChatStream, AsyncStream};
use crate::text::{LoraArgument, PromptArgument, Source, StateArgument, Text, Tokens};
use crate::turn::start_chat;
use crate::wait::coroutine;

/// A loaded model for programs that use `asyncio`: what computes is awaited, and runs on threads of
/// its own. Many requests can run at a time; cancelling a task cancels its request.
///
/// `AsyncModel(...)` loads while the event loop waits, `await AsyncModel.load(...)` does not hold
/// it up. Both take what `Model` takes.
///
/// The model is freed when the last reference to it is gone, or by `close()`, which an `async with`
/// block calls at its end.
#[pyclass(frozen, subclass, extends = BaseModel, module = "mullama")]
pub struct AsyncModel;

/// A loaded model that is still to become a Python object.
struct Loaded(mullama::Model);

impl<'py> IntoPyObject<'py> for Loaded {
    type Target = AsyncModel;
    type Output = Bound<'py, AsyncModel>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        Bound::new(py, BaseModel::new(self.0).add_subclass(AsyncModel))
    }
}

#[pymethods]
impl AsyncModel {
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

    /// Loads a model without holding up the event loop. `progress` is called on another thread.
    #[staticmethod]
    #[pyo3(signature = (source, *, progress = None, **options))]
    fn load<'py>(
        py: Python<'py>,
        source: Source,
        progress: Option<Py<PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> Result<Bound<'py, PyAny>> {
        let params = options::load(options)?;
        let progress = Progress::new(py, progress)?;
        coroutine(py, "AsyncModel.load", async move {
            // Loading that nobody awaits any more goes no further.
            let _abandon = progress.cancel_token().drop_guard();
            Ok(Loaded(apart(move || load(source.0, params, progress)).await??))
        })
    }

    /// Downloads a model into the local store: a name (`llama3.2:1b`, `host/user/model:tag`), a
    /// repository of Hugging Face (`hf.co/user/repo:Q4_K_M`), or the address of a GGUF file. One that is
    /// there and current is not downloaded again; a download that was broken off goes on. Cancelling the
    /// task cancels the download.
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
    ) -> Result<Bound<'_, PyAny>> {
        let pull = Pull::new(py, name, progress, insecure, token)?;
        coroutine(py, "AsyncModel.pull", pull.run())
    }

    /// Generates until the model is done or an option ends it, and gives the whole answer.
    ///
    /// `prompt` is text or a list of token ids. The options are those of
    /// `mullama.options.GenerateOptions`.
    #[pyo3(signature = (prompt, **options))]
    fn generate<'py>(
        slf: &Bound<'py, Self>,
        prompt: PromptArgument,
        options: Option<&Bound<'py, PyDict>>,
    ) -> Result<Bound<'py, PyAny>> {
        let options = options::generate(options)?;
        let model = core(slf)?.clone();
        coroutine(slf.py(), "AsyncModel.generate", async move {
            Ok(Completion(model.generate_async(prompt.0, &options).await?))
        })
    }

    /// Starts a generation and gives an asynchronous iterator of its pieces.
    ///
    /// `prompt` is text or a list of token ids. The options are those of
    /// `mullama.options.GenerateOptions`.
    #[pyo3(signature = (prompt, **options))]
    fn stream(
        slf: &Bound<'_, Self>,
        prompt: PromptArgument,
        options: Option<&Bound<'_, PyDict>>,
    ) -> Result<AsyncStream> {
        let options = options::generate(options)?;
        let model = core(slf)?.clone();
        Ok(AsyncStream::starting(move || model.stream(prompt.0, &options)))
    }

    /// Answers the last of the messages through the model's chat template.
    ///
    /// `messages` is a list of dicts in OpenAI's shape; the `message` of an earlier answer can be
    /// one of them. The options are those of `mullama.options.ChatOptions`.
    #[pyo3(signature = (messages, **options))]
    fn chat<'py>(
        slf: &Bound<'py, Self>,
        messages: Messages,
        options: Option<&Bound<'py, PyDict>>,
    ) -> Result<Bound<'py, PyAny>> {
        let options = options::chat(options)?;
        let model = core(slf)?.clone();
        coroutine(slf.py(), "AsyncModel.chat", async move {
            Ok(Answer(model.chat_async(&messages.0, &options).await?))
        })
    }

    /// Starts an answer to the last of the messages and gives an asynchronous iterator of its
    /// pieces.
    ///
    /// `messages` is a list of dicts in OpenAI's shape; the `message` of an earlier answer can be
    /// one of them. The options are those of `mullama.options.ChatOptions`.
    #[pyo3(signature = (messages, **options))]
    fn stream_chat(
        slf: &Bound<'_, Self>,
        messages: Messages,
        options: Option<&Bound<'_, PyDict>>,
    ) -> Result<AsyncChatStream> {
        let options = options::chat(options)?;
        let model = core(slf)?.clone();
        Ok(AsyncChatStream::starting(move || model.stream_chat(&messages.0, &options)))
    }

    /// Vectors of texts, in the order of the texts.
    ///
    /// `texts` is a text or a list of them; a list of token ids can stand for a text. The options
    /// are those of `mullama.options.EmbedOptions`.
    #[pyo3(signature = (texts, **options))]
    fn embed<'py>(
        slf: &Bound<'py, Self>,
        texts: InputsArgument,
        options: Option<&Bound<'py, PyDict>>,
    ) -> Result<Bound<'py, PyAny>> {
        let options = options::embed(options)?;
        let model = core(slf)?.clone();
        coroutine(slf.py(), "AsyncModel.embed", async move {
            Ok(Vectors(model.embed_async(texts.0, &options).await?))
        })
    }

    /// Puts documents in the order of how well they answer a query, the best first.
    ///
    /// The model must be a reranker: one with a classification head. The options are those of
    /// `mullama.options.RerankOptions`.
    #[pyo3(signature = (query, documents, **options))]
    fn rerank<'py>(
        slf: &Bound<'py, Self>,
        query: Text,
        documents: TextsArgument,
        options: Option<&Bound<'py, PyDict>>,
    ) -> Result<Bound<'py, PyAny>> {
        let options = options::rerank(options)?;
        let model = core(slf)?.clone();
        coroutine(slf.py(), "AsyncModel.rerank", async move {
            Ok(Reranking(model.rerank_async(&query.0, &documents.0, &options).await?))
        })
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
        Ok(start_chat(slf, "AsyncChat", Some(&keywords))?)
    }

    /// The prompt that a chat with these messages would start from.
    ///
    /// The options are those of `mullama.options.ChatOptions`.
    #[pyo3(signature = (messages, *, add_generation_prompt = true, **options))]
    fn apply_chat_template<'py>(
        slf: &Bound<'py, Self>,
        messages: Messages,
        add_generation_prompt: bool,
        options: Option<&Bound<'py, PyDict>>,
    ) -> Result<Bound<'py, PyAny>> {
        let options = options::chat(options)?;
        let model = core(slf)?.clone();
        coroutine(slf.py(), "AsyncModel.apply_chat_template", async move {
            Ok(model.apply_chat_template(&messages.0, &options, add_generation_prompt)?)
        })
    }

    /// Text to tokens. `add_special` adds the tokens that the model expects around a text,
    /// `parse_special` takes special tokens that are written out in the text for what they are.
    #[pyo3(signature = (text, add_special = true, parse_special = false))]
    fn tokenize<'py>(
        slf: &Bound<'py, Self>,
        text: Text,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Bound<'py, PyAny>> {
        let model = core(slf)?.clone();
        coroutine(slf.py(), "AsyncModel.tokenize", async move {
            Ok(model.tokenize(&text.0, add_special, parse_special)?)
        })
    }

    /// Tokens to text, special tokens written out unless `skip_special` is set.
    #[pyo3(signature = (tokens, skip_special = false))]
    fn detokenize<'py>(
        slf: &Bound<'py, Self>,
        tokens: Tokens,
        skip_special: bool,
    ) -> Result<Bound<'py, PyAny>> {
        let model = core(slf)?.clone();
        coroutine(slf.py(), "AsyncModel.detokenize", async move {
            Ok(model.detokenize(&tokens.0, skip_special)?)
        })
    }

    /// How many tokens a text takes as a prompt.
    fn count_tokens<'py>(slf: &Bound<'py, Self>, text: Text) -> Result<Bound<'py, PyAny>> {
        let model = core(slf)?.clone();
        coroutine(
            slf.py(),
            "AsyncModel.count_tokens",
            async move { Ok(model.count_tokens(&text.0)?) },
        )
    }

    /// Makes these the LoRA adapters of all requests from now on that name none of their own: a path, or
    /// a list of paths and of pairs of a path and a scale. An empty list is the model without any.
    fn set_lora<'py>(slf: &Bound<'py, Self>, lora: LoraArgument) -> Result<Bound<'py, PyAny>> {
        let model = core(slf)?.clone();
        coroutine(slf.py(), "AsyncModel.set_lora", async move {
            Ok(apart(move || model.set_lora(lora.0)).await??)
        })
    }

    /// What was computed from a prompt (text or a list of token ids), as bytes for `load_state` of this
    /// process or another; what has not been computed yet is. With `path` they are written to that file
    /// as well.
    #[pyo3(signature = (prompt, path = None))]
    fn save_state<'py>(
        slf: &Bound<'py, Self>,
        prompt: PromptArgument,
        path: Option<Source>,
    ) -> Result<Bound<'py, PyAny>> {
        let model = core(slf)?.clone();
        coroutine(slf.py(), "AsyncModel.save_state", async move {
            let state = model.save_state_async(prompt.0).await?;
            Ok(apart(move || {
                let written = path.map_or(Ok(()), |path| mullama::write_state(path.0, &state));
                written.map(|()| Cow::<[u8]>::Owned(state))
            })
            .await??)
        })
    }

    /// Takes a state that was saved, as bytes or from the file of this path: requests that begin with its
    /// prompt go on from there. Gives how many tokens it has.
    ///
    /// Raises `InvalidArgumentError` for the state of another model or of other settings.
    fn load_state<'py>(slf: &Bound<'py, Self>, state: StateArgument) -> Result<Bound<'py, PyAny>> {
        let model = core(slf)?.clone();
        coroutine(slf.py(), "AsyncModel.load_state", async move {
            Ok(apart(move || state.load(&model)).await??)
        })
    }

    /// Frees the model. What runs is cancelled, or finished first with `finish`. Everything asked of it
    /// from then on raises `ClosedError`; what it is (its name, its size) can still be asked.
    #[pyo3(signature = (*, finish = false))]
    fn close<'py>(slf: &Bound<'py, Self>, finish: bool) -> Result<Bound<'py, PyAny>> {
        let model = core(slf)?.clone();
        let end = move || if finish { model.finish() } else { model.close() };
        coroutine(slf.py(), "AsyncModel.close", apart(end))
    }

    fn __aenter__(slf: Bound<'_, Self>) -> Result<Bound<'_, PyAny>> {
        let py = slf.py();
        let itself = slf.unbind();
        coroutine(py, "AsyncModel.__aenter__", async move { Ok(itself) })
    }

    #[pyo3(signature = (*_exception))]
    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        _exception: &Bound<'py, PyAny>,
    ) -> Result<Bound<'py, PyAny>> {
        Self::close(slf, false)
    }
}

/// Runs what takes long on a thread of its own.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()).into())
}
