"""The coroutines that the native module hands out.

What `asyncio` is to take for a coroutine (in `create_task`, in a `TaskGroup`) is written in Python;
the work that it waits for is a `_Task` of the native module. `asyncio` is imported only by the
programs that use it.
"""

from __future__ import annotations

# What `typing.TYPE_CHECKING` is, without the import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any


async def run(task: Any) -> Any:
    """Runs a task of the native module; cancelling this cancels it."""
    import asyncio

    loop = asyncio.get_running_loop()
    done = loop.create_future()
    task.start(lambda: loop.call_soon_threadsafe(_finish, done))
    try:
        await done
        return task.result()
    finally:
        task.abort()


def _finish(done: asyncio.Future[None]) -> None:
    # It may have been cancelled meanwhile.
    if not done.done():
        done.set_result(None)


async def next_chunk(stream: Any) -> Any:
    """The next chunk of a stream, without a wait where it is there already."""
    try:
        while (chunk := stream._poll()) is None:
            await run(stream._wait())
        return chunk
    except BaseException as error:
        _end_with_task(stream, error)
        raise
    finally:
        # Who keeps the exception keeps this frame, and must not keep the stream.
        del stream


def _end_with_task(stream: Any, error: BaseException) -> None:
    """Ends the generation of a stream when the task that reads it is cancelled.

    The traceback of a stored exception refers to the task's variables, so the stream might not be
    freed. If only this wait is cancelled (`wait_for`), the stream continues.
    """
    import asyncio

    if not isinstance(error, asyncio.CancelledError):
        return
    task = asyncio.current_task()
    if task is not None and getattr(task.get_coro(), "cr_code", None) is not next_chunk.__code__:
        task.add_done_callback(lambda task: stream.cancel() if task.cancelled() else None)
