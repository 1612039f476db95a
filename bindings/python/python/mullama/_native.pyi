"""The native module of mullama. Import from `mullama` instead."""

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Final, Literal, Self, SupportsIndex, Unpack, final, overload

from _typeshed import SupportsGetItem
from typing_extensions import Buffer, disjoint_base

from mullama._chat import AsyncChat, Chat
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
    "Message",
    "Model",
    "Placement",
    "Plan",
    "PlannedDevice",
    "PlannedModel",
    "Prediction",
    "PullProgress",
    "RankedDocument",
    "Reranking",
    "Stats",
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
    "_option_specs",
    "_run_command",
    "_shut_down",
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
    """What a loaded model is: the part that `Model` and `AsyncModel` share."""

    @property
    def architecture(self) -> str:
        """The architecture, as the file names it: `llama`, `qwen3`, ..."""

    @property
    def capabilities(self) -> Capabilities:
        """What can be done with the model."""

    @property
    def chat_template(self) -> str | None:
        """The chat template in use (Jinja)."""

    @property
    def context_size(self) -> int:
        """Tokens of context, shared by all requests that run at once; of a model that does not
        generate, those of the longest text; 0 where only the vocabulary was loaded."""

    @property
    def default_options(self) -> dict[str, Any]:
        """The sampling options that hold where a call sets none: the model's own recommendations,
        else the defaults."""

    @property
    def description(self) -> str:
        """Architecture, size class and quantisation in a few words."""

    @property
    def gpu_layers(self) -> int:
        """Layers on GPUs, as the engine reports them; the output layer counts."""

    @property
    def is_closed(self) -> bool:
        """Whether the model has been closed."""

    @property
    def metadata(self) -> dict[str, str]:
        """The file's metadata as text, without arrays."""

    @property
    def n_embd(self) -> int:
        """Numbers in an embedding."""

    @property
    def n_layers(self) -> int:
        """Layers (blocks), without the output layer."""

    @property
    def n_params(self) -> int:
        """Parameters."""

    @property
    def n_vocab(self) -> int:
        """Tokens in the vocabulary."""

    @property
    def name(self) -> str | None:
        """The name that the file gives itself."""

    @property
    def path(self) -> str:
        """The file that the model was loaded from."""

    @property
    def placement(self) -> Placement:
        """Where the weights, the KV cache and the compute buffers are, in bytes as allocated; those
        of embeddings count from when they are first computed."""

    @property
    def size(self) -> int:
        """Bytes of all tensors."""

    def stats(self) -> Stats:
        """What the model has done since it was loaded, and what it is doing."""

@final
class Capabilities:
    """What can be done with a model."""

    @property
    def chat(self) -> bool:
        """There is a chat template."""

    @property
    def embed(self) -> bool:
        """Texts can be embedded, without more ado."""

    @property
    def generate(self) -> bool:
        """Text can be generated."""

    @property
    def reasoning(self) -> bool:
        """The chat template can switch reasoning on and off."""

    @property
    def rerank(self) -> bool:
        """Documents can be ranked: there is a classification head."""

    @property
    def tools(self) -> bool:
        """The chat template takes tools."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class DeviceShare:
    """What one device holds of a model, in bytes as they were allocated."""

    @property
    def compute(self) -> int:
        """Bytes of buffers to compute in."""

    @property
    def kv(self) -> int:
        """Bytes of KV cache."""

    @property
    def layers(self) -> int:
        """Layers; the output layer counts as one."""

    @property
    def name(self) -> str:
        """The device's name; `CPU` is the machine's own memory."""

    @property
    def weights(self) -> int:
        """Bytes of weights."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Placement:
    """Where a loaded model is."""

    @property
    def devices(self) -> list[DeviceShare]:
        """The devices that hold a part of the model, the machine's own memory last."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Stats:
    """What a model has done since it was loaded, and what it is doing."""

    @property
    def accepted_tokens(self) -> int:
        """Tokens that were guessed ahead, and rightly."""

    @property
    def cached_tokens(self) -> int:
        """Tokens of prompts that had been computed before."""

    @property
    def completion_tokens(self) -> int:
        """Tokens that were generated."""

    @property
    def drafted_tokens(self) -> int:
        """Tokens that were guessed ahead (`prompt_lookup`)."""

    @property
    def embedded_inputs(self) -> int:
        """Texts that were embedded, and documents that were scored."""

    @property
    def embedded_tokens(self) -> int:
        """Tokens of the texts that were embedded, and of the documents that were scored."""

    @property
    def embedding_steps(self) -> int:
        """Batches that texts and documents were computed in."""

    @property
    def evicted_tokens(self) -> int:
        """Tokens that were kept and have been given up to make room."""

    @property
    def finished(self) -> int:
        """Requests that have ended, however they did."""

    @property
    def kv_kept(self) -> int:
        """Cells of the KV cache that are kept for later requests only; told when none is
        running."""

    @property
    def kv_used(self) -> int:
        """Cells of the KV cache in use."""

    @property
    def preemptions(self) -> int:
        """Times that a request gave its cells up and was computed again later."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of prompts that were computed."""

    @property
    def restored_tokens(self) -> int:
        """Tokens that had left the KV cache and were copied back (`cache_ram`)."""

    @property
    def running(self) -> int:
        """Requests that are running."""

    @property
    def steps(self) -> int:
        """Steps of the engine."""

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class FunctionCall:
    """What a tool call calls."""

    @property
    def arguments(self) -> str:
        """The arguments: a JSON object as text."""

    @property
    def name(self) -> str:
        """The tool's name."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Message:
    """A message of a chat in OpenAI's shape, as a completion has it.

    It can be added to the messages of the next turn as it is. It reads like the dict that it stands
    for, too (`message["content"]`, `dict(message)`); `to_dict()` gives that dict.
    """

    @property
    def content(self) -> str | None:
        """What is said; None where an assistant only calls tools."""

    @property
    def name(self) -> str | None:
        """Of a tool's result: the tool's name. Of others: the speaker's."""

    @property
    def reasoning(self) -> str | None:
        """What the assistant thought before it answered."""

    @property
    def role(self) -> Literal["system", "developer", "user", "assistant", "tool"]:
        """Who says it: `system`, `developer`, `user`, `assistant` or `tool`."""

    @property
    def tool_call_id(self) -> str | None:
        """Of a tool's result: the id of the call."""

    @property
    def tool_calls(self) -> list[ToolCall]:
        """Tools that the assistant calls."""

    @staticmethod
    def from_dict(message: Mapping[str, Any]) -> Message:
        """A message from a dict in OpenAI's shape."""

    def to_dict(self) -> dict[str, Any]:
        """The message as a dict in OpenAI's shape."""

    def keys(self) -> list[str]:
        """The keys of the dict that the message stands for."""

    def get(self, key: str, default: Any | None = None) -> Any | None:
        """The value under a key of the dict that the message stands for, or `default`."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: str, /) -> Any: ...
    def __contains__(self, key: Any, /) -> bool: ...

@final
class ToolCall:
    """A call of a tool by the model."""

    @property
    def function(self) -> FunctionCall:
        """What is called."""

    @property
    def id(self) -> str:
        """Names the call, for the result to refer to as `tool_call_id`."""

    @property
    def type(self) -> str:
        """Always `function`."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class ToolCallDelta:
    """What is new in one tool call. The first delta of a call has its id and name."""

    @property
    def arguments(self) -> str:
        """New text of the arguments."""

    @property
    def id(self) -> str | None:
        """Names the call, for the result to refer to as `tool_call_id`."""

    @property
    def index(self) -> int:
        """Which of the answer's calls."""

    @property
    def name(self) -> str | None:
        """The tool's name."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

def _run_command(arguments: SupportsGetItem[int, str], itself: SupportsGetItem[int, str]) -> int:
    """Runs the command to its end and gives the exit status: `arguments` begin with its name,
    `itself` starts it anew."""

@final
class EmbeddingUsage:
    """Tokens that an embedding or a reranking took."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens that were computed, of all inputs."""

    @property
    def truncated_tokens(self) -> int:
        """Tokens that were cut off because an input was too long."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Embeddings:
    """The vectors of some texts, in the order of the texts: a sequence that has one for each, as a
    `memoryview` of 32-bit floats.

    The whole is a buffer of shape `(rows, dimensions)`, which `numpy.asarray(embeddings)` looks at
    without a copy; it is read-only, and lives for as long as any view of it. There is a row for
    each text. With `pooling="none"` there is one for each token: the texts' follow one another, and
    `embeddings[i]` has the shape `(tokens, dimensions)`.
    """

    @property
    def normalized(self) -> bool:
        """Whether each vector has been scaled to length 1."""

    @property
    def pooling(self) -> Literal["mean", "cls", "last", "none", "rank"]:
        """How the vectors of a text's tokens became one: `mean`, `cls`, `last`, `none` or
        `rank`."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and numbers in a row."""

    @property
    def token_counts(self) -> list[int]:
        """Tokens of each text that were computed."""

    @property
    def usage(self) -> EmbeddingUsage:
        """Tokens that the texts took."""

    def tolist(self) -> list[list[Any]]:
        """The vectors as lists of floats; with `pooling="none"` a list of such for each text."""

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
        """Which of the documents it is, counted from 0."""

    @property
    def score(self) -> float:
        """How well it answers the query, as the model gives it: higher is better; what range scores
        have depends on the model."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Reranking:
    """Documents by how well they answer a query, the best first: a sequence of them."""

    @property
    def results(self) -> list[RankedDocument]:
        """The documents; those with equal scores in the order in which they were given."""

    @property
    def usage(self) -> EmbeddingUsage:
        """Tokens that the query and the documents took; the query counts with each document."""

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python, to be written as JSON."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __iter__(self) -> Iterator[RankedDocument]: ...
    @overload
    def __getitem__(self, index: SupportsIndex, /) -> RankedDocument: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[RankedDocument]: ...
    def __len__(self) -> int: ...

def _shut_down() -> None:
    """Called when Python is about to shut down: keeps our own threads out from here on, and
    stops the engines."""

def _error_kinds() -> list[tuple[str, str, str]]:
    """The kinds of error, what each is, and the built-in exception that fits, for the script
    that writes `mullama/errors.py`."""

@final
class Backend:
    """A backend module that was found, and what became of it."""

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
        """Why it is not in use."""

@final
class Device:
    """A device that the engine can compute on."""

    @property
    def backend(self) -> str:
        """The backend: `cpu`, `cuda`, `metal`, `rocm`, `vulkan`, `opencl`, `sycl`, `rpc`."""

    @property
    def description(self) -> str:
        """The maker's name of the device."""

    @property
    def kernels(self) -> str | None:
        """Whose kernels compute on the processor, and with which instructions, or why the engine's
        own do; `None` for other devices."""

    @property
    def kind(self) -> Literal["cpu", "gpu", "igpu", "accelerator"]:
        """What the device is: `cpu`, `gpu` (with memory of its own), `igpu` (which shares the
        machine's) or `accelerator`."""

    @property
    def memory_free(self) -> int:
        """Bytes of memory that were free when the device was listed."""

    @property
    def memory_total(self) -> int:
        """Bytes of memory in all."""

    @property
    def name(self) -> str:
        """The engine's name: `CPU`, `CUDA0`, `Vulkan1`. Placement options name devices by it."""

def _add_backend_dirs(dirs: Sequence[str]) -> None:
    """Adds folders to look for backend modules in, before anything computes."""

def backends() -> list[Backend]:
    """The backend modules that were found, in the order in which they were tried."""

def cuda_available() -> bool:
    """Whether an NVIDIA GPU can be used now."""

def cuda_device_count() -> int:
    """How many NVIDIA GPUs can be used now."""

def cuda_memory_info(index: SupportsIndex) -> tuple[int, int]:
    """Bytes in use and in all on NVIDIA GPU `index`; `(0, 0)` where there is no such GPU."""

def devices() -> list[Device]:
    """The devices of this machine, with their memory as it is now; the processor comes last."""

def _engine_dir() -> str | None:
    """The folder of the engine's libraries in this process."""

def metal_available() -> bool:
    """Whether Apple's Metal can be used now."""

def opencl_available() -> bool:
    """Whether a GPU can be used now through OpenCL."""

def rocm_available() -> bool:
    """Whether an AMD GPU can be used now through ROCm."""

def rocm_device_count() -> int:
    """How many AMD GPUs can be used now through ROCm."""

def sycl_available() -> bool:
    """Whether a GPU can be used now through SYCL."""

def vulkan_available() -> bool:
    """Whether a GPU can be used now through Vulkan."""

class AsyncModel(BaseModel):
    """A loaded model for programs that use `asyncio`: what computes is awaited, and runs on threads
    of its own. Many requests can run at a time; cancelling a task cancels its request.

    `AsyncModel(...)` loads while the event loop waits, `await AsyncModel.load(...)` does not hold
    it up. Both take what `Model` takes.

    The model is freed when the last reference to it is gone, or by `close()`, which an `async with`
    block calls at its end.
    """

    def __new__(
        cls,
        source: str | bytes | PathLike[str] | PathLike[bytes],
        *,
        progress: Callable[[float], object] | None = None,
        **options: Unpack[LoadOptions],
    ) -> Self: ...
    @staticmethod
    def pull(
        name: str,
        *,
        progress: Callable[[PullProgress], object] | None = None,
        insecure: bool = False,
        token: str | None = None,
    ) -> Coroutine[Any, Any, StoredModel]:
        """Downloads a model into the local store: a name (`llama3.2:1b`, `host/user/model:tag`), a
        repository of Hugging Face (`hf.co/user/repo:Q4_K_M`), or the address of a GGUF file. One
        that is there and current is not downloaded again; a download that was broken off goes on.
        Ctrl-C, or cancelling the task that awaits it, cancels it.

        `progress` is called with a `PullProgress`, on another thread, and cancels by returning
        False. `insecure` allows plain HTTP to other machines, `token` is for a registry that wants
        one; Hugging Face's is `HF_TOKEN`.
        """

    @staticmethod
    def load(
        source: str | bytes | PathLike[str] | PathLike[bytes],
        *,
        progress: Callable[[float], object] | None = None,
        **options: Unpack[LoadOptions],
    ) -> Coroutine[Any, Any, AsyncModel]:
        """Loads a model without holding up the event loop. `progress` is called on another
        thread."""

    def generate(
        self, prompt: str | Iterable[int], **options: Unpack[GenerateOptions]
    ) -> Coroutine[Any, Any, Completion]:
        """Generates until the model is done or an option ends it, and gives the whole answer.

        `prompt` is text or a list of token ids. The options are those of
        `mullama.options.GenerateOptions`.
        """

    def stream(
        self, prompt: str | Iterable[int], **options: Unpack[GenerateOptions]
    ) -> AsyncStream:
        """Starts a generation and gives its pieces as they come: an iterator, of an `AsyncModel` an
        asynchronous one.

        `prompt` is text or a list of token ids. The options are those of
        `mullama.options.GenerateOptions`.
        """

    def chat(
        self, messages: Sequence[Message | Mapping[str, Any]], **options: Unpack[ChatOptions]
    ) -> Coroutine[Any, Any, ChatCompletion]:
        """Answers the last of the messages through the model's chat template.

        `messages` is a list of dicts in OpenAI's shape; the `message` of an earlier answer can be
        one of them. The options are those of `mullama.options.ChatOptions`.
        """

    def stream_chat(
        self, messages: Sequence[Message | Mapping[str, Any]], **options: Unpack[ChatOptions]
    ) -> AsyncChatStream:
        """Starts an answer to the last of the messages and gives its pieces as they come: an
        iterator, of an `AsyncModel` an asynchronous one.

        `messages` is a list of dicts in OpenAI's shape; the `message` of an earlier answer can be
        one of them. The options are those of `mullama.options.ChatOptions`.
        """

    def embed(
        self,
        texts: str | Iterable[int] | Iterable[str | Iterable[int]],
        **options: Unpack[EmbedOptions],
    ) -> Coroutine[Any, Any, Embeddings]:
        """Vectors of texts, in the order of the texts.

        `texts` is a text or a list of them; a list of token ids can stand for a text. The options
        are those of `mullama.options.EmbedOptions`.
        """

    def rerank(
        self, query: str, documents: Iterable[str], **options: Unpack[RerankOptions]
    ) -> Coroutine[Any, Any, Reranking]:
        """Puts documents in the order of how well they answer a query, the best first.

        The model must be a reranker: one with a classification head. The options are those of
        `mullama.options.RerankOptions`.
        """

    def start_chat(
        self,
        *,
        system: str | None = None,
        messages: Sequence[Message | Mapping[str, Any]] | None = None,
        max_tool_rounds: int | None = None,
        **options: Unpack[ChatOptions],
    ) -> AsyncChat:
        """Starts a conversation, which keeps what is said and calls tools that the model asks for.

        `system` is what the model is told for all of it, `messages` what has been said before.
        `max_tool_rounds` is how often the model may have tools called before its answer (8): when
        it asks for more, what it asks is the answer, and it is told of the limit. The other options
        are those of `mullama.options.ChatOptions`, and hold for every answer. Of tools that are no
        functions, the calls are the caller's to make.
        """

    def apply_chat_template(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        **options: Unpack[ChatOptions],
    ) -> Coroutine[Any, Any, str]:
        """The prompt that a chat with these messages would start from.

        The options are those of `mullama.options.ChatOptions`.
        """

    def tokenize(
        self, text: str, add_special: bool = True, parse_special: bool = False
    ) -> Coroutine[Any, Any, list[int]]:
        """Text to tokens. `add_special` adds the tokens that the model expects around a text,
        `parse_special` takes special tokens that are written out in the text for what they are."""

    def detokenize(
        self, tokens: Iterable[int], skip_special: bool = False
    ) -> Coroutine[Any, Any, str]:
        """Tokens to text, special tokens written out unless `skip_special` is set."""

    def count_tokens(self, text: str) -> Coroutine[Any, Any, int]:
        """How many tokens a text takes as a prompt."""

    def set_lora(self, lora: Lora) -> Coroutine[Any, Any, None]:
        """Makes these the LoRA adapters of all requests from now on that name none of their own: a
        path, or a list of paths and of pairs of a path and a scale. An empty list is the model
        without any."""

    def save_state(
        self,
        prompt: str | Iterable[int],
        path: str | bytes | PathLike[str] | PathLike[bytes] | None = None,
    ) -> Coroutine[Any, Any, bytes]:
        """What was computed from a prompt (text or a list of token ids), as bytes for `load_state`
        of this process or another; what has not been computed yet is. With `path` they are written
        to that file as well."""

    def load_state(
        self, state: Buffer | str | PathLike[str] | PathLike[bytes]
    ) -> Coroutine[Any, Any, int]:
        """Takes a state that was saved, as bytes or from the file of this path: requests that begin
        with its prompt go on from there. Gives how many tokens it has.

        Raises `InvalidArgumentError` for the state of another model or of other settings.
        """

    def close(self, *, finish: bool = False) -> Coroutine[Any, Any, None]:
        """Frees the model. What runs is cancelled, or finished first with `finish`. Everything
        asked of it from then on raises `ClosedError`; what it is (its name, its size) can still be
        asked."""

    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(self, *_exception: object) -> Coroutine[Any, Any, None]: ...

class Model(BaseModel):
    """A loaded model. Its methods wait for their results with the GIL released, so many threads can
    use one model at a time; Ctrl-C cancels what the main thread waits for.

    `source` is the path of a GGUF file (the first shard of a split one), the name of a model in the
    local store, or `demo`, the built-in model; `Model.pull` downloads. `progress` is called with
    how far loading is, from 0 to 1, and cancels it by returning False. The other options are those
    of `mullama.options.LoadOptions`.

    The model is freed when the last reference to it is gone, or by `close()`, which a `with` block
    calls at its end.
    """

    def __new__(
        cls,
        source: str | bytes | PathLike[str] | PathLike[bytes],
        *,
        progress: Callable[[float], object] | None = None,
        **options: Unpack[LoadOptions],
    ) -> Self: ...
    @staticmethod
    def pull(
        name: str,
        *,
        progress: Callable[[PullProgress], object] | None = None,
        insecure: bool = False,
        token: str | None = None,
    ) -> StoredModel:
        """Downloads a model into the local store: a name (`llama3.2:1b`, `host/user/model:tag`), a
        repository of Hugging Face (`hf.co/user/repo:Q4_K_M`), or the address of a GGUF file. One
        that is there and current is not downloaded again; a download that was broken off goes on.
        Ctrl-C, or cancelling the task that awaits it, cancels it.

        `progress` is called with a `PullProgress`, on another thread, and cancels by returning
        False. `insecure` allows plain HTTP to other machines, `token` is for a registry that wants
        one; Hugging Face's is `HF_TOKEN`.
        """

    def generate(
        self, prompt: str | Iterable[int], **options: Unpack[GenerateOptions]
    ) -> Completion:
        """Generates until the model is done or an option ends it, and gives the whole answer.

        `prompt` is text or a list of token ids. The options are those of
        `mullama.options.GenerateOptions`.
        """

    def stream(self, prompt: str | Iterable[int], **options: Unpack[GenerateOptions]) -> Stream:
        """Starts a generation and gives its pieces as they come: an iterator, of an `AsyncModel` an
        asynchronous one.

        `prompt` is text or a list of token ids. The options are those of
        `mullama.options.GenerateOptions`.
        """

    def chat(
        self, messages: Sequence[Message | Mapping[str, Any]], **options: Unpack[ChatOptions]
    ) -> ChatCompletion:
        """Answers the last of the messages through the model's chat template.

        `messages` is a list of dicts in OpenAI's shape; the `message` of an earlier answer can be
        one of them. The options are those of `mullama.options.ChatOptions`.
        """

    def stream_chat(
        self, messages: Sequence[Message | Mapping[str, Any]], **options: Unpack[ChatOptions]
    ) -> ChatStream:
        """Starts an answer to the last of the messages and gives its pieces as they come: an
        iterator, of an `AsyncModel` an asynchronous one.

        `messages` is a list of dicts in OpenAI's shape; the `message` of an earlier answer can be
        one of them. The options are those of `mullama.options.ChatOptions`.
        """

    def embed(
        self,
        texts: str | Iterable[int] | Iterable[str | Iterable[int]],
        **options: Unpack[EmbedOptions],
    ) -> Embeddings:
        """Vectors of texts, in the order of the texts.

        `texts` is a text or a list of them; a list of token ids can stand for a text. The options
        are those of `mullama.options.EmbedOptions`.
        """

    def rerank(
        self, query: str, documents: Iterable[str], **options: Unpack[RerankOptions]
    ) -> Reranking:
        """Puts documents in the order of how well they answer a query, the best first.

        The model must be a reranker: one with a classification head. The options are those of
        `mullama.options.RerankOptions`.
        """

    def start_chat(
        self,
        *,
        system: str | None = None,
        messages: Sequence[Message | Mapping[str, Any]] | None = None,
        max_tool_rounds: int | None = None,
        **options: Unpack[ChatOptions],
    ) -> Chat:
        """Starts a conversation, which keeps what is said and calls tools that the model asks for.

        `system` is what the model is told for all of it, `messages` what has been said before.
        `max_tool_rounds` is how often the model may have tools called before its answer (8): when
        it asks for more, what it asks is the answer, and it is told of the limit. The other options
        are those of `mullama.options.ChatOptions`, and hold for every answer. Of tools that are no
        functions, the calls are the caller's to make.
        """

    def apply_chat_template(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        **options: Unpack[ChatOptions],
    ) -> str:
        """The prompt that a chat with these messages would start from.

        The options are those of `mullama.options.ChatOptions`.
        """

    def tokenize(
        self, text: str, add_special: bool = True, parse_special: bool = False
    ) -> list[int]:
        """Text to tokens. `add_special` adds the tokens that the model expects around a text,
        `parse_special` takes special tokens that are written out in the text for what they are."""

    def detokenize(self, tokens: Iterable[int], skip_special: bool = False) -> str:
        """Tokens to text, special tokens written out unless `skip_special` is set."""

    def count_tokens(self, text: str) -> int:
        """How many tokens a text takes as a prompt."""

    def set_lora(self, lora: Lora) -> None:
        """Makes these the LoRA adapters of all requests from now on that name none of their own: a
        path, or a list of paths and of pairs of a path and a scale. An empty list is the model
        without any."""

    def save_state(
        self,
        prompt: str | Iterable[int],
        path: str | bytes | PathLike[str] | PathLike[bytes] | None = None,
    ) -> bytes:
        """What was computed from a prompt (text or a list of token ids), as bytes for `load_state`
        of this process or another; what has not been computed yet is. With `path` they are written
        to that file as well."""

    def load_state(self, state: Buffer | str | PathLike[str] | PathLike[bytes]) -> int:
        """Takes a state that was saved, as bytes or from the file of this path: requests that begin
        with its prompt go on from there. Gives how many tokens it has.

        Raises `InvalidArgumentError` for the state of another model or of other settings.
        """

    def close(self, *, finish: bool = False) -> None:
        """Frees the model. What runs is cancelled, or finished first with `finish`. Everything
        asked of it from then on raises `ClosedError`; what it is (its name, its size) can still be
        asked."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

def _option_specs() -> list[tuple[str, str, str, str]]:
    """Every option as (set, name, type in Rust, documentation), for the script that writes
    `mullama/options.py`."""

@final
class Alternative:
    """Another way to run a model, and what it would come to."""

    @property
    def change(self) -> str:
        """What is done otherwise, in words: `kv_cache_type q8_0`, `Q3_K_M`."""

    @property
    def context_size(self) -> int:
        """Tokens of context."""

    @property
    def decode_tps(self) -> float | None:
        """Tokens a second, where they can be predicted."""

    @property
    def fits(self) -> bool:
        """Whether it fits."""

    @property
    def n_gpu_layers(self) -> int:
        """Layers on GPUs; the output layer counts."""

    @property
    def options(self) -> dict[str, Any]:
        """Options that load the model so; for another quantisation, its own file."""

    @property
    def size(self) -> int:
        """Bytes of all tensors."""

@final
class Plan:
    """What would be put where. `str(plan)` is a table with bars; `Model(source, **plan.options)`
    loads the model so."""

    @property
    def alternatives(self) -> list[Alternative]:
        """Other settings and other quantisations of the model, the best first, where it does not go
        onto GPUs as a whole."""

    @property
    def context_size(self) -> int:
        """Tokens of context."""

    @property
    def devices(self) -> list[PlannedDevice]:
        """The GPUs that hold a part, in the order of their layers."""

    @property
    def fits(self) -> bool:
        """Whether it fits."""

    @property
    def host(self) -> PlannedDevice:
        """The machine's own memory."""

    @property
    def kv_cache_type(self) -> str | list[str]:
        """The number format of keys and values, or of both as a list."""

    @property
    def layer_devices(self) -> list[str]:
        """The name of the device that each layer would be on, the output layer's last."""

    @property
    def max_gpu_context_size(self) -> int | None:
        """The most tokens of context with which every layer is on GPUs, if there is one."""

    @property
    def model(self) -> PlannedModel:
        """What is planned."""

    @property
    def n_cpu_moe(self) -> int:
        """Of how many layers, from the first on, the experts stay in the machine's own memory."""

    @property
    def n_gpu_layers(self) -> int:
        """Layers on GPUs; the output layer counts."""

    @property
    def n_layers(self) -> int:
        """Layers in all, the output layer included."""

    @property
    def options(self) -> dict[str, Any]:
        """Options that load the model so. Described devices are not among them: the model is loaded
        on those that are there, in their order."""

    @property
    def pages(self) -> bool:
        """Whether more weights stay in the machine's own memory than there is room for, so that
        they are read from the file again and again."""

    @property
    def predicted(self) -> Prediction | None:
        """How fast it would be, where what the devices can do is known."""

    @property
    def refusal(self) -> str | None:
        """Why it does not fit, and what would."""

    @property
    def tensor_overrides(self) -> dict[str, str] | None:
        """Devices of tensors by pattern, as they were asked for."""

    @property
    def tensor_split(self) -> list[float] | None:
        """Share of each GPU, where there are several."""

    def explain(self) -> str:
        """Why each layer is where it is."""

@final
class PlannedDevice:
    """What a device would hold, in bytes."""

    @property
    def compute(self) -> int:
        """Bytes of buffers to compute in."""

    @property
    def description(self) -> str:
        """What it is."""

    @property
    def free(self) -> int:
        """Bytes that are free before."""

    @property
    def kv(self) -> int:
        """Bytes of KV cache."""

    @property
    def layers(self) -> int:
        """Layers; the output layer counts as one."""

    @property
    def margin(self) -> int:
        """Bytes that are left free where the placement is chosen."""

    @property
    def name(self) -> str:
        """The device's name."""

    @property
    def weights(self) -> int:
        """Bytes of weights."""

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
        """The name that the file gives itself."""

    @property
    def size(self) -> int:
        """Bytes of all tensors."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Prediction:
    """How fast a plan would be."""

    @property
    def bound_by(self) -> str:
        """What takes most of the time of a token: the memory or the computation of a device."""

    @property
    def decode_tps(self) -> float:
        """Tokens a second, one answer at a time, with an empty context."""

    @property
    def decode_tps_full(self) -> float:
        """The same with a full context."""

    @property
    def load_seconds(self) -> float:
        """Seconds to load the model from a disk."""

    @property
    def prefill_tps(self) -> float:
        """Tokens of a prompt a second."""

    @property
    def sources(self) -> dict[str, str]:
        """Where the rates come from, for each device."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

def plan(
    source: str | bytes | PathLike[str] | PathLike[bytes] | Mapping[str, Any],
    devices: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None = None,
    **options: Unpack[PlanOptions],
) -> Plan:
    """Plans where a model would go, and how fast it would be, without reading its weights.

    `source` is what `Model` takes; the address of a GGUF file or a name of Hugging Face, of
    which the header alone is fetched; or a mapping with the shape of a model that need not
    exist. `devices` are names of this machine's, or descriptions such as `"RTX 4090"`,
    `"24GiB"` or `{"memory": "24GiB"}`. The options are those of `mullama.options.PlanOptions`.
    """

@final
class PullProgress:
    """How far a pull has come."""

    @property
    def completed(self) -> int:
        """Bytes that are in the store or on their way there, earlier runs included."""

    @property
    def eta(self) -> float | None:
        """Seconds that are left at this speed."""

    @property
    def fraction(self) -> float:
        """How much of it is there, from 0 to 1."""

    @property
    def phase(self) -> Literal["resolving", "waiting", "downloading", "verifying", "done"]:
        """What is being done: `resolving`, `waiting` (for another pull of the same file),
        `downloading`, `verifying` or `done`."""

    @property
    def speed(self) -> int:
        """Bytes per second of late; 0 while it is not known."""

    @property
    def total(self) -> int:
        """Bytes of all the files; 0 while it is not known."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class StoredModel:
    """A model of the local store. `str(model)` is its name, by which it is loaded."""

    @property
    def id(self) -> str:
        """The id that a list shows: 12 digits."""

    @property
    def name(self) -> str:
        """The name, by which the model is loaded."""

    @property
    def path(self) -> str:
        """The file of the weights; the first of a split model."""

    @property
    def size(self) -> int:
        """Bytes of all its files."""

@final
class ChatChunk:
    """What is new in an answer of a chat that is being generated. `str(chunk)` is its text."""

    @property
    def completion(self) -> ChatCompletion | None:
        """The whole answer, in the last chunk."""

    @property
    def reasoning(self) -> str:
        """New text of the reasoning before the answer."""

    @property
    def text(self) -> str:
        """New text of the answer."""

    @property
    def tool_calls(self) -> list[ToolCallDelta]:
        """What is new in tool calls."""

@final
class ChatCompletion(Completion):
    """A finished answer of a chat: a completion with its message. Its `text` is the answer's
    content, without reasoning and tool calls."""

    @property
    def message(self) -> Message:
        """The answer, to be added to the messages of the next turn."""

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python, to be written as JSON."""

@final
class Chunk:
    """A piece of an answer that is being generated. `str(chunk)` is its text."""

    @property
    def completion(self) -> Completion | None:
        """The whole answer, in the last chunk."""

    @property
    def logprobs(self) -> list[TokenLogprob] | None:
        """Log probabilities of the new tokens, where they were asked for."""

    @property
    def text(self) -> str:
        """New text: whole characters, never any part of a stop text. Empty in a last chunk that has
        nothing to add."""

@disjoint_base
class Completion:
    """A finished answer. `str(completion)` is its text."""

    @property
    def finish_reason(self) -> Literal["stop", "length", "tool_calls", "cancelled"]:
        """Why the generation ended: `stop`, `length`, `tool_calls` or `cancelled`."""

    @property
    def logprobs(self) -> list[TokenLogprob] | None:
        """Log probabilities, where they were asked for."""

    @property
    def text(self) -> str:
        """The text, without the stop text that ended it."""

    @property
    def timings(self) -> Timings:
        """Times and rates."""

    @property
    def tokens(self) -> list[int]:
        """Every token that was generated."""

    @property
    def usage(self) -> Usage:
        """Tokens that the request took."""

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python, to be written as JSON."""

@final
class Timings:
    """Times of a request, in milliseconds, and rates, in tokens per second."""

    @property
    def decode_tps(self) -> float:
        """Tokens after the first per second."""

    @property
    def first_token_ms(self) -> float:
        """From the call to the first token."""

    @property
    def prompt_ms(self) -> float:
        """The prompt's computation."""

    @property
    def prompt_tps(self) -> float:
        """Tokens of the prompt per second of its computation."""

    @property
    def queue_ms(self) -> float:
        """From the call to the start of the prompt's computation."""

    @property
    def total_ms(self) -> float:
        """From the call to the end."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class TokenLogprob:
    """A token that was generated, with its log probability."""

    @property
    def logprob(self) -> float:
        """Natural logarithm of its probability, before any sampling option."""

    @property
    def text(self) -> str:
        """Its text; a part of a character shows as U+FFFD."""

    @property
    def token(self) -> int:
        """The token."""

    @property
    def top(self) -> list[TopLogprob]:
        """The likeliest tokens at its place, likeliest first."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class TopLogprob:
    """One of the likeliest tokens at a place."""

    @property
    def logprob(self) -> float:
        """Natural logarithm of its probability, before any sampling option."""

    @property
    def text(self) -> str:
        """Its text; a part of a character shows as U+FFFD."""

    @property
    def token(self) -> int:
        """The token."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Usage:
    """Tokens that a request took."""

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that had been computed before."""

    @property
    def completion_tokens(self) -> int:
        """Tokens that were generated; a closing end-of-generation token counts."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class AsyncChatStream:
    """An answer of a chat while it is being generated: an asynchronous iterator of chunks.

    The last chunk has the whole completion. Closing or dropping the stream cancels the generation.
    """

    @property
    def completion(self) -> ChatCompletion | None:
        """The whole answer, once the last chunk has come."""

    def cancel(self) -> None:
        """Stops the generation; what there is of it still comes, with the finish reason
        `cancelled`."""

    def close(self) -> Coroutine[Any, Any, None]:
        """Stops the generation and gives nothing more. An `async with` block does so at its end."""

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
    """An answer while it is being generated: an asynchronous iterator of chunks.

    The last chunk has the whole completion. Closing or dropping the stream cancels the generation.
    """

    @property
    def completion(self) -> Completion | None:
        """The whole answer, once the last chunk has come."""

    def cancel(self) -> None:
        """Stops the generation; what there is of it still comes, with the finish reason
        `cancelled`."""

    def close(self) -> Coroutine[Any, Any, None]:
        """Stops the generation and gives nothing more. An `async with` block does so at its end."""

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
    """An answer of a chat while it is being generated: an iterator of chunks.

    The last chunk has the whole completion. Closing or dropping the stream cancels the generation.
    """

    @property
    def completion(self) -> ChatCompletion | None:
        """The whole answer, once the last chunk has come."""

    def cancel(self) -> None:
        """Stops the generation; what there is of it still comes, with the finish reason
        `cancelled`."""

    def close(self) -> None:
        """Stops the generation and gives nothing more. A `with` block does so at its end."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> ChatChunk: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

@final
class Stream:
    """An answer while it is being generated: an iterator of chunks.

    The last chunk has the whole completion. Closing or dropping the stream cancels the generation.
    """

    @property
    def completion(self) -> Completion | None:
        """The whole answer, once the last chunk has come."""

    def cancel(self) -> None:
        """Stops the generation; what there is of it still comes, with the finish reason
        `cancelled`."""

    def close(self) -> None:
        """Stops the generation and gives nothing more. A `with` block does so at its end."""

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
        history: Sequence[Message | Mapping[str, Any]],
        said: Sequence[Message | Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        callable: Sequence[str],
        max_rounds: int | None,
    ) -> Self: ...
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
