"""Typed answers."""

import asyncio
import dataclasses
import enum
import pickle
from typing import Literal, TypedDict

import mullama
import pytest
from mullama import AsyncModel
from pydantic import BaseModel, Field

QUESTION = [{"role": "user", "content": "Tell me about Paris."}]


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclasses.dataclass
class River:
    length: Literal[1, 2, 3]


@dataclasses.dataclass
class City:
    size: Size
    rivers: tuple[River, River]
    capital: bool


class Place(TypedDict):
    size: Size
    capital: bool


class Town(BaseModel):
    name: str = Field(max_length=8)
    inhabitants: int = Field(ge=0, le=1000)


def test_a_dataclass(demo):
    answer = demo.chat(QUESTION, response_format=City, temperature=1.2, seed=1)
    city = answer.parsed
    assert isinstance(city, City)
    assert isinstance(city.size, Size)
    assert all(isinstance(river, River) for river in city.rivers)
    assert pickle.loads(pickle.dumps(answer)).parsed is None
    assert demo.chat(QUESTION, temperature=0).parsed is None


def test_other_types(demo):
    place = demo.chat(QUESTION, response_format=Place, temperature=0).parsed
    assert set(place) == {"size", "capital"}
    assert isinstance(place["size"], Size)
    sizes = demo.chat(QUESTION, response_format=tuple[Size, Size], temperature=0).parsed
    assert isinstance(sizes, tuple)
    assert [type(size) for size in sizes] == [Size, Size]


def test_a_model_of_pydantic(demo):
    town = demo.chat(QUESTION, response_format=Town, temperature=0).parsed
    assert isinstance(town, Town)
    assert len(town.name) <= 8
    assert 0 <= town.inhabitants <= 1000


def test_streams_and_conversations(demo):
    *_, last = demo.stream_chat(QUESTION, response_format=Town, temperature=0)
    assert isinstance(last.completion.parsed, Town)
    chat = demo.start_chat(response_format=Place, temperature=0)
    assert set(chat.send("Tell me about Paris.").parsed) == {"size", "capital"}
    with chat.stream("And Rome?") as stream:
        for _ in stream:
            pass
    assert set(stream.completion.parsed) == {"size", "capital"}


def test_typed_answers_can_be_awaited():
    async def main():
        async with AsyncModel("demo", n_threads=1) as model:
            return await model.chat(QUESTION, response_format=Town, temperature=0)

    assert isinstance(asyncio.run(main()).parsed, Town)


def test_invalid_typed_answers_report_the_reason(demo):
    short = demo.chat(QUESTION, response_format=Town, temperature=0, max_tokens=2)
    with pytest.raises(mullama.InvalidArgumentError, match="max_tokens"):
        _ = short.parsed
    with pytest.raises(mullama.InvalidArgumentError, match="response_format"):
        demo.chat(QUESTION, response_format=complex)

    class Even(BaseModel):
        @classmethod
        def model_validate_json(cls, *_):
            raise ValueError("odd")

    answer = demo.chat(QUESTION, response_format=Even, temperature=0)
    with pytest.raises(mullama.InvalidGrammarError, match="odd"):
        _ = answer.parsed


@pytest.mark.parametrize("value", [[], [None], [[[]]], ({},), {1}, 5, b"x", object(), [City]])
def test_values_are_rejected_as_types(demo, value):
    with pytest.raises(mullama.InvalidArgumentError, match="no schema") as raised:
        demo.chat(QUESTION, response_format=value)
    assert raised.value.context["option"] == "response_format"
