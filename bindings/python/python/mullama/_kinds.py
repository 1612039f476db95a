"""The kinds of errors, for type checkers.

Written by `generate_stubs.py` from the core's kinds of errors; do not edit.
"""

from typing import Literal, TypeAlias

__all__ = ["ErrorKind"]

ErrorKind: TypeAlias = Literal[
    "NotFound",
    "InvalidModel",
    "InvalidArgument",
    "UnknownModel",
    "OutOfMemory",
    "DoesNotFit",
    "ContextOverflow",
    "InvalidGrammar",
    "Template",
    "Unsupported",
    "Backend",
    "Cancelled",
    "Closed",
    "Busy",
    "Callback",
    "Download",
    "Io",
    "Internal",
]
"""A kind of error."""
