"""Python functions as tools: their JSON schemas, and calling them with a model's arguments."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mullama._native import _items
from mullama._types import NoSchemaError, invalid_option, kind_of
from mullama.errors import InvalidArgumentError

__all__ = ["Tool"]


class Tool:
    """A tool that a model may call: a function with its description.

    The schema of the arguments is generated from the function's type hints; the descriptions of the
    tool and its parameters come from the docstring (or from `Annotated[str, "the city"]`).
    Arguments of this class override them. With `parameters`, a JSON schema, the function receives
    the arguments as plain JSON values.
    """

    name: str
    """The name that the model calls it by."""

    description: str | None
    """The description for the model."""

    parameters: Mapping[str, object]
    """The JSON schema of its arguments."""

    function: Callable[..., Any] | None
    """The function to run; None if the caller runs the calls."""

    def __init__(
        self,
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, object] | None = None,
    ) -> None:
        if function is not None and not callable(function):
            raise _problem(f"a tool is a function, not {type(function).__name__}")
        name = name or getattr(function, "__name__", None)
        if not name or name == "<lambda>":
            raise _problem("a tool without a name needs `name`")
        self.name = name
        self.function = function
        documentation = _Documentation(function)
        self.description = description or documentation.summary
        self._converters: dict[str, Callable[[Any], Any]] = {}
        if parameters is not None:
            self.parameters = parameters
        elif function is None:
            self.parameters = {"type": "object", "properties": {}}
        else:
            self.parameters = self._read_signature(function, documentation)

    @property
    def definition(self) -> dict[str, Any]:
        """The tool in OpenAI's format."""
        function: dict[str, Any] = {"name": self.name}
        if self.description:
            function["description"] = self.description
        function["parameters"] = self.parameters
        return {"type": "function", "function": function}

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        call = getattr(self.function, "__call__", None)  # noqa: B004
        return inspect.iscoroutinefunction(self.function) or inspect.iscoroutinefunction(call)

    def __call__(self, **arguments: Any) -> Any:
        """Calls the function with arguments as plain JSON values."""
        if self.function is None:
            raise TypeError(f"`{self.name}` has no function to call")
        values = {
            name: self._converters[name](value) if name in self._converters else value
            for name, value in arguments.items()
        }
        positional = [values.pop(name) for name in self._positional() if name in values]
        return self.function(*positional, **values)

    def __repr__(self) -> str:
        return f"Tool({self.name!r}, parameters={self.parameters!r})"

    def _positional(self) -> Iterable[str]:
        """Positional-only parameters."""
        try:
            parameters = inspect.signature(self.function).parameters if self.function else {}
        except (TypeError, ValueError):
            return ()
        return [
            name
            for name, parameter in parameters.items()
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY
        ]

    def _read_signature(
        self, function: Callable[..., Any], documentation: _Documentation
    ) -> Mapping[str, Any]:
        hints = _hints(function, self.name)
        properties: dict[str, Any] = {}
        required: list[str] = []
        for name, parameter in _parameters(function, self.name):
            place = f"the parameter `{name}` of `{self.name}`"
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise _problem(f"{place} takes any number of arguments", parameters=True)
            if name not in hints:
                raise _problem(f"{place} has no type hint", parameters=True)
            try:
                kind = kind_of(hints[name])
            except NoSchemaError as error:
                raise _problem(f"{place} {error}", parameters=True) from None
            schema = dict(kind.schema)
            if name in documentation.parameters:
                schema.setdefault("description", documentation.parameters[name])
            properties[name] = schema
            if kind.convert:
                self._converters[name] = kind.convert
            if parameter.default is parameter.empty:
                required.append(name)
        return {"type": "object", "properties": properties, "required": required}


def tools_of(tools: Any) -> list[Tool]:
    """Converts a list of functions, `Tool`s and dicts in OpenAI's format to `Tool`s. Dicts may have
    a function as `execute`."""
    if isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Iterable):
        raise _problem(f"expected a list of tools, not {type(tools).__name__}")
    return [_tool_of(tool, index) for index, tool in enumerate(_items(tools, "tools"))]


def definitions(tools: Any) -> Any:
    """Tools in OpenAI's shape. The core rejects anything but a list of tools."""
    if isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Iterable):
        return tools
    return [definition(tool) for tool in _items(tools, "tools")]


def definition(tool: Any) -> Any:
    """A tool in OpenAI's format."""
    if isinstance(tool, Given | Tool):
        return tool.definition
    if isinstance(tool, Mapping):
        return {key: value for key, value in tool.items() if key != "execute"}
    return Tool(tool).definition if callable(tool) else tool


class Given(Tool):
    """A tool that was passed in OpenAI's format; the core validates it."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        function = given.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        self.name = name if isinstance(name, str) else ""
        self.description = None
        self.parameters = {}
        self.function = given.get("execute")
        self._given = {key: value for key, value in given.items() if key != "execute"}
        self._converters = {}
        if self.function is not None and not callable(self.function):
            raise _problem(f"`execute` of `{self.name}` is a function")

    @property
    def definition(self) -> dict[str, Any]:
        return self._given


def _tool_of(tool: Any, index: int) -> Tool:
    if isinstance(tool, Tool):
        return tool
    if isinstance(tool, Mapping):
        return Given(tool)
    if callable(tool):
        return Tool(tool)
    raise _problem(f"[{index}]: expected a function, a Tool or a dict, not {type(tool).__name__}")


def plain(value: Any) -> Any:
    """Converts the result of a tool to JSON values; other values become text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _problem(what: str, *, parameters: bool = False) -> InvalidArgumentError:
    hint = "give its JSON schema: Tool(function, parameters={...})" if parameters else None
    return invalid_option("tools", what, hint)


def _parameters(function: Callable[..., Any], name: str) -> Iterable[tuple[str, inspect.Parameter]]:
    try:
        return inspect.signature(function).parameters.items()
    except (TypeError, ValueError) as error:
        raise _problem(f"`{name}` has no signature: {error}", parameters=True) from error


def _hints(function: Callable[..., Any], name: str) -> Mapping[str, Any]:
    # For callable objects and `functools.partial`, the hints are those of the called function.
    target = getattr(function, "func", function)
    if not isinstance(target, types.FunctionType | types.MethodType):
        target = getattr(target, "__call__", target)  # noqa: B004
    try:
        return typing.get_type_hints(target, include_extras=True)
    except Exception as error:
        raise _problem(f"the type hints of `{name}`: {error}", parameters=True) from error


class _Documentation:
    """The summary and parameter descriptions of a docstring, in Google's or Sphinx's style."""

    _SECTION = re.compile(r"^(Args|Arguments|Parameters):\s*$")
    _SPHINX = re.compile(r"^:param (?:[^:]+ )?\*{0,2}(\w+):\s*(.*)$")
    _GOOGLE = re.compile(r"^\s+\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")

    def __init__(self, function: Any) -> None:
        self.summary: str | None = None
        self.parameters: dict[str, str] = {}
        text = inspect.getdoc(function) if inspect.isroutine(function) else None
        lines = (text or "").splitlines()
        summary: list[str] = []
        name: str | None = None
        inside = False
        indent = 0
        for line in lines:
            if self._SECTION.match(line):
                inside, name = True, None
            elif found := self._SPHINX.match(line):
                name, self.parameters[found[1]] = found[1], found[2]
            elif inside and line.strip() and not line[0].isspace():
                inside, name = False, None
            elif (
                inside
                and (found := self._GOOGLE.match(line))
                and (name is None or len(line) - len(line.lstrip()) <= indent)
            ):
                indent = len(line) - len(line.lstrip())
                name, self.parameters[found[1]] = found[1], found[2]
            elif line.startswith(":"):
                name = None
            elif name and line.strip():
                self.parameters[name] = f"{self.parameters[name]} {line.strip()}".strip()
            elif not inside and not self.parameters and not line.startswith(":"):
                summary.append(line)
        # The first paragraph.
        paragraph = "\n".join(summary).strip().split("\n\n")[0]
        self.summary = " ".join(paragraph.split()) or None


# The public module of the class.
Tool.__module__ = "mullama"
