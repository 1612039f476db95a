//! Models: the methods of `Model` block, those of `AsyncModel` are coroutines.

use std::borrow::Cow;
use std::path::PathBuf;

use mullama::{
    ChatOptions, ContextParams, EmbedOptions, GenerateOptions, ModelParams, RerankOptions, Token,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyClass, PyTypeInfo, inspect::PyStaticExpr};

use crate::base_model::BaseModel;
use crate::chat::Messages;
use crate::class::Wrap;
use crate::embeddings::{Embeddings, InputsArgument, Reranking, TextsArgument};
use crate::errors::{Failure, Result};
use crate::hints::{self, Hint, MessageList, Nothing, Typed};
use crate::json::Json;
use crate::options::{LoraArgument, Options, with_defaults};
use crate::owned::Owned;
use crate::progress::{Loading, Progress};
use crate::pull::{PullProgress, StoredModel, pull};
use crate::results::{Answer, Completion};
use crate::stream::{AsyncChatStream, AsyncStream, ChatStream, StartStream, Stream};
use crate::text::{PromptArgument, Source, StateArgument, Text, Tokens};
use crate::turn::start_chat;
use crate::wait::{Coroutine, Outcome, block, interruptible, on_thread};

/// Whether the methods of a class of models block or are coroutines.
trait CallStyle: PyClass<BaseType = BaseModel> {
    /// The return type of a method: its result, or a coroutine of it.
    type Returned<'py, T: 'py>;
    type Stream: StartStream<mullama::Stream>;
    type ChatStream: StartStream<mullama::ChatStream>;
    /// The class of conversations.
    type Chat: Hint;

    fn run<'py, T: Outcome>(
        py: Python<'py>,
        method: &str,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Self::Returned<'py, T>>;

    /// Returns the result of a future of the model.
    fn awaited<'py, C, T, F>(
        slf: &Bound<'py, Self>,
        method: &str,
        work: impl FnOnce(mullama::Model) -> F,
    ) -> Result<Self::Returned<'py, T>>
    where
        T: Wrap<C> + Outcome,
        F: Future<Output = mullama::Result<C>> + Send + 'static,
    {
        let work = work(core(slf)?);
        Self::run(slf.py(), method, async move { Ok(T::wrap(work.await?)) })
    }

    /// Returns the result of a function that blocks its thread.
    fn blocking<'py, C, T>(
        slf: &Bound<'py, Self>,
        method: &str,
        work: impl FnOnce(mullama::Model) -> mullama::Result<C> + Send + 'static,
    ) -> Result<Self::Returned<'py, T>>
    where
        C: Send + 'static,
        T: Wrap<C> + Outcome,
    {
        let model = core(slf)?;
        Self::run(
            slf.py(),
            method,
            async move { Ok(T::wrap(on_thread(move || work(model)).await?)) },
        )
    }
}

/// The result of a method that waits or is awaited.
type Returned<'py, M, T> = Result<<M as CallStyle>::Returned<'py, T>>;

impl CallStyle for Model {
    type Returned<'py, T: 'py> = T;
    type Stream = Stream;
    type ChatStream = ChatStream;
    type Chat = hints::Chat;

    fn run<T: Outcome>(
        py: Python<'_>,
        _: &str,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        block(py, future)?
    }
}

impl CallStyle for AsyncModel {
    type Returned<'py, T: 'py> = Coroutine<'py, T>;
    type Stream = AsyncStream;
    type ChatStream = AsyncChatStream;
    type Chat = hints::AsyncChat;

    fn run<'py, T: Outcome>(
        py: Python<'py>,
        method: &str,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Coroutine<'py, T>> {
        Coroutine::new(py, &format!("AsyncModel.{method}"), future)
    }
}

/// The methods of a class of models: those that both have, and its own.
macro_rules! methods {
    ($class:ident { $($own:tt)* }) => {
        #[pymethods]
        impl $class {
            #[new]
            #[pyo3(
                signature = (source, *, progress = None, **options: "Unpack[LoadOptions]"),
                text_signature = None
            )]
            fn new(
                py: Python<'_>,
                source: Source,
                progress: Option<Progress<f32>>,
                options: Option<Options<(ModelParams, ContextParams)>>,
            ) -> Result<PyClassInitializer<Self>> {
                let progress = Loading::new(Progress::callback(py, progress)?);
                let _abandon = progress.cancel_token().drop_guard();
                let options = with_defaults(options);
                let model = interruptible(py, move || load(source.0, options, progress))??;
                Ok(initializer(model, Self))
            }

            /// Downloads a model into the local store: a name (`llama3.2:1b`,
            /// `host/user/model:tag`), a Hugging Face repository (`hf.co/user/repo:Q4_K_M`), or the
            /// URL of a GGUF file. A model that is already present and up to date is not downloaded
            /// again; an interrupted download resumes. Ctrl-C, or cancelling the task that awaits
            /// it, cancels it.
            ///
            /// `progress` is called with a `PullProgress` on another thread; returning False
            /// cancels. True shows a progress bar, which is the default in notebooks. `insecure` allows
            /// plain HTTP to other machines. `token` is for registries that require one; Hugging
            /// Face's is `HF_TOKEN`.
            #[staticmethod]
            #[pyo3(signature = (name, *, progress = None, insecure = false, token = None))]
            fn pull(
                py: Python<'_>,
                name: Text,
                progress: Option<Progress<PullProgress>>,
                insecure: bool,
                token: Option<Text>,
            ) -> Returned<'_, Self, StoredModel> {
                let progress = Progress::callback(py, progress)?;
                Self::run(py, "pull", pull(name, progress, insecure, token))
            }

            $($own)*

            #[doc = signature!("generate", "$self, /, prompt, *, ", generate)]
            /// Generates until the model stops or an option ends the generation, and returns the
            /// complete answer.
            ///
            /// `prompt` is text or a list of token ids. The options are those of
            /// `mullama.options.GenerateOptions`.
            #[pyo3(
                signature = (prompt, **options: "Unpack[GenerateOptions]"),
                text_signature = None
            )]
            fn generate<'py>(
                slf: &Bound<'py, Self>,
                prompt: PromptArgument,
                options: Option<Options<GenerateOptions>>,
            ) -> Returned<'py, Self, Completion> {
                Self::awaited(slf, "generate", |model| async move {
                    model.generate_async(prompt.0, &with_defaults(options)).await
                })
            }

            #[doc = signature!("infill", "$self, /, prefix, suffix, *, ", generate)]
            /// Generates the text between two texts (fill in the middle), with a model that was
            /// trained for it: `generate` with the option `infill_suffix`, which `stream` accepts too.
            ///
            /// `prefix` is text or a list of token ids. The options are those of
            /// `mullama.options.GenerateOptions`.
            #[pyo3(
                signature = (prefix, suffix, **options: "Unpack[GenerateOptions]"),
                text_signature = None
            )]
            fn infill<'py>(
                slf: &Bound<'py, Self>,
                prefix: PromptArgument,
                suffix: Text,
                options: Option<Options<GenerateOptions>>,
            ) -> Returned<'py, Self, Completion> {
                Self::awaited(slf, "infill", |model| async move {
                    model.infill_async(prefix.0, &suffix.0, &with_defaults(options)).await
                })
            }

            #[doc = signature!("stream", "$self, /, prompt, *, ", generate)]
            /// Starts a generation and returns an iterator of its chunks; with `AsyncModel`, an
            /// asynchronous iterator.
            ///
            /// `prompt` is text or a list of token ids. The options are those of
            /// `mullama.options.GenerateOptions`.
            #[pyo3(
                signature = (prompt, **options: "Unpack[GenerateOptions]"),
                text_signature = None
            )]
            fn stream(
                slf: &Bound<'_, Self>,
                prompt: PromptArgument,
                options: Option<Options<GenerateOptions>>,
            ) -> Result<Py<<Self as CallStyle>::Stream>> {
                let model = core(slf)?;
                let open = async move {
                    model.stream_async(prompt.0, &with_defaults(options)).await
                };
                StartStream::open(slf.py(), open)
            }

            #[doc = signature!("chat", "$self, /, messages, *, ", chat)]
            /// Answers the last message, using the model's chat template.
            ///
            /// `messages` is a list of dicts in OpenAI's format; it can include the `message` of an
            /// earlier answer. The options are those of `mullama.options.ChatOptions`.
            #[pyo3(signature = (messages, **options: "Unpack[ChatOptions]"), text_signature = None)]
            fn chat<'py>(
                slf: &Bound<'py, Self>,
                messages: Messages,
                options: Option<Options<ChatOptions>>,
            ) -> Returned<'py, Self, Answer> {
                Self::awaited(slf, "chat", |model| async move {
                    model.chat_async(&messages.0, &with_defaults(options)).await
                })
            }

            #[doc = signature!("stream_chat", "$self, /, messages, *, ", chat)]
            /// Starts an answer to the last message and returns an iterator of its chunks; with
            /// `AsyncModel`, an asynchronous iterator.
            ///
            /// `messages` is a list of dicts in OpenAI's format; it can include the `message` of an
            /// earlier answer. The options are those of `mullama.options.ChatOptions`.
            #[pyo3(signature = (messages, **options: "Unpack[ChatOptions]"), text_signature = None)]
            fn stream_chat(
                slf: &Bound<'_, Self>,
                messages: Messages,
                options: Option<Options<ChatOptions>>,
            ) -> Result<Py<<Self as CallStyle>::ChatStream>> {
                let model = core(slf)?;
                let open = async move {
                    model.stream_chat_async(&messages.0, &with_defaults(options)).await
                };
                StartStream::open(slf.py(), open)
            }

            #[doc = signature!("embed", "$self, /, texts, *, ", embed)]
            /// Embeds texts; the vectors are in the order of the texts.
            ///
            /// `texts` is a text or a list of them; a list of token ids can be passed in place of a
            /// text. The options are those of `mullama.options.EmbedOptions`.
            #[pyo3(signature = (texts, **options: "Unpack[EmbedOptions]"), text_signature = None)]
            fn embed<'py>(
                slf: &Bound<'py, Self>,
                texts: InputsArgument,
                options: Option<Options<EmbedOptions>>,
            ) -> Returned<'py, Self, Embeddings> {
                Self::awaited(slf, "embed", |model| async move {
                    model.embed_async(texts.0, &with_defaults(options)).await
                })
            }

            #[doc = signature!("rerank", "$self, /, query, documents, *, ", rerank)]
            /// Sorts documents by how well they answer a query, best first.
            ///
            /// The model must be a reranker: one with a classification head. The options are those of
            /// `mullama.options.RerankOptions`.
            #[pyo3(
                signature = (query, documents, **options: "Unpack[RerankOptions]"),
                text_signature = None
            )]
            fn rerank<'py>(
                slf: &Bound<'py, Self>,
                query: Text,
                documents: TextsArgument,
                options: Option<Options<RerankOptions>>,
            ) -> Returned<'py, Self, Reranking> {
                Self::awaited(slf, "rerank", |model| async move {
                    model.rerank_async(&query.0, &documents.0, &with_defaults(options)).await
                })
            }

            /// The replacement of the oldest turns of a conversation: the indices of messages
            /// that stay, the index of the first message after those that are replaced, and a turn
            /// with the model's summary if `summarizes`. None if the conversation fits.
            #[pyo3(signature = (history, said, summarizes, **options: "Unpack[ChatOptions]"))]
            fn _compact<'py>(
                slf: &Bound<'py, Self>,
                history: Messages,
                said: Messages,
                summarizes: bool,
                options: Option<Options<ChatOptions>>,
            ) -> Returned<'py, Self, Json<hints::Compacted>> {
                Self::awaited(slf, "_compact", move |model| async move {
                    let options = with_defaults(options);
                    model.compact_async(&history.0, &said.0, &options, summarizes).await
                })
            }

            #[doc = signature!(
                "start_chat",
                "$self, /, *, system=None, messages=None, max_tool_rounds=None, compact=None, ",
                chat
            )]
            /// Starts a conversation, which stores the messages and runs the tools that the model
            /// calls.
            ///
            /// `system` is the system message and `messages` the conversation so far.
            /// `max_tool_rounds` (default: 8) limits the rounds of tool calls before an answer;
            /// further calls are returned as the answer, and the model is informed of the limit.
            /// `compact` is a function that summarises the oldest messages when the context is
            /// full, with `overflow="compact"`; without it, the model does. The other options are those of `mullama.options.ChatOptions`, and apply to every
            /// answer. Tools that are not functions are run by the caller.
            #[pyo3(
                signature = (
                    *, system = None, messages = None, max_tool_rounds: "int | None" = None,
                    compact = None, **options: "Unpack[ChatOptions]"
                ),
                text_signature = None
            )]
            fn start_chat<'py>(
                slf: &Bound<'py, Self>,
                system: Option<Text>,
                messages: Option<Typed<'py, MessageList>>,
                max_tool_rounds: Option<u32>,
                compact: Option<Typed<'py, hints::Summarizer>>,
                options: Option<Bound<'py, PyDict>>,
            ) -> Result<Typed<'py, <Self as CallStyle>::Chat>> {
                core(slf)?;
                Ok(start_chat(slf, system, messages, max_tool_rounds, compact, options)?)
            }

            #[doc = signature!(
                "apply_chat_template", "$self, /, messages, *, add_generation_prompt=True, ", chat
            )]
            /// The prompt for a chat with these messages.
            ///
            /// The options are those of `mullama.options.ChatOptions`.
            #[pyo3(
                signature = (
                    messages, *, add_generation_prompt = true, **options: "Unpack[ChatOptions]"
                ),
                text_signature = None
            )]
            fn apply_chat_template<'py>(
                slf: &Bound<'py, Self>,
                messages: Messages,
                add_generation_prompt: bool,
                options: Option<Options<ChatOptions>>,
            ) -> Returned<'py, Self, String> {
                Self::awaited(slf, "apply_chat_template", move |model| async move {
                    let (messages, options) = (messages.0, with_defaults(options));
                    model.apply_chat_template_async(&messages, &options, add_generation_prompt).await
                })
            }

            /// Converts text to tokens. `add_special` adds the special tokens that the model
            /// expects around a text; `parse_special` parses special tokens written in the text.
            #[pyo3(signature = (text, add_special = true, parse_special = false))]
            fn tokenize<'py>(
                slf: &Bound<'py, Self>,
                text: Text,
                add_special: bool,
                parse_special: bool,
            ) -> Returned<'py, Self, Vec<Token>> {
                Self::blocking(slf, "tokenize", move |model| {
                    model.tokenize(&text.0, add_special, parse_special)
                })
            }

            /// Converts tokens to text; `skip_special` leaves special tokens out.
            #[pyo3(signature = (tokens, skip_special = false))]
            fn detokenize<'py>(
                slf: &Bound<'py, Self>,
                tokens: Tokens,
                skip_special: bool,
            ) -> Returned<'py, Self, String> {
                Self::blocking(slf, "detokenize", move |model| {
                    model.detokenize(&tokens.0, skip_special)
                })
            }

            /// The number of tokens of a text as a prompt.
            fn count_tokens<'py>(slf: &Bound<'py, Self>, text: Text) -> Returned<'py, Self, usize> {
                Self::blocking(slf, "count_tokens", move |model| model.count_tokens(&text.0))
            }

            /// Sets the LoRA adapters for all future requests that do not specify their own: a
            /// path, or a list of paths and of pairs of a path and a scale. An empty list turns
            /// adapters off.
            fn set_lora<'py>(
                slf: &Bound<'py, Self>,
                lora: LoraArgument,
            ) -> Returned<'py, Self, Nothing> {
                Self::blocking(slf, "set_lora", move |model| model.set_lora(lora.0))
            }

            /// The computed state of a prompt (text or a list of token ids), as bytes for
            /// `load_state` in this process or another. Tokens that have not been computed yet are
            /// computed. With `path`, the state is written to that file as well.
            #[pyo3(signature = (prompt, path = None))]
            fn save_state<'py>(
                slf: &Bound<'py, Self>,
                prompt: PromptArgument,
                path: Option<Source>,
            ) -> Returned<'py, Self, Cow<'static, [u8]>> {
                Self::awaited(slf, "save_state", |model| async move {
                    let state = model.save_state_async(prompt.0).await?;
                    let Some(path) = path else { return Ok(state) };
                    on_thread(move || mullama::write_state(path.0, &state).map(|()| state)).await
                })
            }

            /// Loads a saved state, from bytes or from the file at a path: requests that start with
            /// its prompt reuse it. Returns its number of tokens.
            ///
            /// Raises `InvalidArgumentError` for the state of another model or of other settings.
            fn load_state<'py>(
                slf: &Bound<'py, Self>,
                state: StateArgument,
            ) -> Returned<'py, Self, usize> {
                Self::blocking(slf, "load_state", move |model| state.load(&model))
            }

            /// Frees the model. Running requests are cancelled, or completed first with `finish`.
            /// Later calls raise `ClosedError`; properties such as the name and the size remain
            /// available.
            #[pyo3(signature = (*, finish = false))]
            fn close<'py>(slf: &Bound<'py, Self>, finish: bool) -> Returned<'py, Self, Nothing> {
                Self::blocking(slf, "close", move |model| {
                    Ok(if finish { model.finish() } else { model.close() })
                })
            }
        }
    };
}

#[doc = signature!("Model", "source, *, progress=None, ", load)]
/// A loaded model. Its methods release the GIL while they wait, so many threads can use one model
/// concurrently; Ctrl-C cancels the call that the main thread waits for.
///
/// `source` is the path of a GGUF file (the first shard of a split one), the name of a model in the
/// local store, or `demo`, the built-in model; `Model.pull` downloads models. `progress` is called
/// with the loaded fraction, from 0 to 1; returning False cancels. True shows a progress bar, which
/// is the default in notebooks. The other options are those of `mullama.options.LoadOptions`.
///
/// The model is freed with its last reference, or by `close()`, which a `with` block calls at its
/// end.
#[pyclass(frozen, subclass, extends = BaseModel, module = "mullama")]
pub struct Model;

methods! {
    Model {
        fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
            slf
        }

        #[pyo3(signature = (*_exception: "object"))]
        fn __exit__(slf: &Bound<'_, Self>, _exception: &Bound<'_, PyAny>) -> Result<Nothing> {
            Self::close(slf, false)
        }
    }
}

#[doc = signature!("AsyncModel", "source, *, progress=None, ", load)]
/// A loaded model for programs that use `asyncio`: its methods are coroutines that run on separate
/// threads. Many requests can run concurrently; cancelling a task cancels its request.
///
/// `AsyncModel(...)` blocks the event loop while it loads, `await AsyncModel.load(...)` does not.
/// Both accept the same arguments as `Model`.
///
/// The model is freed with its last reference, or by `close()`, which an `async with` block calls
/// at its end.
#[pyclass(frozen, subclass, extends = BaseModel, module = "mullama")]
pub struct AsyncModel;

methods! {
    AsyncModel {
        #[doc = signature!("load", "source, *, progress=None, ", load)]
        /// Loads a model without blocking the event loop. `progress` is called on another thread.
        #[staticmethod]
        #[pyo3(
            signature = (source, *, progress = None, **options: "Unpack[LoadOptions]"),
            text_signature = None
        )]
        fn load(
            py: Python<'_>,
            source: Source,
            progress: Option<Progress<f32>>,
            options: Option<Options<(ModelParams, ContextParams)>>,
        ) -> Result<Coroutine<'_, Loaded>> {
            let progress = Loading::new(Progress::callback(py, progress)?);
            let token = progress.cancel_token();
            Self::run(py, "load", async move {
                // If the coroutine is dropped, loading is cancelled.
                let _abandon = token.drop_guard();
                on_thread(move || load(source.0, with_defaults(options), progress)).await.map(Loaded)
            })
        }

        fn __aenter__(slf: Bound<'_, Self>) -> Result<Coroutine<'_, Py<Self>>> {
            let (py, itself) = (slf.py(), slf.unbind());
            Self::run(py, "__aenter__", async move { Ok(itself) })
        }

        #[pyo3(signature = (*_exception: "object"))]
        fn __aexit__<'py>(
            slf: &Bound<'py, Self>,
            _exception: &Bound<'py, PyAny>,
        ) -> Result<Coroutine<'py, Nothing>> {
            Self::close(slf, false)
        }
    }
}

/// The core's model of a Python object.
fn core<M: CallStyle>(model: &Bound<'_, M>) -> Result<mullama::Model> {
    Ok(model.as_super().get().0.get()?.clone())
}

/// Loads a model; blocks for a long time.
fn load(
    source: PathBuf,
    (model, context): (ModelParams, ContextParams),
    mut progress: Loading,
) -> Result<mullama::Model> {
    let report = |fraction| progress.report(fraction);
    let loaded = mullama::Model::load_with_progress(source, model, context, report);
    match progress.raised {
        Some(raised) => Err(Failure::Raised(raised)),
        None => Ok(loaded?),
    }
}

/// A loaded model that has not become a Python object yet.
struct Loaded(mullama::Model);

impl<'py> IntoPyObject<'py> for Loaded {
    type Target = AsyncModel;
    type Output = Bound<'py, AsyncModel>;
    type Error = PyErr;

    const OUTPUT_TYPE: PyStaticExpr = AsyncModel::TYPE_HINT;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        Bound::new(py, initializer(self.0, AsyncModel))
    }
}

/// The initialiser of an object of a class of models.
fn initializer<M: CallStyle>(model: mullama::Model, object: M) -> PyClassInitializer<M> {
    PyClassInitializer::from(BaseModel(Owned::new(model))).add_subclass(object)
}
