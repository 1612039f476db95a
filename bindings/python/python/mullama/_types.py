"""Converts Python types to JSON schemas, and JSON values to values of these types."""

from __future__ import annotations

import dataclasses
import enum
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mullama._native import _shortened
from mullama.errors import InvalidArgumentError, InvalidGrammarError

__all__ = ["Kind", "NoSchemaError", "ResponseType", "invalid_option", "kind_of"]


class NoSchemaError(TypeError):
    """A type has no schema. The message continues a text that names the object with the type."""


def invalid_option(option: str, problem: str, hint: str | None = None) -> InvalidArgumentError:
    """The error for an option with an invalid value."""
    message = _shortened(f"option `{option}`: {problem}") + (f"\nhint: {hint}" if hint else "")
    return InvalidArgumentError(message, hint=hint, context={"option": option})


class ResponseType:
    """A type, passed as `response_format`; the answer is a value of it."""

    def __init__(self, kind: Any) -> None:
        name = getattr(kind, "__name__", None) or repr(kind)
        if hasattr(kind, "model_json_schema") and hasattr(kind, "model_validate_json"):
            # A Pydantic model.
            schema = kind.model_json_schema()
            self._read = kind.model_validate_json
        else:
            try:
                schema, convert = kind_of(kind)
            except NoSchemaError as error:
                hint = "give a JSON schema as json_schema"
                raise invalid_option("response_format", f"it {error}", hint) from None
            self._read = lambda text: (convert or _as_it_is)(json.loads(text))
        self.response_format: dict[str, Any] = {
            "type": "json_schema",
            "json_schema": {"name": name, "schema": schema},
        }

    def read(self, text: str, stop_kind: str) -> Any:
        """Parses a text into a value of the type."""
        try:
            return self._read(text)
        except ValueError as error:
            if stop_kind in ("end_token", "stop_text"):
                message = _shortened(f"the answer is no value of the type: {error}")
                raise InvalidGrammarError(message) from error
            message = f"the answer was ended ({stop_kind}) before it was complete"
            raise InvalidArgumentError(message) from error


def _as_it_is(value: Any) -> Any:
    return value


class Kind(NamedTuple):
    """A type: its JSON schema, and the conversion of JSON values to values of the type."""

    schema: Mapping[str, Any]
    convert: Callable[[Any], Any] | None = None


_SIMPLE = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
    dict: "object",
    list: "array",
}

_LISTS = (list, tuple, set, frozenset)
_MAX_DEPTH = 16


def kind_of(hint: Any, depth: int = 0) -> Kind:
    """The kind of a type hint; raises `NoSchemaError` if there is no schema for it."""
    if depth > _MAX_DEPTH:
        raise NoSchemaError("has a type that contains itself")

    def inner(hint: Any) -> Kind:
        return kind_of(hint, depth + 1)

    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return Kind({})
    # A value that is not a type need not be hashable.
    if isinstance(hint, type) and hint in _SIMPLE:
        return Kind({"type": _SIMPLE[hint]})
    if origin is typing.Annotated:
        return _annotated(inner(arguments[0]), arguments[1:])
    if origin is typing.Literal:
        return _listed(arguments)
    if origin in (typing.Union, types.UnionType):
        return _union([inner(argument) for argument in arguments])
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return Kind(_listed([member.value for member in hint]).schema, hint)
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, inner)
    if _is_typed_dict(hint):
        return _typed_dict(hint, inner)
    container = hint if origin is None else origin
    if any(container is one for one in _LISTS) or origin in (Sequence, Iterable):
        return _list(container, arguments, inner)
    if origin in (dict, Mapping):
        return _mapping(inner(arguments[1]))
    raise NoSchemaError(f"has the type {hint!r}, for which there is no schema")


def _annotated(kind: Kind, notes: Sequence[Any]) -> Kind:
    for note in notes:
        # A string, or an object with one: Pydantic's `Field`, typing_extensions' `Doc`.
        text = note if isinstance(note, str) else None
        text = text or getattr(note, "description", None) or getattr(note, "documentation", None)
        if isinstance(text, str):
            return kind._replace(schema={**kind.schema, "description": text})
    return kind


def _listed(values: Iterable[Any]) -> Kind:
    values = list(values)
    kinds = {_SIMPLE.get(type(value)) for value in values}
    schema: dict[str, Any] = {"enum": values}
    if len(kinds) == 1 and None not in kinds:
        schema = {"type": kinds.pop(), **schema}
    return Kind(schema)


def _union(kinds: list[Kind]) -> Kind:
    converters = [kind.convert for kind in kinds]

    def convert(value: Any) -> Any:
        failure: Exception | None = None
        for converter in converters:
            if converter:
                try:
                    return converter(value)
                except (TypeError, ValueError, KeyError, AttributeError) as error:
                    failure = error
        if failure is not None and all(converters):
            raise failure
        return value

    schemas = [kind.schema for index, kind in enumerate(kinds) if kind not in kinds[:index]]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return Kind(schema, convert if any(converters) else None)


def _list(origin: Any, arguments: Sequence[Any], inner: Callable[[Any], Kind]) -> Kind:
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        kinds = [inner(argument) for argument in arguments]
        item = _union(kinds)
        schema = {
            "type": "array",
            "items": item.schema,
            "minItems": len(kinds),
            "maxItems": len(kinds),
        }
    else:
        item = inner(arguments[0]) if arguments else Kind({})
        schema = {"type": "array", "items": item.schema} if item.schema else {"type": "array"}
    make = origin if origin in (tuple, set, frozenset) else list
    each = item.convert

    def convert(value: Any) -> Any:
        return make(map(each, value) if each else value)

    return Kind(schema, convert if each or make is not list else None)


def _mapping(kind: Kind) -> Kind:
    schema = {"type": "object", "additionalProperties": kind.schema or True}
    each = kind.convert
    if each is None:
        return Kind(schema)
    return Kind(schema, lambda value: {key: each(item) for key, item in value.items()})


def _object(kinds: Mapping[str, Kind], required: Iterable[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: kind.schema for name, kind in kinds.items()},
        "required": [name for name in kinds if name in set(required)],
    }


def _converted(kinds: Mapping[str, Kind], value: Mapping[str, Any]) -> dict[str, Any]:
    def one(name: str, item: Any) -> Any:
        convert = kinds[name].convert if name in kinds else None
        return convert(item) if convert else item

    return {name: one(name, item) for name, item in value.items()}


def _dataclass(hint: Any, inner: Callable[[Any], Kind]) -> Kind:
    hints = typing.get_type_hints(hint, include_extras=True)
    fields = [field for field in dataclasses.fields(hint) if field.init]
    kinds = {field.name: inner(hints[field.name]) for field in fields}
    missing = dataclasses.MISSING
    required = [
        field.name
        for field in fields
        if field.default is missing and field.default_factory is missing
    ]
    return Kind(_object(kinds, required), lambda value: hint(**_converted(kinds, value)))


def _is_typed_dict(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, dict) and hasattr(hint, "__total__")


def _typed_dict(hint: Any, inner: Callable[[Any], Kind]) -> Kind:
    hints = typing.get_type_hints(hint)
    kinds = {name: inner(kind) for name, kind in hints.items()}
    schema = _object(kinds, hint.__required_keys__)
    if not any(kind.convert for kind in kinds.values()):
        return Kind(schema)
    return Kind(schema, lambda value: _converted(kinds, value))
