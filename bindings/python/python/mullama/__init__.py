"""Run any GGUF model inside your own program, on the CPU or on GPUs.

>>> from mullama import Model
>>> model = Model("demo")
>>> answer = model.chat([{"role": "user", "content": "What is the capital of France?"}])
>>> print(answer)

`Model` releases the GIL while it waits; `AsyncModel` has the same methods for `asyncio`. Options
and their defaults are in `mullama.options`, devices in `mullama.gpu`, errors in `mullama.errors`.
"""

import atexit as _atexit

# Imported first: loads the native module, or explains why it cannot be loaded.
from mullama import _install as _install
from mullama import _native, errors, gpu
from mullama._message import Message
from mullama._native import (
    Alternative,
    AsyncChatStream,
    AsyncModel,
    AsyncStream,
    Capabilities,
    ChatChunk,
    ChatCompletion,
    ChatStream,
    Chunk,
    Completion,
    DeviceShare,
    Embeddings,
    EmbeddingUsage,
    FunctionCall,
    MediaLimits,
    Model,
    Placement,
    Plan,
    PlannedDevice,
    PlannedModel,
    Prediction,
    PromptProgress,
    PullProgress,
    RankedDocument,
    RequestInfo,
    Reranking,
    Stats,
    StopReason,
    StoredModel,
    Stream,
    Timings,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    TopLogprob,
    Usage,
    __version__,
    plan,
)
from mullama.errors import *

# Type checkers assume that this is true. `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mullama._chat import AsyncChat, AsyncChatTurn, Chat, ChatTurn
    from mullama._kinds import ErrorKind
    from mullama._messages import AnyMessage, Messages
    from mullama._tools import Tool
else:

    def __getattr__(name):
        """Imports on first use the modules that need `asyncio`, `inspect` or `typing`."""
        from importlib import import_module

        places = {
            "ErrorKind": "mullama._kinds",
            "Tool": "mullama._tools",
            **dict.fromkeys(("AnyMessage", "Messages"), "mullama._messages"),
            **dict.fromkeys(("AsyncChat", "AsyncChatTurn", "Chat", "ChatTurn"), "mullama._chat"),
        }
        if name not in places:
            raise AttributeError(f"module 'mullama' has no attribute {name!r}")
        value = getattr(import_module(places[name]), name)
        globals()[name] = value
        return value


# Before Python shuts down, the library's threads must leave it and the engines must stop.
_atexit.register(_native._shut_down)

__all__ = [
    "Alternative",
    "AnyMessage",
    "AsyncChat",
    "AsyncChatStream",
    "AsyncChatTurn",
    "AsyncModel",
    "AsyncStream",
    "Capabilities",
    "Chat",
    "ChatChunk",
    "ChatCompletion",
    "ChatStream",
    "ChatTurn",
    "Chunk",
    "Completion",
    "DeviceShare",
    "EmbeddingUsage",
    "Embeddings",
    "ErrorKind",
    "FunctionCall",
    "MediaLimits",
    "Message",
    "Messages",
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
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "TopLogprob",
    "Usage",
    "__version__",
    "errors",
    "gpu",
    "plan",
]
# Written by `generate_stubs.py` from the core's kinds of errors; do not edit.
__all__ += [
    "BackendError",
    "BusyError",
    "CallbackError",
    "CancelledError",
    "ClosedError",
    "ContextOverflowError",
    "DoesNotFitError",
    "DownloadError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidGrammarError",
    "InvalidModelError",
    "IoError",
    "MullamaError",
    "NotFoundError",
    "OutOfMemoryError",
    "TemplateError",
    "UnknownModelError",
    "UnsupportedError",
]
