"""The native module of mullama. Import from `mullama` instead."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Final, Literal, Self, SupportsIndex, Unpack, final, overload

from _typeshed import SupportsGetItem
from typing_extensions import Buffer, disjoint_base

from mullama._chat import AsyncChat, Chat
from mullama._message import Message
from mullama.options import (
    ChatOptions,
    EmbedOptions,
    GenerateOptions,
    LoadOptions,
    Lora,
    PlanOptions,
    RerankOptions,
)

__all__ = [
    "Alternative",
    "AsyncChatStream",
    "AsyncModel",
    "AsyncStream",
    "Backend",
    "BaseModel",
    "Capabilities",
    "ChatChunk",
    "ChatCompletion",
    "ChatStream",
    "Chunk",
    "Completion",
    "Device",
    "DeviceShare",
    "EmbeddingUsage",
    "Embeddings",
    "FunctionCall",
    "MediaLimits",
    "Model",
    "Placement",
    "Plan",
    "PlannedDevice",
    "PlannedModel",
    "Prediction",
    "PromptProgress",
    "PullProgress",
    "RankedDocument",
    "RequestInfo",
    "Reranking",
    "Stats",
    "StopReason",
    "StoredModel",
    "Stream",
    "Timings",
    "TokenLogprob",
    "ToolCall",
    "ToolCallDelta",
    "TopLogprob",
    "Usage",
    "_Task",
    "_Turn",
    "__version__",
    "_add_backend_dirs",
    "_engine_dir",
    "_error_kinds",
    "_items",
    "_message_fields",
    "_option_specs",
    "_run_command",
    "_shortened",
    "_shut_down",
    "_text_of_content",
    "_tool_calls",
    "backends",
    "cuda_available",
    "cuda_device_count",
    "cuda_memory_info",
    "devices",
    "metal_available",
    "opencl_available",
    "plan",
    "rocm_available",
    "rocm_device_count",
    "sycl_available",
    "vulkan_available",
]

@disjoint_base
class BaseModel:
    """Properties of a loaded model, common to `Model` and `AsyncModel`."""

    @property
    def architecture(self) -> str:
        """The architecture, as the file names it: `llama`, `qwen3`, ..."""

    @property
    def capabilities(self) -> Capabilities:
        """The tasks that the model supports."""

    @property
    def chat_template(self) -> str | None:
        """The chat template in use (Jinja)."""

    @property
    def context_size(self) -> int:
        """Context size in tokens, shared by all concurrent requests; for a model that does not
        generate, the maximum length of a text; 0 if only the vocabulary was loaded."""

    @property
    def default_options(self) -> GenerateOptions:
        """The sampling options of a call that sets none: the model's own recommendations, else the
        defaults."""

    @property
    def description(self) -> str:
        """Architecture, number of parameters and quantisation: `llama 1.2B Q4_K_M`."""

    @property
    def gpu_layers(self) -> int:
        """Number of layers on GPUs, as reported by the engine; the output layer counts as one."""

    @property
    def is_closed(self) -> bool:
        """Whether the model has been closed."""

    @property
    def metadata(self) -> dict[str, str]:
        """The file's metadata as text, without arrays."""

    @property
    def n_embd(self) -> int:
        """Number of dimensions of an embedding."""

    @property
    def n_layers(self) -> int:
        """Number of layers (blocks), without the output layer."""

    @property
    def n_params(self) -> int:
        """Number of parameters."""

    @property
    def n_vocab(self) -> int:
        """Size of the vocabulary."""

    @property
    def name(self) -> str | None:
        """The name in the file's metadata."""

    @property
    def path(self) -> str:
        """The file that the model was loaded from."""

    @property
    def placement(self) -> Placement:
        """The allocated bytes of weights, KV cache and compute buffers per device; those for
        embeddings are included after the first embedding."""

    @property
    def size(self) -> int:
        """Size of all tensors in bytes."""

    def requests(self) -> list[RequestInfo]:
        """The active requests, oldest first."""

    def cancel_request(self, id: str) -> bool:
        """Cancels the requests with this id (`request_id`), which return their partial answers.
        Returns whether there are any."""

    def stats(self) -> Stats:
        """Statistics since the model was loaded, and its current load."""

@final
class Capabilities:
    """The tasks that a model supports."""

    @property
    def chat(self) -> bool:
        """There is a chat template."""

    @property
    def embed(self) -> bool:
        """Texts can be embedded."""

    @property
    def generate(self) -> bool:
        """Text can be generated."""

    @property
    def media_limits(self) -> MediaLimits | None:
        """Limits of pictures, if messages can have any."""

    @property
    def reasoning(self) -> bool:
        """The chat template can switch reasoning on and off."""

    @property
    def rerank(self) -> bool:
        """Documents can be ranked: there is a classification head."""

    @property
    def tools(self) -> bool:
        """The chat template supports tools."""

    @property
    def vision(self) -> bool:
        """Messages can have pictures: there is a projector."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class DeviceShare:
    """The part of a model on one device, in allocated bytes."""

    @property
    def compute(self) -> int:
        """Bytes of compute buffers."""

    @property
    def draft(self) -> int:
        """Bytes of the draft model: its weights, KV cache and compute buffers."""

    @property
    def kv(self) -> int:
        """Bytes of KV cache."""

    @property
    def layers(self) -> int:
        """Number of layers; the output layer counts as one."""

    @property
    def name(self) -> str:
        """The device's name; `CPU` is system RAM."""

    @property
    def projector(self) -> int:
        """Bytes of the projector: its weights and compute buffers. They are allocated when it is
        loaded (`load_projector`)."""

    @property
    def weights(self) -> int:
        """Bytes of weights."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class MediaLimits:
    """Limits of pictures in messages."""

    @property
    def bytes(self) -> int:
        """Bytes of the file of a picture."""

    @property
    def pictures(self) -> int:
        """Pictures in the messages of a chat."""

    @property
    def pixels(self) -> int:
        """Pixels of a picture."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Placement:
    """The placement of a loaded model."""

    @property
    def devices(self) -> list[DeviceShare]:
        """The devices with a part of the model; system RAM is last."""

    def _repr_html_(self) -> str: ...
    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class RequestInfo:
    """An active request."""

    @property
    def client(self) -> str | None:
        """Its client (`client`)."""

    @property
    def completion_tokens(self) -> int:
        """Tokens generated so far."""

    @property
    def computed_tokens(self) -> int:
        """Prompt tokens processed so far, including those from the cache."""

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the call."""

    @property
    def id(self) -> str:
        """Its id, which no other active request of the model has: `request_id`, or else a
        number."""

    @property
    def priority(self) -> int:
        """Its priority."""

    @property
    def prompt_tokens(self) -> int:
        """Number of prompt tokens."""

    @property
    def state(self) -> Literal["waiting", "prompt", "generating"]:
        """Its state: `waiting`, `prompt` (its prompt is being processed) or `generating`."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Stats:
    """Statistics since a model was loaded, and its current load."""

    @property
    def accepted_tokens(self) -> int:
        """Drafted tokens that were accepted."""

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that were reused from the cache."""

    @property
    def completion_tokens(self) -> int:
        """Tokens that were generated."""

    @property
    def drafted_tokens(self) -> int:
        """Drafted tokens (`prompt_lookup`)."""

    @property
    def embedded_inputs(self) -> int:
        """Embedded texts and scored documents."""

    @property
    def embedded_tokens(self) -> int:
        """Tokens of embedded texts and scored documents."""

    @property
    def embedding_steps(self) -> int:
        """Batches of texts and documents."""

    @property
    def evicted_tokens(self) -> int:
        """Cached tokens that were evicted to make room."""

    @property
    def finished(self) -> int:
        """Requests that have ended for any reason."""

    @property
    def kv_kept(self) -> int:
        """Cells of the KV cache that only cache finished requests; updated when no request is
        running."""

    @property
    def kv_used(self) -> int:
        """Cells of the KV cache in use."""

    @property
    def preemptions(self) -> int:
        """How often a request released its cells and was recomputed later."""

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens that were computed."""

    @property
    def restored_tokens(self) -> int:
        """Evicted tokens that were copied back to the KV cache (`cache_ram`)."""

    @property
    def running(self) -> int:
        """Requests that are running."""

    @property
    def steps(self) -> int:
        """Steps of the engine."""

    @property
    def waiting(self) -> int:
        """Requests that are waiting."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class FunctionCall:
    """What a tool call calls."""

    @property
    def arguments(self) -> str:
        """The arguments: a JSON object, serialised."""

    @property
    def name(self) -> str:
        """The tool's name."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class ToolCall:
    """A call of a tool by the model."""

    @property
    def function(self) -> FunctionCall:
        """What is called."""

    @property
    def id(self) -> str:
        """The id of the call, which its result refers to as `tool_call_id`."""

    @property
    def type(self) -> str:
        """Always `function`."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class ToolCallDelta:
    """A new part of one tool call. The first part of a call has its id and name."""

    @property
    def arguments(self) -> str:
        """New text of the arguments."""

    @property
    def id(self) -> str | None:
        """The id of the call, which its result refers to as `tool_call_id`."""

    @property
    def index(self) -> int:
        """Index of the call within the answer."""

    @property
    def name(self) -> str | None:
        """The tool's name."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

def _message_fields(message: Mapping[str, object]) -> dict[str, Any]:
    """The fields of a message, from a dict in OpenAI's format."""

def _text_of_content(content: Any) -> str | None:
    """The text of a message's content, which is a text or a list of parts."""

def _tool_calls(calls: list[Any]) -> list[ToolCall]:
    """The calls of a message, as objects."""

def _run_command(arguments: SupportsGetItem[int, str], itself: SupportsGetItem[int, str]) -> int:
    """Runs the command and returns its exit status: `arguments` begin with its name, `itself`
    is the command line that starts it again."""

@final
class EmbeddingUsage:
    """Token counts of an embedding or a reranking."""

    @property
    def prompt_tokens(self) -> int:
        """Computed tokens of all inputs."""

    @property
    def truncated_tokens(self) -> int:
        """Tokens removed because an input was too long."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Embeddings:
    """The vectors of texts, in the order of the texts: a sequence with one `memoryview` of 32-bit
    floats per text.

    It is also a buffer of shape `(rows, dimensions)`, which `numpy.asarray(embeddings)` uses
    without a copy. The buffer is read-only and stays valid as long as any view of it exists. There
    is one row per text; with `pooling="none"` there is one row per token, text after text, and
    `embeddings[i]` has the shape `(tokens, dimensions)`.
    """

    @property
    def normalized(self) -> bool:
        """Whether each vector has been scaled to length 1."""

    @property
    def pooling(self) -> Literal["mean", "cls", "last", "none", "rank"]:
        """How the token vectors of a text were combined: `mean`, `cls`, `last`, `none` or
        `rank`."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and numbers in a row."""

    @property
    def token_counts(self) -> list[int]:
        """Tokens of each text that were computed."""

    @property
    def usage(self) -> EmbeddingUsage:
        """Tokens of the texts."""

    def tolist(self) -> list[list[Any]]:
        """The vectors as lists of floats; with `pooling="none"`, one list of vectors per text."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON; `vectors` is what
        `tolist` returns."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __iter__(self) -> Iterator[memoryview[float]]: ...
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: SupportsIndex, /) -> memoryview[float]: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[memoryview[float]]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class RankedDocument:
    """A document with its score."""

    @property
    def index(self) -> int:
        """Index of the document, counted from 0."""

    @property
    def score(self) -> float:
        """How well the document answers the query: higher is better. The range of scores depends on
        the model."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Reranking:
    """Documents sorted by how well they answer a query, best first: a sequence."""

    @property
    def results(self) -> list[RankedDocument]:
        """The documents; those with equal scores are in their original order."""

    @property
    def usage(self) -> EmbeddingUsage:
        """Tokens of the query and the documents; the query is counted once per document."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __iter__(self) -> Iterator[RankedDocument]: ...
    @overload
    def __getitem__(self, index: SupportsIndex, /) -> RankedDocument: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[RankedDocument]: ...
    def __len__(self) -> int: ...

def _shut_down() -> None:
    """Called when Python is about to shut down: stops the engines, and prevents our own threads
    from entering Python."""

def _error_kinds() -> list[tuple[str, str, str]]:
    """The kinds of error, what each is, and the built-in exception that fits, for the script
    that writes `mullama/errors.py`."""

def _shortened(message: str) -> str:
    """A message without its middle if it is very long."""

@final
class Backend:
    """A backend module that was found, and its status."""

    @property
    def loaded(self) -> bool:
        """Whether it is in use."""

    @property
    def name(self) -> str:
        """The backend: `cpu`, `cuda`, `metal`, `rocm`, `vulkan`, `opencl`, `sycl`, `rpc`."""

    @property
    def path(self) -> str:
        """The module's file."""

    @property
    def reason(self) -> str | None:
        """The reason why it is not in use."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Device:
    """A device that the engine can compute on."""

    @property
    def backend(self) -> str:
        """The backend: `cpu`, `cuda`, `metal`, `rocm`, `vulkan`, `opencl`, `sycl`, `rpc`."""

    @property
    def description(self) -> str:
        """The vendor's name of the device."""

    @property
    def kernels(self) -> str | None:
        """The active CPU kernels and their instruction set, or the reason why the engine's kernels
        are used; `None` for other devices."""

    @property
    def kind(self) -> Literal["cpu", "gpu", "igpu", "accelerator"]:
        """The kind of device: `cpu`, `gpu` (with dedicated memory), `igpu` (which shares system
        RAM) or `accelerator`."""

    @property
    def memory_free(self) -> int:
        """Free memory in bytes when the device was listed."""

    @property
    def memory_total(self) -> int:
        """Total memory in bytes."""

    @property
    def name(self) -> str:
        """The name in the engine and in placement options: `CPU`, `CUDA0`, `Vulkan1`."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

def _add_backend_dirs(dirs: Sequence[str]) -> None:
    """Adds folders to look for backend modules in, before anything computes."""

def backends() -> list[Backend]:
    """The backend modules that were found, in the order in which they were tried."""

def cuda_available() -> bool:
    """Whether an NVIDIA GPU can be used now."""

def cuda_device_count() -> int:
    """The number of NVIDIA GPUs that can be used now."""

def cuda_memory_info(index: SupportsIndex) -> tuple[int, int]:
    """Used and total memory of NVIDIA GPU `index`, in bytes; `(0, 0)` if there is no such
    GPU."""

def devices() -> list[Device]:
    """The devices of this machine with their current memory; the CPU is last."""

def _engine_dir() -> str | None:
    """The folder of the engine's libraries in this process."""

def metal_available() -> bool:
    """Whether Apple's Metal can be used now."""

def opencl_available() -> bool:
    """Whether a GPU can be used now through OpenCL."""

def rocm_available() -> bool:
    """Whether an AMD GPU can be used now through ROCm."""

def rocm_device_count() -> int:
    """The number of AMD GPUs that can be used now through ROCm."""

def sycl_available() -> bool:
    """Whether a GPU can be used now through SYCL."""

def vulkan_available() -> bool:
    """Whether a GPU can be used now through Vulkan."""

def _items(values: Any, name: str) -> list[Any]:
    """The items of an iterable as a list, for the modules in Python."""

class AsyncModel(BaseModel):
    """A loaded model for programs that use `asyncio`: its methods are coroutines that run on
    separate threads. Many requests can run concurrently; cancelling a task cancels its request.

    `AsyncModel(...)` blocks the event loop while it loads, `await AsyncModel.load(...)` does not.
    Both accept the same arguments as `Model`.

    The model is freed with its last reference, or by `close()`, which an `async with` block calls
    at its end.
    """

    def __new__(
        cls,
        source: str | bytes | PathLike[str] | PathLike[bytes],
        *,
        progress: Callable[[float], object] | bool | None = None,
        **options: Unpack[LoadOptions],
    ) -> Self: ...
    @staticmethod
    def pull(
        name: str,
        *,
        progress: Callable[[PullProgress], object] | bool | None = None,
        insecure: bool = False,
        token: str | None = None,
    ) -> Coroutine[Any, Any, StoredModel]:
        """Downloads a model into the local store: a name (`llama3.2:1b`, `host/user/model:tag`), a
        Hugging Face repository (`hf.co/user/repo:Q4_K_M`), or the URL of a GGUF file. A model that
        is already present and up to date is not downloaded again; an interrupted download resumes.
        Ctrl-C, or cancelling the task that awaits it, cancels it.

        `progress` is called with a `PullProgress` on another thread; returning False cancels. True
        shows a progress bar, which is the default in notebooks. `insecure` allows plain HTTP to
        other machines. `token` is for registries that require one; Hugging Face's is `HF_TOKEN`.
        """

    @staticmethod
    def load(
        source: str | bytes | PathLike[str] | PathLike[bytes],
        *,
        progress: Callable[[float], object] | bool | None = None,
        **options: Unpack[LoadOptions],
    ) -> Coroutine[Any, Any, AsyncModel]:
        """Loads a model without blocking the event loop. `progress` is called on another thread."""

    def generate(
        self, prompt: str | Iterable[int], **options: Unpack[GenerateOptions]
    ) -> Coroutine[Any, Any, Completion]:
        """Generates until the model stops or an option ends the generation, and returns the
        complete answer.

        `prompt` is text or a list of token ids. The options are those of
        `mullama.options.GenerateOptions`.
        """

    def infill(
        self, prefix: str | Iterable[int], suffix: str, **options: Unpack[GenerateOptions]
    ) -> Coroutine[Any, Any, Completion]:
        """Generates the text between two texts (fill in the middle), with a model that was trained
        for it: `generate` with the option `infill_suffix`, which `stream` accepts too.

        `prefix` is text or a list of token ids. The options are those of
        `mullama.options.GenerateOptions`.
        """

    def stream(
        self, prompt: str | Iterable[int], **options: Unpack[GenerateOptions]
    ) -> AsyncStream:
        """Starts a generation and returns an iterator of its chunks; with `AsyncModel`, an
        asynchronous iterator.

        `prompt` is text or a list of token ids. The options are those of
        `mullama.options.GenerateOptions`.
        """

    def chat(
        self, messages: Sequence[Mapping[str, object]], **options: Unpack[ChatOptions]
    ) -> Coroutine[Any, Any, ChatCompletion]:
        """Answers the last message, using the model's chat template.

        `messages` is a list of dicts in OpenAI's format; it can include the `message` of an earlier
        answer. The options are those of `mullama.options.ChatOptions`.
        """

    def stream_chat(
        self, messages: Sequence[Mapping[str, object]], **options: Unpack[ChatOptions]
    ) -> AsyncChatStream:
        """Starts an answer to the last message and returns an iterator of its chunks; with
        `AsyncModel`, an asynchronous iterator.

        `messages` is a list of dicts in OpenAI's format; it can include the `message` of an earlier
        answer. The options are those of `mullama.options.ChatOptions`.
        """

    def embed(
        self,
        texts: str | Iterable[int] | Iterable[str | Iterable[int]],
        **options: Unpack[EmbedOptions],
    ) -> Coroutine[Any, Any, Embeddings]:
        """Embeds texts; the vectors are in the order of the texts.

        `texts` is a text or a list of them; a list of token ids can be passed in place of a text.
        The options are those of `mullama.options.EmbedOptions`.
        """

    def rerank(
        self, query: str, documents: Iterable[str], **options: Unpack[RerankOptions]
    ) -> Coroutine[Any, Any, Reranking]:
        """Sorts documents by how well they answer a query, best first.

        The model must be a reranker: one with a classification head. The options are those of
        `mullama.options.RerankOptions`.
        """

    def _compact(
        self,
        history: Sequence[Mapping[str, object]],
        said: Sequence[Mapping[str, object]],
        summarizes: bool,
        **options: Unpack[ChatOptions],
    ) -> Coroutine[Any, Any, dict[str, Any] | None]:
        """The replacement of the oldest turns of a conversation: the indices of messages that stay,
        the index of the first message after those that are replaced, and a turn with the model's
        summary if `summarizes`. None if the conversation fits."""

    def start_chat(
        self,
        *,
        system: str | None = None,
        messages: Sequence[Mapping[str, object]] | None = None,
        max_tool_rounds: int | None = None,
        compact: Callable[[list[dict[str, Any]]], str | Awaitable[str]] | None = None,
        **options: Unpack[ChatOptions],
    ) -> AsyncChat:
        """Starts a conversation, which stores the messages and runs the tools that the model calls.

        `system` is the system message and `messages` the conversation so far. `max_tool_rounds`
        (default: 8) limits the rounds of tool calls before an answer; further calls are returned as
        the answer, and the model is informed of the limit. `compact` is a function that summarises
        the oldest messages when the context is full, with `overflow="compact"`; without it, the
        model does. The other options are those of `mullama.options.ChatOptions`, and apply to every
        answer. Tools that are not functions are run by the caller.
        """

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        add_generation_prompt: bool = True,
        **options: Unpack[ChatOptions],
    ) -> Coroutine[Any, Any, str]:
        """The prompt for a chat with these messages.

        The options are those of `mullama.options.ChatOptions`.
        """

    def tokenize(
        self, text: str, add_special: bool = True, parse_special: bool = False
    ) -> Coroutine[Any, Any, list[int]]:
        """Converts text to tokens. `add_special` adds the special tokens that the model expects
        around a text; `parse_special` parses special tokens written in the text."""

    def detokenize(
        self, tokens: Iterable[int], skip_special: bool = False
    ) -> Coroutine[Any, Any, str]:
        """Converts tokens to text; `skip_special` leaves special tokens out."""

    def count_tokens(self, text: str) -> Coroutine[Any, Any, int]:
        """The number of tokens of a text as a prompt."""

    def set_lora(self, lora: Lora) -> Coroutine[Any, Any, None]:
        """Sets the LoRA adapters for all future requests that do not specify their own: a path, or
        a list of paths and of pairs of a path and a scale. An empty list turns adapters off."""

    def save_state(
        self,
        prompt: str | Iterable[int],
        path: str | bytes | PathLike[str] | PathLike[bytes] | None = None,
    ) -> Coroutine[Any, Any, bytes]:
        """The computed state of a prompt (text or a list of token ids), as bytes for `load_state`
        in this process or another. Tokens that have not been computed yet are computed. With
        `path`, the state is written to that file as well."""

    def load_state(
        self, state: Buffer | str | PathLike[str] | PathLike[bytes]
    ) -> Coroutine[Any, Any, int]:
        """Loads a saved state, from bytes or from the file at a path: requests that start with its
        prompt reuse it. Returns its number of tokens.

        Raises `InvalidArgumentError` for the state of another model or of other settings.
        """

    def close(self, *, finish: bool = False) -> Coroutine[Any, Any, None]:
        """Frees the model. Running requests are cancelled, or completed first with `finish`. Later
        calls raise `ClosedError`; properties such as the name and the size remain available."""

    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(self, *_exception: object) -> Coroutine[Any, Any, None]: ...

class Model(BaseModel):
    """A loaded model. Its methods release the GIL while they wait, so many threads can use one
    model concurrently; Ctrl-C cancels the call that the main thread waits for.

    `source` is the path of a GGUF file (the first shard of a split one), the name of a model in the
    local store, or `demo`, the built-in model; `Model.pull` downloads models. `progress` is called
    with the loaded fraction, from 0 to 1; returning False cancels. True shows a progress bar, which
    is the default in notebooks. The other options are those of `mullama.options.LoadOptions`.

    The model is freed with its last reference, or by `close()`, which a `with` block calls at its
    end.
    """

    def __new__(
        cls,
        source: str | bytes | PathLike[str] | PathLike[bytes],
        *,
        progress: Callable[[float], object] | bool | None = None,
        **options: Unpack[LoadOptions],
    ) -> Self: ...
    @staticmethod
    def pull(
        name: str,
        *,
        progress: Callable[[PullProgress], object] | bool | None = None,
        insecure: bool = False,
        token: str | None = None,
    ) -> StoredModel:
        """Downloads a model into the local store: a name (`llama3.2:1b`, `host/user/model:tag`), a
        Hugging Face repository (`hf.co/user/repo:Q4_K_M`), or the URL of a GGUF file. A model that
        is already present and up to date is not downloaded again; an interrupted download resumes.
        Ctrl-C, or cancelling the task that awaits it, cancels it.

        `progress` is called with a `PullProgress` on another thread; returning False cancels. True
        shows a progress bar, which is the default in notebooks. `insecure` allows plain HTTP to
        other machines. `token` is for registries that require one; Hugging Face's is `HF_TOKEN`.
        """

    def generate(
        self, prompt: str | Iterable[int], **options: Unpack[GenerateOptions]
    ) -> Completion:
        """Generates until the model stops or an option ends the generation, and returns the
        complete answer.

        `prompt` is text or a list of token ids. The options are those of
        `mullama.options.GenerateOptions`.
        """

    def infill(
        self, prefix: str | Iterable[int], suffix: str, **options: Unpack[GenerateOptions]
    ) -> Completion:
        """Generates the text between two texts (fill in the middle), with a model that was trained
        for it: `generate` with the option `infill_suffix`, which `stream` accepts too.

        `prefix` is text or a list of token ids. The options are those of
        `mullama.options.GenerateOptions`.
        """

    def stream(self, prompt: str | Iterable[int], **options: Unpack[GenerateOptions]) -> Stream:
        """Starts a generation and returns an iterator of its chunks; with `AsyncModel`, an
        asynchronous iterator.

        `prompt` is text or a list of token ids. The options are those of
        `mullama.options.GenerateOptions`.
        """

    def chat(
        self, messages: Sequence[Mapping[str, object]], **options: Unpack[ChatOptions]
    ) -> ChatCompletion:
        """Answers the last message, using the model's chat template.

        `messages` is a list of dicts in OpenAI's format; it can include the `message` of an earlier
        answer. The options are those of `mullama.options.ChatOptions`.
        """

    def stream_chat(
        self, messages: Sequence[Mapping[str, object]], **options: Unpack[ChatOptions]
    ) -> ChatStream:
        """Starts an answer to the last message and returns an iterator of its chunks; with
        `AsyncModel`, an asynchronous iterator.

        `messages` is a list of dicts in OpenAI's format; it can include the `message` of an earlier
        answer. The options are those of `mullama.options.ChatOptions`.
        """

    def embed(
        self,
        texts: str | Iterable[int] | Iterable[str | Iterable[int]],
        **options: Unpack[EmbedOptions],
    ) -> Embeddings:
        """Embeds texts; the vectors are in the order of the texts.

        `texts` is a text or a list of them; a list of token ids can be passed in place of a text.
        The options are those of `mullama.options.EmbedOptions`.
        """

    def rerank(
        self, query: str, documents: Iterable[str], **options: Unpack[RerankOptions]
    ) -> Reranking:
        """Sorts documents by how well they answer a query, best first.

        The model must be a reranker: one with a classification head. The options are those of
        `mullama.options.RerankOptions`.
        """

    def _compact(
        self,
        history: Sequence[Mapping[str, object]],
        said: Sequence[Mapping[str, object]],
        summarizes: bool,
        **options: Unpack[ChatOptions],
    ) -> dict[str, Any] | None:
        """The replacement of the oldest turns of a conversation: the indices of messages that stay,
        the index of the first message after those that are replaced, and a turn with the model's
        summary if `summarizes`. None if the conversation fits."""

    def start_chat(
        self,
        *,
        system: str | None = None,
        messages: Sequence[Mapping[str, object]] | None = None,
        max_tool_rounds: int | None = None,
        compact: Callable[[list[dict[str, Any]]], str | Awaitable[str]] | None = None,
        **options: Unpack[ChatOptions],
    ) -> Chat:
        """Starts a conversation, which stores the messages and runs the tools that the model calls.

        `system` is the system message and `messages` the conversation so far. `max_tool_rounds`
        (default: 8) limits the rounds of tool calls before an answer; further calls are returned as
        the answer, and the model is informed of the limit. `compact` is a function that summarises
        the oldest messages when the context is full, with `overflow="compact"`; without it, the
        model does. The other options are those of `mullama.options.ChatOptions`, and apply to every
        answer. Tools that are not functions are run by the caller.
        """

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        add_generation_prompt: bool = True,
        **options: Unpack[ChatOptions],
    ) -> str:
        """The prompt for a chat with these messages.

        The options are those of `mullama.options.ChatOptions`.
        """

    def tokenize(
        self, text: str, add_special: bool = True, parse_special: bool = False
    ) -> list[int]:
        """Converts text to tokens. `add_special` adds the special tokens that the model expects
        around a text; `parse_special` parses special tokens written in the text."""

    def detokenize(self, tokens: Iterable[int], skip_special: bool = False) -> str:
        """Converts tokens to text; `skip_special` leaves special tokens out."""

    def count_tokens(self, text: str) -> int:
        """The number of tokens of a text as a prompt."""

    def set_lora(self, lora: Lora) -> None:
        """Sets the LoRA adapters for all future requests that do not specify their own: a path, or
        a list of paths and of pairs of a path and a scale. An empty list turns adapters off."""

    def save_state(
        self,
        prompt: str | Iterable[int],
        path: str | bytes | PathLike[str] | PathLike[bytes] | None = None,
    ) -> bytes:
        """The computed state of a prompt (text or a list of token ids), as bytes for `load_state`
        in this process or another. Tokens that have not been computed yet are computed. With
        `path`, the state is written to that file as well."""

    def load_state(self, state: Buffer | str | PathLike[str] | PathLike[bytes]) -> int:
        """Loads a saved state, from bytes or from the file at a path: requests that start with its
        prompt reuse it. Returns its number of tokens.

        Raises `InvalidArgumentError` for the state of another model or of other settings.
        """

    def close(self, *, finish: bool = False) -> None:
        """Frees the model. Running requests are cancelled, or completed first with `finish`. Later
        calls raise `ClosedError`; properties such as the name and the size remain available."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

def _option_specs() -> list[tuple[str, str, str, str]]:
    """Every option as (set, name, type in Rust, documentation), for the script that writes
    `mullama/options.py`."""

@final
class Alternative:
    """An alternative way to run a model, and its effect."""

    @property
    def change(self) -> str:
        """The changed setting: `kv_cache_type q8_0`, `Q3_K_M`."""

    @property
    def context_size(self) -> int:
        """Context size in tokens."""

    @property
    def decode_tps(self) -> float | None:
        """Tokens per second, if they can be predicted."""

    @property
    def fits(self) -> bool:
        """Whether it fits."""

    @property
    def n_gpu_layers(self) -> int:
        """Number of layers on GPUs; the output layer counts as one."""

    @property
    def options(self) -> LoadOptions:
        """Options that load the model as planned; another quantisation needs its own file."""

    @property
    def size(self) -> int:
        """Size of all tensors in bytes."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Plan:
    """A planned placement. `str(plan)` is a table with bars; `Model(source, **plan.options)` loads
    the model as planned."""

    @property
    def advice(self) -> list[str]:
        """Advice on this placement, one sentence each: which GPUs are not used, whether partial
        offloading is worthwhile, whether a smaller quantisation is the better choice, and how much
        system RAM is needed in addition to the GPUs."""

    @property
    def alternatives(self) -> list[Alternative]:
        """Other settings and quantisations of the model, best first, if it does not fit on GPUs
        completely."""

    @property
    def context_size(self) -> int:
        """Context size in tokens."""

    @property
    def devices(self) -> list[PlannedDevice]:
        """The GPUs with a part of the model, in the order of their layers."""

    @property
    def fits(self) -> bool:
        """Whether it fits."""

    @property
    def host(self) -> PlannedDevice:
        """System RAM."""

    @property
    def kv_cache_type(self) -> str | list[str]:
        """The data type of keys and values, or a list of both."""

    @property
    def layer_devices(self) -> list[str]:
        """The name of each layer's device, the output layer's last."""

    @property
    def max_gpu_context_size(self) -> int | None:
        """The largest context size, in tokens, with which all layers are on GPUs, if there is
        one."""

    @property
    def model(self) -> PlannedModel:
        """The planned model."""

    @property
    def n_cpu_moe(self) -> int:
        """Number of layers, from the first on, whose experts are in system RAM."""

    @property
    def n_gpu_layers(self) -> int:
        """Number of layers on GPUs; the output layer counts as one."""

    @property
    def n_layers(self) -> int:
        """Total number of layers, including the output layer."""

    @property
    def options(self) -> LoadOptions:
        """Options that load the model as planned. Described devices are not included: the model is
        loaded on the devices of the machine, in their order."""

    @property
    def pages(self) -> bool:
        """Whether the weights in system RAM exceed the available memory, so that they are read from
        the file again and again."""

    @property
    def predicted(self) -> Prediction | None:
        """The predicted speed, if the performance of the devices is known."""

    @property
    def refusal(self) -> str | None:
        """The reason why it does not fit, and settings that would."""

    @property
    def tensor_overrides(self) -> dict[str, str] | None:
        """Devices of tensors by pattern, as requested."""

    @property
    def tensor_split(self) -> list[float] | None:
        """Share of each GPU, if there are several."""

    @property
    def verdict(self) -> str | None:
        """What the predicted speed is suitable for: `chat` from 8 tokens per second on, `batch`
        from 2 on, else `too_slow`. None if the model does not fit or no speed is predicted."""

    def explain(self) -> str:
        """Explains the placement of each layer."""

    def _repr_html_(self) -> str: ...
    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class PlannedDevice:
    """The planned part of a model on one device, in bytes."""

    @property
    def compute(self) -> int:
        """Bytes of compute buffers."""

    @property
    def description(self) -> str:
        """What it is."""

    @property
    def draft(self) -> int:
        """Bytes of the draft model: its weights, KV cache and compute buffers."""

    @property
    def free(self) -> int:
        """Bytes that are free before loading."""

    @property
    def kv(self) -> int:
        """Bytes of KV cache."""

    @property
    def layers(self) -> int:
        """Number of layers; the output layer counts as one."""

    @property
    def margin(self) -> int:
        """Bytes that automatic placement leaves free."""

    @property
    def name(self) -> str:
        """The device's name."""

    @property
    def projector(self) -> int:
        """Bytes of the projector: its weights and compute buffers."""

    @property
    def weights(self) -> int:
        """Bytes of weights."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class PlannedModel:
    """The model of a plan."""

    @property
    def architecture(self) -> str:
        """The architecture: `llama`, `qwen3`, ..."""

    @property
    def name(self) -> str | None:
        """The name in the file's metadata."""

    @property
    def size(self) -> int:
        """Size of all tensors in bytes."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Prediction:
    """The predicted speed of a plan."""

    @property
    def bound_by(self) -> str:
        """The bottleneck of generation: the memory bandwidth or the compute of a device."""

    @property
    def decode_tps(self) -> float:
        """Tokens per second for a single request, with an empty context."""

    @property
    def decode_tps_full(self) -> float:
        """The same with a full context."""

    @property
    def load_seconds(self) -> float:
        """Seconds to load the model from a disk."""

    @property
    def prefill_tps(self) -> float:
        """Prompt tokens per second."""

    @property
    def sources(self) -> dict[str, str]:
        """The source of the rates, for each device."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

def plan(
    source: str | bytes | PathLike[str] | PathLike[bytes] | Mapping[str, object],
    devices: str | Mapping[str, object] | Sequence[str | Mapping[str, object]] | None = None,
    **options: Unpack[PlanOptions],
) -> Plan:
    """Plans where a model would be placed and how fast it would run, without reading its
    weights.

    `source` is anything that `Model` accepts; the URL of a GGUF file or a Hugging Face name, of
    which only the header is downloaded; or a mapping with the shape of a model that need not
    exist. `devices` are names of this machine's devices, or descriptions such as `"RTX 4090"`,
    `"24GiB"` or `{"memory": "24GiB"}`. The options are those of `mullama.options.PlanOptions`.
    """

@final
class PullProgress:
    """The progress of a pull."""

    @property
    def completed(self) -> int:
        """Bytes downloaded so far, including earlier runs."""

    @property
    def eta(self) -> float | None:
        """Remaining seconds at this speed."""

    @property
    def fraction(self) -> float:
        """The completed fraction, from 0 to 1."""

    @property
    def phase(self) -> Literal["resolving", "waiting", "downloading", "verifying", "done"]:
        """The current phase: `resolving`, `waiting` (for another pull of the same file),
        `downloading`, `verifying` or `done`."""

    @property
    def speed(self) -> int:
        """Current bytes per second; 0 while unknown."""

    @property
    def total(self) -> int:
        """Total bytes of all files; 0 while unknown."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class StoredModel:
    """A model of the local store. `str(model)` is its name, by which it is loaded."""

    @property
    def id(self) -> str:
        """The id shown in lists: 12 digits."""

    @property
    def name(self) -> str:
        """The name, by which the model is loaded."""

    @property
    def path(self) -> str:
        """The file of the weights; the first of a split model."""

    @property
    def size(self) -> int:
        """Bytes of all its files."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class ChatChunk:
    """A chunk of a chat answer that is being generated. `str(chunk)` is its text."""

    @property
    def completion(self) -> ChatCompletion | None:
        """The complete answer; only in the last chunk."""

    @property
    def logprobs(self) -> list[TokenLogprob] | None:
        """Log probabilities of all tokens since the last chunk, if requested, including those of
        reasoning, tool calls and tags."""

    @property
    def progress(self) -> PromptProgress | None:
        """The progress of prompt processing, in chunks before the first token, if `prompt_progress`
        is set."""

    @property
    def reasoning(self) -> str:
        """New text of the reasoning before the answer."""

    @property
    def text(self) -> str:
        """New text of the answer."""

    @property
    def tool_calls(self) -> list[ToolCallDelta]:
        """New parts of tool calls."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class ChatCompletion(Completion):
    """A finished chat answer: a completion with its message. Its `text` is the content, without
    reasoning and tool calls."""

    @property
    def message(self) -> Message:
        """The answer, ready to be appended to the messages of the next turn."""

    @property
    def parsed(self) -> Any:
        """The answer as a value of the type that was given as `response_format`: a model of
        Pydantic, a dataclass, a `TypedDict` or another type. None where no type was given, and in a
        copy from `pickle`.

        Raises `InvalidArgumentError` where the answer was ended before it was complete.
        """

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Chunk:
    """A chunk of an answer that is being generated. `str(chunk)` is its text."""

    @property
    def completion(self) -> Completion | None:
        """The complete answer; only in the last chunk."""

    @property
    def logprobs(self) -> list[TokenLogprob] | None:
        """Log probabilities of the new tokens, if requested."""

    @property
    def progress(self) -> PromptProgress | None:
        """The progress of prompt processing, in chunks before the first token, if `prompt_progress`
        is set."""

    @property
    def text(self) -> str:
        """New text: whole characters, never part of a stop sequence. May be empty in the last
        chunk."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@disjoint_base
class Completion:
    """A finished answer. `str(completion)` is its text."""

    @property
    def finish_reason(self) -> Literal["stop", "length", "tool_calls", "cancelled"]:
        """Why the generation ended: `stop`, `length`, `tool_calls` or `cancelled`."""

    @property
    def logprobs(self) -> list[TokenLogprob] | None:
        """Log probabilities, if requested."""

    @property
    def stop_reason(self) -> StopReason:
        """The exact reason: the stop sequence, end token or limit."""

    @property
    def text(self) -> str:
        """The text, without the stop sequence that ended it."""

    @property
    def timings(self) -> Timings:
        """Times and rates."""

    @property
    def tokens(self) -> list[int]:
        """All generated tokens."""

    @property
    def usage(self) -> Usage:
        """Tokens that the request took."""

    def _repr_html_(self) -> str: ...
    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class PromptProgress:
    """The progress of prompt processing."""

    @property
    def cached(self) -> int:
        """Tokens that were reused from the cache."""

    @property
    def computed(self) -> int:
        """Tokens processed so far, including those from the cache."""

    @property
    def total(self) -> int:
        """Tokens of the prompt."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class StopReason:
    """The exact reason why a generation ended."""

    @property
    def kind(
        self,
    ) -> Literal["stop_text", "end_token", "max_tokens", "context_size", "timeout", "cancelled"]:
        """The kind of reason: `stop_text`, `end_token`, `max_tokens`, `context_size`, `timeout` or
        `cancelled`."""

    @property
    def text(self) -> str | None:
        """The stop sequence that was found, or the text of the end token."""

    @property
    def token(self) -> int | None:
        """The end token."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Timings:
    """Times of a request, in milliseconds, and rates, in tokens per second."""

    @property
    def decode_tps(self) -> float:
        """Generated tokens per second, after the first one."""

    @property
    def first_token_ms(self) -> float:
        """From the call to the first token."""

    @property
    def prompt_ms(self) -> float:
        """Prompt processing."""

    @property
    def prompt_tps(self) -> float:
        """Prompt tokens per second of prompt processing."""

    @property
    def queue_ms(self) -> float:
        """From the call to the start of prompt processing."""

    @property
    def total_ms(self) -> float:
        """From the call to the end."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class TokenLogprob:
    """A token that was generated, with its log probability."""

    @property
    def bytes(self) -> bytes:
        """Its bytes."""

    @property
    def logprob(self) -> float:
        """Natural logarithm of its probability, before sampling options are applied."""

    @property
    def text(self) -> str:
        """Its text; a part of a character shows as U+FFFD."""

    @property
    def token(self) -> int:
        """The token."""

    @property
    def top(self) -> list[TopLogprob]:
        """The most likely tokens at this position, most likely first."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class TopLogprob:
    """One of the most likely tokens at a position."""

    @property
    def bytes(self) -> bytes:
        """Its bytes."""

    @property
    def logprob(self) -> float:
        """Natural logarithm of its probability, before sampling options are applied."""

    @property
    def text(self) -> str:
        """Its text; a part of a character shows as U+FFFD."""

    @property
    def token(self) -> int:
        """The token."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Usage:
    """Token counts of a request."""

    @property
    def accepted_tokens(self) -> int:
        """Drafted tokens that were accepted."""

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that were reused from the cache."""

    @property
    def completion_tokens(self) -> int:
        """Generated tokens, including a final end-of-generation token."""

    @property
    def drafted_tokens(self) -> int:
        """Drafted tokens: by a draft model or by prompt lookup."""

    @property
    def dropped_messages(self) -> int:
        """The oldest messages of a chat, which `overflow` left out of the prompt or replaced by a
        summary."""

    @property
    def dropped_tokens(self) -> int:
        """Tokens that `overflow` left out of the prompt, or dropped from the context."""

    @property
    def image_tokens(self) -> int:
        """Prompt tokens that are of pictures."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""

    @property
    def reasoning_tokens(self) -> int:
        """Generated tokens that were reasoning, without its tags; only for chats."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class AsyncChatStream:
    """A chat answer that is being generated: an asynchronous iterator of chunks.

    The last chunk has the complete answer. Closing or dropping the stream cancels the generation.
    """

    @property
    def completion(self) -> ChatCompletion | None:
        """The complete answer, after the last chunk."""

    def cancel(self) -> None:
        """Cancels the generation; the partial answer is still delivered, with the finish reason
        `cancelled`."""

    def close(self) -> Coroutine[Any, Any, None]:
        """Cancels the generation and ends the stream. An `async with` block calls this at its
        end."""

    def aclose(self) -> Coroutine[Any, Any, None]:
        """The same as `close`, for `contextlib.aclosing`."""

    def _poll(self) -> ChatChunk | None:
        """The next chunk if it is there already, else None."""

    def _wait(self) -> _Task:
        """What is done when `_poll` has something to give."""

    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, ChatChunk]: ...
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(self, *_exception: object) -> Coroutine[Any, Any, None]: ...

@final
class AsyncStream:
    """An answer that is being generated: an asynchronous iterator of chunks.

    The last chunk has the complete answer. Closing or dropping the stream cancels the generation.
    """

    @property
    def completion(self) -> Completion | None:
        """The complete answer, after the last chunk."""

    def cancel(self) -> None:
        """Cancels the generation; the partial answer is still delivered, with the finish reason
        `cancelled`."""

    def close(self) -> Coroutine[Any, Any, None]:
        """Cancels the generation and ends the stream. An `async with` block calls this at its
        end."""

    def aclose(self) -> Coroutine[Any, Any, None]:
        """The same as `close`, for `contextlib.aclosing`."""

    def _poll(self) -> Chunk | None:
        """The next chunk if it is there already, else None."""

    def _wait(self) -> _Task:
        """What is done when `_poll` has something to give."""

    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, Chunk]: ...
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(self, *_exception: object) -> Coroutine[Any, Any, None]: ...

@final
class ChatStream:
    """A chat answer that is being generated: an iterator of chunks.

    The last chunk has the complete answer. Closing or dropping the stream cancels the generation.
    """

    @property
    def completion(self) -> ChatCompletion | None:
        """The complete answer, after the last chunk."""

    def cancel(self) -> None:
        """Cancels the generation; the partial answer is still delivered, with the finish reason
        `cancelled`."""

    def close(self) -> None:
        """Cancels the generation and ends the stream; called at the end of a `with` block."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> ChatChunk: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

@final
class Stream:
    """An answer that is being generated: an iterator of chunks.

    The last chunk has the complete answer. Closing or dropping the stream cancels the generation.
    """

    @property
    def completion(self) -> Completion | None:
        """The complete answer, after the last chunk."""

    def cancel(self) -> None:
        """Cancels the generation; the partial answer is still delivered, with the finish reason
        `cancelled`."""

    def close(self) -> None:
        """Cancels the generation and ends the stream; called at the end of a `with` block."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> Chunk: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

@final
class _Turn:
    """One turn of a conversation."""

    @property
    def completion(self) -> ChatCompletion | None:
        """The answer, once the turn is over."""

    def __new__(
        cls,
        history: Sequence[Mapping[str, object]],
        said: Sequence[Mapping[str, object]],
        tools: Sequence[Mapping[str, object]],
        callable: Sequence[str],
        max_rounds: int | None,
    ) -> Self: ...
    @staticmethod
    def summary(summary: str) -> list[Message]:
        """The turn that replaces messages by a summary."""

    def note_dropped(self, messages: SupportsIndex) -> None:
        """How many messages a summary replaced."""

    def messages(self) -> list[Message]:
        """What to ask the model about."""

    def new_messages(self) -> list[Message]:
        """What the turn adds to the conversation."""

    def record_answer(self, answer: ChatCompletion) -> list[tuple[str, str, dict[str, Any]]]:
        """The calls that an answer asks for: ids, names and arguments."""

    def record_tool_results(self, outputs: Sequence[tuple[bool, Any]]) -> None:
        """What the calls gave: whether they succeeded, and the result or the reason."""

    def chunk(self, chunk: ChatChunk) -> ChatChunk:
        """A chunk as the reader of the turn is to see it."""

@final
class _Task:
    """Work that a coroutine waits for."""

    def start(self, wake: Callable[[], object]) -> None:
        """Starts the work. `wake` is called, on another thread, when it is done."""

    def result(self) -> Any:
        """The result of work that is done."""

    def abort(self) -> None:
        """Ends the work if it is not done."""

__version__: Final[str]
