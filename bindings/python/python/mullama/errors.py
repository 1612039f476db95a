"""The errors of mullama: a class for each kind, all of them a `MullamaError`.

Each is also a subclass of the matching built-in class: a `NotFoundError` is a `FileNotFoundError`.
"""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mullama._kinds import ErrorKind


class MullamaError(Exception):
    """An error of mullama. Its text describes the problem and suggests what to do next."""

    kind: ErrorKind
    """The kind of the error, for programs to act on: `NotFound`, `DoesNotFit`, ..."""

    hint: str | None
    """A suggestion of what to do next. It is also part of the error's text."""

    context: dict[str, str]
    """Details of the error: a path, a number of tokens, an option."""

    def __init__(
        self,
        message: str = "",
        *,
        kind: ErrorKind | None = None,
        hint: str | None = None,
        context: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        name: Any = type(self).__name__.removesuffix("Error")
        self.kind = kind or name
        self.hint = hint
        self.context = context or {}


# Written by `generate_stubs.py` from the core's kinds of errors; do not edit.
__all__ = [
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


class NotFoundError(MullamaError, FileNotFoundError):
    """A file, or a model with this name, does not exist."""

    errno = errno.ENOENT

    @property
    def filename(self) -> str | None:
        """The path that does not exist."""
        return self.context.get("path")


class InvalidModelError(MullamaError, ValueError):
    """The file is not a GGUF model, is truncated or damaged, or has an architecture that the engine
    does not support."""


class InvalidArgumentError(MullamaError, ValueError):
    """An argument has the wrong type or a value outside its range."""


class UnknownModelError(MullamaError, ValueError):
    """The name cannot be the name of a model."""


class OutOfMemoryError(MullamaError, MemoryError):
    """The machine or a device ran out of memory; the message names the device and the amount."""


class DoesNotFitError(MullamaError, MemoryError):
    """The requested placement does not fit on the devices."""


class ContextOverflowError(MullamaError, ValueError):
    """The prompt is longer than the context."""


class InvalidGrammarError(MullamaError, ValueError):
    """A grammar or JSON schema cannot be used."""


class TemplateError(MullamaError, ValueError):
    """A chat template is missing, invalid, or rejects the messages."""


class UnsupportedError(MullamaError, NotImplementedError):
    """The model or the backend cannot do this."""


class BackendError(MullamaError, RuntimeError):
    """A backend module failed."""


class CancelledError(MullamaError):
    """The caller cancelled."""


class ClosedError(MullamaError, RuntimeError):
    """The model has been closed."""


class BusyError(MullamaError, RuntimeError):
    """Too many requests are waiting; try again later."""


class CallbackError(MullamaError, RuntimeError):
    """A function that the caller passed, such as a logits processor, failed."""


class DownloadError(MullamaError, ConnectionError):
    """A download failed."""


class IoError(MullamaError, OSError):
    """Reading or writing a file failed."""


class InternalError(MullamaError, RuntimeError):
    """A defect of mullama or of the engine."""
