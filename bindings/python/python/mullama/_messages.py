"""Types of messages, for annotations."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from mullama._message import Message

__all__ = ["AnyMessage", "Messages"]

AnyMessage: TypeAlias = Message | Mapping[str, Any]
"""A message: a `Message`, or a mapping in OpenAI's format."""

Messages: TypeAlias = list[AnyMessage]
"""A list of messages, for annotations: `messages: Messages = [{"role": "user", ...}]`."""
