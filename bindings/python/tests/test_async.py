import asyncio
import contextlib
import gc
import sys
import time
import warnings

import mullama
import pytest
from conftest import USER
from mullama import (
    AsyncModel,
    ClosedError,
    ContextOverflowError,
    InvalidArgumentError,
    Model,
    NotFoundError,
    _async,
)


def run(main):
    return asyncio.run(main())


def test_async_model_has_all_methods(demo):
    async def main():
        options = {"max_tokens": 8, "temperature": 0}
        async with await AsyncModel.load("demo", n_threads=1) as model:
            assert not isinstance(model, Model)
            assert model.architecture == "llama"
            assert repr(model).startswith("AsyncModel(")
            expected = demo.generate("The capital of Spain is", **options)
            completion = await model.generate("The capital of Spain is", **options)
            assert isinstance(completion, mullama.Completion)
            assert completion.tokens == expected.tokens

            stream = model.stream("The capital of Spain is", **options)
            chunks = [chunk async for chunk in stream]
            assert "".join(map(str, chunks)) == expected.text
            assert chunks[-1].completion.tokens == stream.completion.tokens == expected.tokens
            assert [chunk async for chunk in stream] == []

            expected = demo.chat([USER], temperature=0)
            answer = await model.chat([USER], temperature=0)
            assert isinstance(answer, mullama.ChatCompletion)
            assert answer.message == expected.message
            chat = model.stream_chat([USER], temperature=0)
            assert "".join([chunk.text async for chunk in chat]) == expected.text
            assert chat.completion.message == expected.message

            tokens = await model.tokenize("Hello", add_special=False)
            assert tokens == demo.tokenize("Hello", add_special=False)
            assert await model.detokenize(tokens) == "Hello"
            assert await model.count_tokens("Hello") == demo.count_tokens("Hello")
            prompt = await model.apply_chat_template([USER], add_generation_prompt=False)
            assert prompt == demo.apply_chat_template([USER], add_generation_prompt=False)
        assert model.is_closed
        with pytest.raises(ClosedError):
            await model.generate("x")
        with pytest.raises(ClosedError):
            await anext(model.stream("x"))
        await model.close()

    run(main)


def test_loading_does_not_block_the_event_loop():
    async def main():
        heard = []
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        model = await AsyncModel.load("demo", progress=heard.append)
        ticking.cancel()
        assert heard[-1] == 1.0
        assert ticks > 5
        await model.close()

    run(main)


def test_blocking_load():
    async def main():
        model = AsyncModel("demo", vocab_only=True)
        assert await model.tokenize("a", add_special=False)
        await model.close()

    run(main)


def test_async_methods_are_coroutines(demo):
    """They start when a task, `gather` or `asyncio.run` awaits them."""
    model = AsyncModel("demo", n_threads=1)
    options = {"max_tokens": 8, "temperature": 0}
    expected = demo.generate("One, two,", **options).tokens
    assert asyncio.run(model.generate("One, two,", **options)).tokens == expected

    async def main():
        calls = [model.generate("One, two,", **options) for _ in range(20)]
        tasks = [asyncio.create_task(call) for call in calls]
        answers = await asyncio.gather(*tasks, model.generate("One, two,", **options))
        assert all(answer.tokens == expected for answer in answers)
        await asyncio.wait_for(model.generate("One, two,", **options), 30)
        await model.close()

    run(main)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.close()
        gc.collect()
    assert "'AsyncModel.close' was never awaited" in str(caught[0].message)


def test_many_streams_at_once(demo):
    async def main():
        model = AsyncModel("demo", n_threads=1)
        # Answers of which the model is sure do not depend on rounding differences in batches.
        countries = ["France", "Japan", "Italy", "Spain", "Norway", "Egypt", "Kenya", "Peru"]
        prompts = [f"The capital of {country} is" for country in countries]
        options = {"max_tokens": 6, "temperature": 0}

        async def read(prompt):
            return "".join([chunk.text async for chunk in model.stream(prompt, **options)])

        texts = await asyncio.gather(*map(read, prompts))
        assert texts == [demo.generate(prompt, **options).text for prompt in prompts]
        await model.close()

    run(main)


async def idle(model):
    """Fails if the engine's only sequence is not released."""
    completion = await asyncio.wait_for(model.generate("One,", max_tokens=1), 20)
    assert completion.usage.completion_tokens == 1


def test_cancelling_a_task_cancels_its_request():
    async def main():
        model = AsyncModel("demo", n_parallel=1, context_size=60000, n_threads=1)
        task = asyncio.create_task(model.generate("One,", ignore_eos=True))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await idle(model)

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(model.chat([USER], ignore_eos=True), 0.2)
        await idle(model)

        async def read():
            async for _ in model.stream("One,", ignore_eos=True):
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # Its traceback refers to the stream until it is deleted.
        del task
        await idle(model)
        await model.close()

    run(main)


async def at_rest(model):
    """Fails if the engine continues generating."""
    for _ in range(500):
        if model.stats().running == 0:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(model.requests())


def test_cancelling_a_task_ends_its_stream_despite_a_stored_exception():
    async def main():
        model = AsyncModel("demo", context_size=60000, n_threads=1)
        chat = model.start_chat(ignore_eos=True)
        begun = asyncio.Semaphore(0)
        starts = [
            lambda: model.stream("One,", ignore_eos=True),
            lambda: model.stream_chat([USER], ignore_eos=True),
            lambda: chat.stream("Hello!"),
        ]

        async def read_in_place(start):
            async for _ in start():
                begun.release()

        async def read_a_variable(start):
            stream = start()
            async for _ in stream:
                begun.release()

        async def use_each_chunk(start):
            stream = start()
            async for _ in stream:
                begun.release()
                await asyncio.sleep(60)

        async def with_a_time_limit(start):
            stream = start()
            async for _ in stream:
                begun.release()
                await asyncio.wait_for(asyncio.sleep(60), 60)

        async def start_and_not_read(start):
            stream = start()
            begun.release()
            await asyncio.sleep(60)
            await stream.close()

        for reader in (
            read_in_place,
            read_a_variable,
            use_each_chunk,
            with_a_time_limit,
            start_and_not_read,
        ):
            for start in starts:
                task = asyncio.create_task(reader(start))
                await begun.acquire()
                task.cancel()
                (failure,) = await asyncio.gather(task, return_exceptions=True)
                assert isinstance(failure, asyncio.CancelledError)
                await at_rest(model)
                # Its frame refers to the stream.
                del failure, task
                begun = asyncio.Semaphore(0)
        await model.close()

    run(main)


def test_a_timeout_ends_its_stream_despite_stored_references():
    async def main():
        model = AsyncModel("demo", context_size=60000, n_threads=1)
        chat = model.start_chat(ignore_eos=True)
        for start in (
            lambda: model.stream("One,", ignore_eos=True),
            lambda: model.stream_chat([USER], ignore_eos=True),
            lambda: chat.stream("Hello!"),
        ):
            stream = start()
            with pytest.raises(TimeoutError) as kept:
                async with asyncio.timeout(0.1):
                    async for _ in stream:
                        pass
            await at_rest(model)
            assert kept.value.__traceback__
            with pytest.raises(TimeoutError) as kept:
                async with asyncio.timeout(0.1):
                    async for _ in start():
                        pass
            await at_rest(model)
        # The conversation is not blocked by an abandoned answer.
        assert (await chat.send("Hello!", ignore_eos=False, max_tokens=1)).text
        await model.close()

    run(main)


def test_cancelling_affects_streams_by_their_last_reader():
    async def main():
        model = AsyncModel("demo", context_size=60000, n_threads=1)
        stream = model.stream("One,", ignore_eos=True, max_tokens=2000)
        begun = asyncio.Event()

        async def first():
            await anext(stream)
            begun.set()
            await asyncio.sleep(60)

        task = asyncio.create_task(first())
        await begun.wait()
        chunks = [await anext(stream) for _ in range(20)]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        chunks += [chunk async for chunk in stream]
        assert chunks[-1].completion.finish_reason == "length"
        await model.close()

    run(main)


def test_reads_do_not_reference_finished_streams_and_tasks():
    async def main():
        model = AsyncModel("demo", n_threads=1)
        for _ in range(3):
            async for _ in model.stream("One,", max_tokens=3):
                pass
        gc.collect()
        streams = [it for it in gc.get_objects() if isinstance(it, mullama.AsyncStream)]
        assert streams == []
        task = asyncio.current_task()
        assert [*_async._streams] == [task]
        assert len(_async._streams[task]) == 0
        await model.close()

    run(main)
    gc.collect()
    assert len(_async._streams) == 0


def test_streams_close_like_generators():
    async def main():
        model = AsyncModel("demo", n_parallel=1, context_size=60000, n_threads=1)
        chat = model.start_chat(ignore_eos=True)
        for start in (
            lambda: model.stream("One,", ignore_eos=True),
            lambda: model.stream_chat([USER], ignore_eos=True),
            lambda: chat.stream("Hello!"),
        ):
            async with contextlib.aclosing(start()) as stream:
                await anext(stream)
            assert [chunk async for chunk in stream] == []
            await idle(model)
        await model.close()

    run(main)


def test_cancelling_closing_and_dropping_a_stream():
    async def main():
        model = AsyncModel("demo", n_parallel=1, context_size=60000, n_threads=1)
        stream = model.stream("One,", ignore_eos=True)
        await anext(stream)
        stream.cancel()
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].completion.finish_reason == "cancelled"

        # The same before it has started.
        stream = model.stream("One,", ignore_eos=True)
        stream.cancel()
        *_, last = [chunk async for chunk in stream]
        assert last.completion.finish_reason == "cancelled"

        async with model.stream("One,", ignore_eos=True) as stream:
            await anext(stream)
        assert [chunk async for chunk in stream] == []
        assert stream.completion is None
        await idle(model)

        async for _ in model.stream("One,", ignore_eos=True):
            break
        gc.collect()
        await idle(model)

        # A stream that has not been read.
        del stream
        model.stream("One,", ignore_eos=True)
        await idle(model)
        await model.close()

    run(main)


def test_cancelled_reads_lose_no_text(demo):
    """The generation ends, and what has been generated can still be read."""

    async def main():
        model = AsyncModel("demo", context_size=60000, n_threads=1)
        options = {"temperature": 0, "ignore_eos": True}
        stream = model.stream("One, two,", **options)
        text = ""
        with contextlib.suppress(TimeoutError):
            while True:
                text += (await asyncio.wait_for(anext(stream), 0.0005)).text
        text += "".join([chunk.text async for chunk in stream])
        assert stream.completion.finish_reason == "cancelled"
        assert text == stream.completion.text
        count = len(stream.completion.tokens)
        if count:
            assert demo.generate("One, two,", max_tokens=count, **options).text.startswith(text)

        # Cancelling the wait for a separate task does not cancel its read.
        stream = model.stream("One, two,", max_tokens=30, **options)
        text = ""
        while stream.completion is None:
            read = asyncio.ensure_future(anext(stream))
            while not (await asyncio.wait({read}, timeout=0.0005))[0]:
                pass
            text += read.result().text
        assert text == demo.generate("One, two,", max_tokens=30, **options).text
        await model.close()

    run(main)


@pytest.mark.skipif(sys.platform == "win32", reason="no process can be sent this signal")
@pytest.mark.parametrize("call", ["generate", "stream"])
def test_interrupting_a_cell_cancels_what_it_awaits(python, call):
    """A notebook's handler cancels the task; only the awaited call can wake its event loop."""
    done = python(f"""
import asyncio, os, signal, sys, threading
from mullama import AsyncModel

sys.modules["ipykernel"] = sys

async def generate(model):
    await model.generate("One,", ignore_eos=True)

async def stream(model):
    async for _ in model.stream([5] * 50000, max_tokens=1):
        pass

async def main():
    model = await AsyncModel.load("demo", context_size=60000, n_threads=1)
    cell = asyncio.ensure_future({call}(model))
    signal.signal(signal.SIGINT, lambda *_: cell.cancel())
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        await cell
    except asyncio.CancelledError:
        print("cancelled")
    for _ in range(500):
        if not model.stats().running:
            break
        await asyncio.sleep(0.01)
    print("running", model.stats().running)

asyncio.run(main())
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["cancelled", "running", "0"]


def test_errors(tmp_path):
    async def main():
        with pytest.raises(NotFoundError) as raised:
            await AsyncModel.load(tmp_path / "missing.gguf")
        assert raised.value.kind == "NotFound"
        assert "missing.gguf" in raised.value.context["path"]
        with pytest.raises(InvalidArgumentError, match="temprature"):
            await AsyncModel.load("demo", temprature=1)
        with pytest.raises(ZeroDivisionError):
            await AsyncModel.load("demo", progress=lambda _: 1 / 0)
        with pytest.raises(mullama.CancelledError):
            await AsyncModel.load("demo", progress=lambda _: False)
        with pytest.raises(TypeError):
            await AsyncModel.load("demo", progress=1)

        model = await AsyncModel.load("demo", context_size=256)
        with pytest.raises(ContextOverflowError):
            await model.generate([5] * 257)
        with pytest.raises(ContextOverflowError):
            async for _ in model.stream([5] * 257):
                pass
        with pytest.raises(InvalidArgumentError, match="vocabulary"):
            await model.detokenize([model.n_vocab])
        with pytest.raises(InvalidArgumentError, match="role"):
            model.stream_chat([{}])
        assert await model.generate("x", max_tokens=1)
        await model.close()

    run(main)


def test_cancelling_loading():
    async def main():
        heard = 0

        def progress(_):
            nonlocal heard
            heard += 1
            time.sleep(0.05)

        task = asyncio.create_task(AsyncModel.load("demo", progress=progress))
        while not heard:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        at_once = heard
        await asyncio.sleep(0.3)
        assert heard <= at_once + 1

    run(main)


def test_one_model_in_several_event_loops():
    model = AsyncModel("demo", n_threads=1)
    for _ in range(3):
        assert asyncio.run(model.generate("x", max_tokens=1)).tokens
    asyncio.run(model.close())


@pytest.mark.parametrize("pre", ["gpt-4o", "deepseek-v3"])
def test_long_runs_are_tokenized(pre):
    async def main():
        options = {"metadata_overrides": {"tokenizer.ggml.pre": pre}, "context_size": 256}
        async with await AsyncModel.load("demo", n_threads=1, **options) as model:
            for run in (" ", "a", "-", "\u4e2d", "\n"):
                text = run * 60_000
                tokens = await model.tokenize(text, add_special=False)
                assert await model.detokenize(tokens) == text
                message = {"role": "user", "content": text}
                for call in (
                    model.generate(text),
                    model.chat([message]),
                    model.embed(text),
                    model.start_chat().send(text),
                    anext(model.stream(text)),
                    anext(model.stream_chat([message])),
                ):
                    with pytest.raises(ContextOverflowError):
                        await call

    run(main)
