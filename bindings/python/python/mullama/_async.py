"""The coroutines that the native module hands out.

What `asyncio` is to take for a coroutine (in `create_task`, in a `TaskGroup`) is written in Python;
the work that it waits for is a `_Task` of the native module. `asyncio` is imported only by the
programs that use it.
"""

from __future__ import annotations

import sys
import weakref

# What `typing.TYPE_CHECKING` is, without the import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

# Seconds between two turns of a notebook's event loop while a cell waits.
_BEAT = 0.1

# The streams that each task reads. Neither is kept alive by this.
_streams: weakref.WeakKeyDictionary[asyncio.Task[Any], weakref.WeakSet[Any]]
_streams = weakref.WeakKeyDictionary()


async def run(task: Any) -> Any:
    """Runs a task of the native module; cancelling this cancels it."""
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
    """Lets the loop run now and then: an interrupt alone does not wake that of ipykernel, whose
    handler cancels the cell."""
    if not done.done():
        loop.call_later(_BEAT, _beat, loop, done)


def _finish(done: asyncio.Future[None]) -> None:
    # It may have been cancelled meanwhile.
    if not done.done():
        done.set_result(None)


async def next_chunk(stream: Any) -> Any:
    """The next chunk of a stream, without a wait where it is there already.

    Cancelling a read cancels the generation, as it ends an asynchronous generator; what has been
    generated can still be read.
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
        # Who keeps the exception keeps this frame, and must not keep the stream.
        del stream


def _note_reader(stream: Any, task: asyncio.Task[Any] | None) -> None:
    """Has the generation end with the task that reads it, if that is cancelled between two reads.

    The stream itself might live on: the traceback of a stored exception refers to the variables of
    the task.
    """
    reader = getattr(stream, "_reader", None)
    if task is None or (reader is not None and reader() is task):
        return
    # It may be read by another task from now on.
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
