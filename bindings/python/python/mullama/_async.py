"""The coroutines that the native module returns.

An object that `asyncio` accepts as a coroutine (in `create_task`, in a `TaskGroup`) must be written
in Python; it waits for a `_Task` of the native module. `asyncio` is imported only in programs that
use it.
"""

from __future__ import annotations

import sys
import weakref

# The same as `typing.TYPE_CHECKING`, without the import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

# Seconds between wake-ups of a notebook's event loop while a cell waits.
_BEAT = 0.1

# The streams that each task reads. References to both are weak.
_streams: weakref.WeakKeyDictionary[asyncio.Task[Any], weakref.WeakSet[Any]]
_streams = weakref.WeakKeyDictionary()


async def run(task: Any) -> Any:
    """Runs a task of the native module; cancelling the coroutine aborts it."""
    import asyncio

    loop = asyncio.get_running_loop()
    done = loop.create_future()
    task.start(lambda: loop.call_soon_threadsafe(_finish, done))
    if "ipykernel" in sys.modules:
        _beat(loop, done)
    try:
        await done
        return task.result()
    finally:
        task.abort()


def _beat(loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
    """Wakes the event loop periodically: an interrupt does not wake ipykernel's loop, whose handler
    then cancels the cell."""
    if not done.done():
        loop.call_later(_BEAT, _beat, loop, done)


def _finish(done: asyncio.Future[None]) -> None:
    # It may have been cancelled in the meantime.
    if not done.done():
        done.set_result(None)


async def next_chunk(stream: Any) -> Any:
    """The next chunk of a stream; does not wait if it has already arrived.

    Cancelling a read cancels the generation, just as it ends an asynchronous generator. Chunks that
    have been generated can still be read.
    """
    import asyncio

    try:
        while (chunk := stream._poll()) is None:
            _note_reader(stream, asyncio.current_task())
            await run(stream._wait())
        return chunk
    except asyncio.CancelledError:
        stream.cancel()
        raise
    finally:
        # A stored exception keeps this frame alive, which must not keep the stream alive.
        del stream


def note_creator(stream: Any) -> None:
    """Regards the current task as the reader of a new stream, until another task reads it."""
    if "asyncio" not in sys.modules:
        return
    import asyncio

    try:
        task = asyncio.current_task()
    except RuntimeError:
        # There is no event loop in this thread.
        return
    _note_reader(stream, task)


def _note_reader(stream: Any, task: asyncio.Task[Any] | None) -> None:
    """Ends the generation with the task that reads it, if the task is cancelled between two reads.

    The stream itself might live longer: the traceback of a stored exception refers to the task's
    variables.
    """
    reader = getattr(stream, "_reader", None)
    if task is None or (reader is not None and reader() is task):
        return
    # A stream may be passed to another task.
    stream._reader = weakref.ref(task)
    if task not in _streams:
        _streams[task] = weakref.WeakSet()
        task.add_done_callback(_end_streams)
    _streams[task].add(stream)


def _end_streams(task: asyncio.Task[Any]) -> None:
    streams = _streams.pop(task)
    if task.cancelled():
        for stream in streams:
            if stream._reader() is task:
                stream.cancel()
