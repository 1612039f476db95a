"""Conversations that keep what is said, and call the tools that the model asks for.

What comes next in a conversation is decided by the `_Turn` of the native module; what is here calls
the functions, which only Python can.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import TYPE_CHECKING, Any

from mullama import _tools
from mullama._native import Message, _Turn
from mullama.errors import InvalidArgumentError

if TYPE_CHECKING:
    from typing import Self, TypeAlias, Unpack

    from mullama._native import AsyncModel, ChatChunk, ChatCompletion, Model
    from mullama.options import ChatOptions

    _AnyMessage: TypeAlias = Message | Mapping[str, Any]
    _Input: TypeAlias = str | _AnyMessage | Sequence[_AnyMessage]
    _Request: TypeAlias = tuple[str, str, dict[str, Any]]
    _Output: TypeAlias = tuple[bool, Any]

__all__ = ["AsyncChat", "AsyncChatTurn", "Chat", "ChatTurn"]


class _Conversation:
    """What conversations have, awaited or not."""

    _model: Any
    messages: list[_AnyMessage]
    """What has been said; it can be changed between turns."""

    def __init__(
        self,
        *,
        system: str | None = None,
        messages: Iterable[_AnyMessage] | None = None,
        max_tool_rounds: int | None = None,
        **options: Any,
    ) -> None:
        self.messages = list(messages or ())
        if system is not None:
            self.messages.insert(0, {"role": "system", "content": system})
        self._max_tool_rounds = max_tool_rounds
        self._options = options
        self._active: _State | None = None
        # What is wrong with tools is said now rather than when they are used.
        self._tools(self._options)

    def _tools(self, options: Mapping[str, Any]) -> list[_tools.Tool]:
        given = options.get("tools")
        return [] if given is None else _tools.tools_of(given)

    def _start(
        self, message: _Input, max_tool_rounds: int | None, given: Mapping[str, Any]
    ) -> _State:
        if self._active is not None:
            raise InvalidArgumentError("the chat has not finished its last answer")
        options = {**self._options, **given}
        rounds = self._max_tool_rounds if max_tool_rounds is None else max_tool_rounds
        tools = self._tools(options)
        if tools:
            options["tools"] = [tool.definition for tool in tools]
        functions = {tool.name: tool for tool in tools if tool.function is not None}
        turn = _Turn(
            self.messages, _said(message), options.get("tools") or [], list(functions), rounds
        )
        return _State(self, turn, functions, options)


class _State:
    """One turn of a conversation: until it is left, no other can be taken."""

    def __init__(
        self,
        chat: _Conversation,
        turn: _Turn,
        functions: Mapping[str, _tools.Tool],
        options: Mapping[str, Any],
    ) -> None:
        self.chat = chat
        self.turn = turn
        self.functions = functions
        self.options = options
        self.stream: Any = None
        self.cancelled = False

    def ask(self) -> None:
        """Starts the next round of a turn that is streamed."""
        self.stream = self.chat._model.stream_chat(self.turn.messages(), **self.options)
        if self.cancelled:
            self.stream.cancel()

    def cancel(self) -> None:
        self.cancelled = True
        self.stream.cancel()

    def chunks(self) -> Generator[ChatChunk, None, None]:
        with self:
            while True:
                requests: list[_Request] | None = None
                for chunk in self.stream:
                    if chunk.completion is not None:
                        requests = self.take(chunk.completion)
                    yield self.turn.chunk(chunk)
                if requests is None:
                    return
                self.turn.record_tool_results([self.call(request) for request in requests])
                self.ask()

    async def chunks_async(self) -> AsyncGenerator[ChatChunk, None]:
        with self:
            while True:
                requests: list[_Request] | None = None
                async for chunk in self.stream:
                    if chunk.completion is not None:
                        requests = self.take(chunk.completion)
                    yield self.turn.chunk(chunk)
                if requests is None:
                    return
                self.turn.record_tool_results(await asyncio.gather(*map(self.call_async, requests)))
                self.ask()

    def __enter__(self) -> Self:
        self.chat._active = self
        return self

    def __exit__(self, *_exception: object) -> None:
        # A turn that is collected late must not end its successor.
        if self.chat._active is self:
            self.chat._active = None

    def take(self, answer: ChatCompletion) -> list[_Request] | None:
        """The calls that an answer asks for; None where the turn is over, which is noted."""
        requests = self.turn.record_answer(answer)
        if self.turn.completion is None:
            return requests
        self.chat.messages.extend(self.turn.new_messages())
        return None

    def call(self, request: _Request) -> _Output:
        _, name, arguments = request
        try:
            return True, _tools.plain(self.functions[name](**arguments))
        except Exception as error:
            return _failed(error)

    async def call_async(self, request: _Request) -> _Output:
        _, name, arguments = request
        tool = self.functions[name]
        try:
            if tool.is_async:
                result = await tool(**arguments)
            else:
                result = await asyncio.to_thread(tool, **arguments)
            return True, _tools.plain(result)
        except Exception as error:
            return _failed(error)


def _failed(error: Exception) -> _Output:
    return False, f"{type(error).__name__}: {error}"


def _said(message: _Input) -> list[Any]:
    if isinstance(message, str):
        return [{"role": "user", "content": message}]
    # Objects of Pydantic can be iterated, over their fields.
    return list(message) if isinstance(message, Sequence | Iterator) else [message]


class Chat(_Conversation):
    """A conversation with a model: `Model.start_chat` starts one.

    It keeps what is said in `messages`. Tools that are functions are called where the model asks
    for it, and the model goes on with what they give; an exception is told to the model as the
    result.
    """

    def __init__(self, model: Model, **options: Any) -> None:
        self._model = model
        super().__init__(**options)

    def send(
        self,
        message: _Input,
        *,
        max_tool_rounds: int | None = None,
        **options: Unpack[ChatOptions],
    ) -> ChatCompletion:
        """Says something and waits for the answer, calling tools on the way.

        `message` is a text of the user's, a message, or several (results of tools that the caller
        has called, for one). The options hold for this turn; they are those of
        `mullama.options.ChatOptions`. Where it fails, `messages` is as it was.
        """
        with self._start(message, max_tool_rounds, options) as state:
            while True:
                answer = self._model.chat(state.turn.messages(), **state.options)
                requests = state.take(answer)
                if requests is None:
                    return state.turn.completion or answer
                state.turn.record_tool_results([state.call(request) for request in requests])

    def stream(
        self,
        message: _Input,
        *,
        max_tool_rounds: int | None = None,
        **options: Unpack[ChatOptions],
    ) -> ChatTurn:
        """As `send`, piece by piece: an iterator of chunks over all rounds of tools.

        `messages` has the turn when its last chunk has come.
        """
        return ChatTurn(self._start(message, max_tool_rounds, options))

    def _tools(self, options: Mapping[str, Any]) -> list[_tools.Tool]:
        tools = super()._tools(options)
        for tool in tools:
            if tool.is_async:
                message = f"option `tools`: `{tool.name}` is a coroutine function"
                raise InvalidArgumentError(
                    f"{message}\nhint: use it with AsyncModel",
                    hint="use it with AsyncModel",
                    context={"option": "tools"},
                )
        return tools


class AsyncChat(_Conversation):
    """A conversation with a model, awaited: `AsyncModel.start_chat` starts one.

    It keeps what is said in `messages`. Tools that are functions are called where the model asks
    for it, and the model goes on with what they give; an exception is told to the model as the
    result. Coroutine functions are awaited, others run on threads; those of one answer run at a
    time.
    """

    def __init__(self, model: AsyncModel, **options: Any) -> None:
        self._model = model
        super().__init__(**options)

    async def send(
        self,
        message: _Input,
        *,
        max_tool_rounds: int | None = None,
        **options: Unpack[ChatOptions],
    ) -> ChatCompletion:
        """Says something and awaits the answer, calling tools on the way.

        `message` is a text of the user's, a message, or several (results of tools that the caller
        has called, for one). The options hold for this turn; they are those of
        `mullama.options.ChatOptions`. Where it fails or is cancelled, `messages` is as it was.
        """
        with self._start(message, max_tool_rounds, options) as state:
            while True:
                answer = await self._model.chat(state.turn.messages(), **state.options)
                requests = state.take(answer)
                if requests is None:
                    return state.turn.completion or answer
                results = await asyncio.gather(*map(state.call_async, requests))
                state.turn.record_tool_results(results)

    def stream(
        self,
        message: _Input,
        *,
        max_tool_rounds: int | None = None,
        **options: Unpack[ChatOptions],
    ) -> AsyncChatTurn:
        """As `send`, piece by piece: an asynchronous iterator of chunks over all rounds of tools.

        `messages` has the turn when its last chunk has come.
        """
        return AsyncChatTurn(self._start(message, max_tool_rounds, options))


class _UnderWay:
    """What the two kinds of an answer under way have in common."""

    def __init__(self, state: _State) -> None:
        self._state = state
        # Starts now, as every stream does.
        state.ask()
        state.__enter__()

    @property
    def completion(self) -> ChatCompletion | None:
        """The whole answer, once the last chunk has come."""
        return self._state.turn.completion

    def cancel(self) -> None:
        """Stops the generation; what there is of it still comes, with the finish reason
        `cancelled`."""
        self._state.cancel()

    def __del__(self) -> None:
        if hasattr(self, "_chunks"):
            self._state.__exit__()


class ChatTurn(_UnderWay):
    """An answer of a `Chat` while it is being generated: an iterator of chunks.

    The last chunk has the whole completion. Closing or dropping it cancels the generation.
    """

    def __init__(self, state: _State) -> None:
        super().__init__(state)
        # It does not refer to this, so that what nobody reads any more is freed at once.
        self._chunks = state.chunks()

    def close(self) -> None:
        """Stops the generation and gives nothing more. A `with` block does so at its end."""
        self._state.stream.close()
        self._chunks.close()
        self._state.__exit__()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ChatChunk:
        return next(self._chunks)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class AsyncChatTurn(_UnderWay):
    """An answer of an `AsyncChat` while it is being generated: an asynchronous iterator of chunks.

    The last chunk has the whole completion. Closing or dropping it cancels the generation.
    """

    def __init__(self, state: _State) -> None:
        super().__init__(state)
        # It does not refer to this, so that what nobody reads any more is freed at once.
        self._chunks = state.chunks_async()

    async def close(self) -> None:
        """Stops the generation and gives nothing more. An `async with` block does so at its end."""
        await self._state.stream.close()
        await self._chunks.aclose()
        self._state.__exit__()

    async def aclose(self) -> None:
        """The same as `close`, for `contextlib.aclosing`."""
        await self.close()

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[Any, Any, ChatChunk]:
        return self._chunks.__anext__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()


for _class in (AsyncChat, AsyncChatTurn, Chat, ChatTurn):
    # Where programs find them.
    _class.__module__ = "mullama"
