"""Messages of answers: dicts whose fields are attributes too."""

from __future__ import annotations

from mullama import _native

# True for type checkers. `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal, TypeAlias

    from mullama._native import ToolCall

    _Fields: TypeAlias = dict[str, Any]
else:
    _Fields = dict

__all__ = ["Message"]


class Message(_Fields):
    """A chat message in OpenAI's format, as in a completion.

    It is a dict: it can be appended to the messages of the next turn as it is, and `json.dumps`
    accepts it. Its fields are also attributes; those that it does not have are None.
    """

    __slots__ = ()

    @property
    def role(self) -> Literal["system", "developer", "user", "assistant", "tool"]:
        """The author: `system`, `developer`, `user`, `assistant` or `tool`."""
        role: Literal["system", "developer", "user", "assistant", "tool"] = self["role"]
        return role

    @property
    def content(self) -> str | None:
        """The text; None if an assistant only calls tools."""
        return _native._text_of_content(self.get("content"))

    @property
    def reasoning(self) -> str | None:
        """The assistant's reasoning before the answer."""
        return self.get("reasoning")

    @property
    def tool_calls(self) -> list[ToolCall]:
        """Tools that the assistant calls."""
        return _native._tool_calls(self.get("tool_calls") or [])

    @property
    def tool_call_id(self) -> str | None:
        """For a tool's result: the id of the call."""
        return self.get("tool_call_id")

    @property
    def name(self) -> str | None:
        """For a tool's result: the tool's name. For other messages: the author's name."""
        return self.get("name")

    @staticmethod
    def from_dict(message: Mapping[str, object]) -> Message:
        """Creates a message from a dict in OpenAI's format."""
        return Message(_native._message_fields(message))

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values that can be serialised as JSON."""
        return dict(self)

    def __repr__(self) -> str:
        return f"Message({super().__repr__()})"

    def __str__(self) -> str:
        return self.content or ""


# Where programs find it.
Message.__module__ = "mullama"
