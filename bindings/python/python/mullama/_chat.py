"""Conversations, which store the messages and run the tools that the model calls.

The `_Turn` of the native module decides what to do next in a conversation; this module calls the
functions of tools, which is only possible in Python.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import (
    AsyncGenerator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import TYPE_CHECKING, Any

from mullama import _tools
from mullama._native import Model, _items, _Turn
from mullama.errors import InvalidArgumentError

if TYPE_CHECKING:
    from typing import Self, TypeAlias, Unpack

    from mullama._messages import AnyMessage, Messages
    from mullama._native import AsyncModel, ChatChunk, ChatCompletion
    from mullama.options import ChatOptions

    _Input: TypeAlias = str | AnyMessage | Sequence[AnyMessage]
    _Request: TypeAlias = tuple[str, str, dict[str, Any]]
    _Output: TypeAlias = tuple[bool, Any]

__all__ = ["AsyncChat", "AsyncChatTurn", "Chat", "ChatTurn"]


class _Conversation:
    """The common part of synchronous and asynchronous conversations."""

    _model: Any
    messages: Messages
    """The messages so far, which can be changed between turns. The conversation itself adds plain
    dicts, which `json.dumps` accepts."""

    def __init__(
        self,
        *,
        system: str | None = None,
        messages: Iterable[AnyMessage] | None = None,
        max_tool_rounds: int | None = None,
        compact: Callable[[list[Any]], Any] | None = None,
        **options: Any,
    ) -> None:
        if compact is not None and not callable(compact):
            raise InvalidArgumentError("option `compact`: expected a function")
        self._compact = compact
        self.messages = _items(messages or (), "messages")
        if system is not None:
            self.messages.insert(0, {"role": "system", "content": system})
        self._max_tool_rounds = max_tool_rounds
        self._options = options
        self._active: _State | None = None
        # Invalid tools are reported now rather than when they are used.
        self._tools(self._options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(messages={self.messages!r})"

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
        said = _said(message)

        def begin() -> _Turn:
            return _Turn(self.messages, said, options.get("tools") or [], list(functions), rounds)

        return _State(self, said, begin, functions, options)


class _State:
    """One turn of a conversation, which has at most one active turn."""

    def __init__(
        self,
        chat: _Conversation,
        said: list[Any],
        begin: Callable[[], _Turn],
        functions: Mapping[str, _tools.Tool],
        options: dict[str, Any],
    ) -> None:
        self.chat = chat
        self.said = said
        self.begin = begin
        self.turn = begin()
        self.functions = functions
        self.options = options
        self.compacts = options.get("overflow") == "compact"
        self.stream: Any = None
        self.cancelled = False

    def make_room(self) -> None:
        """Replaces the oldest messages by a summary if the conversation does not fit."""
        if not self.compacts:
            return
        chat = self.chat
        found = chat._model._compact(
            chat.messages, self.said, chat._compact is None, **self.options
        )
        old = self.replaced(found)
        if found is not None and chat._compact is not None:
            found["turn"] = _summary(chat._compact(old))
        self.replace(found, old)

    async def make_room_async(self) -> None:
        if not self.compacts:
            return
        chat = self.chat
        found = await chat._model._compact(
            chat.messages, self.said, chat._compact is None, **self.options
        )
        old = self.replaced(found)
        if found is not None and chat._compact is not None:
            summary = chat._compact(old)
            if inspect.isawaitable(summary):
                summary = await summary
            found["turn"] = _summary(summary)
        self.replace(found, old)

    def replaced(self, found: dict[str, Any] | None) -> list[Any]:
        """The messages that a summary replaces."""
        if found is None:
            return []
        kept = set(found["kept"])
        return [self.chat.messages[at] for at in range(found["start"]) if at not in kept]

    def replace(self, found: dict[str, Any] | None, old: list[Any]) -> None:
        # If tools make the turn too long, others are left out.
        self.compacts = False
        self.options["overflow"] = "truncate"
        if found is None:
            return
        messages = self.chat.messages
        kept = [messages[at] for at in found["kept"]]
        self.chat.messages = [*kept, *found["turn"], *messages[found["start"] :]]
        self.turn = self.begin()
        self.turn.note_dropped(len(old))

    def ask(self) -> None:
        """Starts the next round of a streamed turn."""
        self.stream = self.chat._model.stream_chat(self.turn.messages(), **self.options)
        if self.cancelled:
            self.stream.cancel()

    def cancel(self) -> None:
        self.cancelled = True
        if self.stream is not None:
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
            if self.stream is None:
                await self.make_room_async()
                self.ask()
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
        # A turn that is garbage-collected late must not end its successor.
        if self.chat._active is self:
            self.chat._active = None

    def take(self, answer: ChatCompletion) -> list[_Request] | None:
        """The tool calls of an answer; None if the turn is over, whose messages are then stored."""
        requests = self.turn.record_answer(answer)
        if self.turn.completion is None:
            return requests
        self.chat.messages += [message.to_dict() for message in self.turn.new_messages()]
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


def _summary(text: str) -> list[dict[str, Any]]:
    """The turn that replaces messages by a summary."""
    return [message.to_dict() for message in _Turn.summary(text)]


def _failed(error: Exception) -> _Output:
    return False, f"{type(error).__name__}: {error}"


def _said(message: _Input) -> list[Any]:
    if isinstance(message, str):
        return [{"role": "user", "content": message}]
    # Pydantic objects are iterable, too, over their fields.
    is_list = isinstance(message, Sequence | Iterator)
    return _items(message, "messages") if is_list else [message]


class Chat(_Conversation):
    """A conversation with a model: `Model.start_chat` starts one.

    It stores the messages in `messages`. When the model calls a tool that is a function, the
    function is run and the model continues with its result, or with the message of its exception.
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
        """Sends a message and waits for the answer, running tools as needed.

        `message` is a text from the user, a message, or several messages (for example, results of
        tools that the caller has run). The options apply to this turn; they are those of
        `mullama.options.ChatOptions`. If the turn fails, `messages` is unchanged.
        """
        with self._start(message, max_tool_rounds, options) as state:
            state.make_room()
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
        """Like `send`, but returns an iterator of chunks over all rounds of tools.

        `messages` includes the turn after its last chunk.
        """
        state = self._start(message, max_tool_rounds, options)
        state.make_room()
        return ChatTurn(state)

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
    """An asynchronous conversation with a model: `AsyncModel.start_chat` starts one.

    It stores the messages in `messages`. When the model calls a tool that is a function, the
    function is run and the model continues with its result, or with the message of its exception.
    Coroutine functions are awaited, others run in threads; all calls of one answer run
    concurrently.
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
        """Sends a message and awaits the answer, running tools as needed.

        `message` is a text from the user, a message, or several messages (for example, results of
        tools that the caller has run). The options apply to this turn; they are those of
        `mullama.options.ChatOptions`. If the turn fails or is cancelled, `messages` is unchanged.
        """
        with self._start(message, max_tool_rounds, options) as state:
            await state.make_room_async()
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
        """Like `send`, but returns an asynchronous iterator of chunks over all rounds of tools.

        `messages` includes the turn after its last chunk.
        """
        return AsyncChatTurn(self._start(message, max_tool_rounds, options))


class _UnderWay:
    """The common part of synchronous and asynchronous answers that are being generated."""

    def __init__(self, state: _State) -> None:
        self._state = state
        # Starts immediately, like every stream, unless a summary has to be awaited first.
        if not state.compacts:
            state.ask()
        state.__enter__()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(completion={self.completion!r})"

    @property
    def completion(self) -> ChatCompletion | None:
        """The complete answer, after the last chunk."""
        return self._state.turn.completion

    def cancel(self) -> None:
        """Cancels the generation; the partial answer is still delivered, with the finish reason
        `cancelled`."""
        self._state.cancel()

    def __del__(self) -> None:
        if hasattr(self, "_chunks"):
            self._state.__exit__()


class ChatTurn(_UnderWay):
    """An answer of a `Chat` that is being generated: an iterator of chunks.

    The last chunk has the complete answer. Closing or dropping it cancels the generation.
    """

    def __init__(self, state: _State) -> None:
        super().__init__(state)
        # It does not refer to this object, so that an abandoned answer is freed immediately.
        self._chunks = state.chunks()

    def close(self) -> None:
        """Cancels the generation and ends the stream; called at the end of a `with` block."""
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
    """An answer of an `AsyncChat` that is being generated: an asynchronous iterator of chunks.

    The last chunk has the complete answer. Closing or dropping it cancels the generation.
    """

    def __init__(self, state: _State) -> None:
        super().__init__(state)
        # It does not refer to this object, so that an abandoned answer is freed immediately.
        self._chunks = state.chunks_async()

    async def close(self) -> None:
        """Cancels the generation and ends the stream; called at the end of an `async with`
        block."""
        if self._state.stream is not None:
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


def _with_options(method: Any) -> None:
    """Makes `inspect.signature` show the options of a method, which are those of `Model.chat`."""
    signature = inspect.signature(method)
    *own, _options = signature.parameters.values()
    options = inspect.signature(Model.chat).parameters.values()
    keywords = [option for option in options if option.kind is option.KEYWORD_ONLY]
    method.__signature__ = signature.replace(parameters=[*own, *keywords])


for _method in (AsyncChat.send, AsyncChat.stream, Chat.send, Chat.stream):
    _with_options(_method)

for _class in (AsyncChat, AsyncChatTurn, Chat, ChatTurn):
    # The public module of the classes.
    _class.__module__ = "mullama"
