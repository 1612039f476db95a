"""Iterables as arguments: of any length, without an end, and iterable only once."""

import itertools
import signal
import sys
import time

import numpy as np
import pytest
from conftest import USER
from mullama import AsyncModel, InvalidArgumentError, MullamaError

MANY = 1 << 20
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def doubled(item):
    """A list of lists that is small and counts 2**60 items."""
    for _ in range(60):
        item = [item, item]
    return item


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.generate(itertools.repeat(1)), "more than 16777216 token ids"),
        (lambda m: m.detokenize(range(10**9)), "more than 16777216 token ids"),
        (lambda m: m.embed(itertools.repeat(5)), "more than 16777216 token ids"),
        (lambda m: m.embed([itertools.repeat(5)]), "more than 16777216 token ids"),
        (lambda m: m.embed(itertools.repeat("x")), f"more than {MANY} texts"),
        (lambda m: m.embed(itertools.repeat([5])), f"more than {MANY} texts"),
        (lambda m: m.rerank("x", itertools.repeat("y")), f"more than {MANY} texts"),
        (lambda m: m.chat([USER] * (MANY + 1)), "option `messages`: has more than"),
        (lambda m: m.chat(doubled(USER)), "option `messages`: has more than"),
        (
            lambda m: m.chat([{"role": "user", "content": ["x"] * (MANY + 1)}]),
            "option `messages`: has more than",
        ),
        (lambda m: m.start_chat(messages=itertools.repeat(USER)), "option `messages`: has more"),
        (lambda m: m.start_chat().send(itertools.repeat(USER)), "option `messages`: has more than"),
        (lambda m: m.start_chat().stream(itertools.repeat(USER)), "option `messages`: has more"),
        (lambda m: m.chat([USER], tools=itertools.repeat(TOOL)), "option `tools`: has more than"),
        (lambda m: m.start_chat(tools=itertools.repeat(TOOL)), "option `tools`: has more than"),
        (
            lambda m: m.generate("x", logits_processors=itertools.repeat(print)),
            "option `logits_processors`: has more than",
        ),
        (lambda m: m.generate("x", stop=["x"] * (MANY + 1)), "option `stop`: has more than"),
        (lambda m: m.generate("x", stop=doubled("x")), "option `stop`: has more than"),
        (
            lambda m: m.generate("x", logit_bias=dict.fromkeys(range(MANY + 1), 1)),
            "option `logit_bias`: has more than",
        ),
        (
            lambda m: m.generate("x", stop=np.broadcast_to(np.int8(1), 10**12)),
            "option `stop`: has more than",
        ),
        (lambda m: m.set_lora([["x", 1]] * MANY), "option `lora`: has more than"),
    ],
)
def test_endless_iterables_are_rejected(demo, call, message):
    with pytest.raises(InvalidArgumentError, match=message):
        call(demo)


@pytest.mark.parametrize("option", ["stop", "lora", "images", "response_format", "json_schema"])
def test_options_reject_endless_iterators(demo, option):
    with pytest.raises(MullamaError, match=f"`{option}`"):
        demo.chat([USER], **{option: itertools.repeat("x")})


def test_async_methods_reject_endless_iterables(demo):
    model = AsyncModel(demo.path, n_threads=1)
    for call in (
        lambda: model.embed(itertools.repeat("x")),
        lambda: model.rerank("x", itertools.repeat("y")),
        lambda: model.start_chat(messages=itertools.repeat(USER)),
    ):
        with pytest.raises(InvalidArgumentError, match="more than"):
            call()


def test_messages_may_be_any_iterable(demo):
    chat = demo.start_chat(messages=(message for message in [USER]))
    assert chat.messages == [USER]
    tools = (tool for tool in [TOOL])
    assert demo.chat([USER], tools=tools, max_tokens=1).usage.completion_tokens == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such timers")
def test_signal_handler_exceptions_stop_reading(demo):
    def ring(*_):
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, ring)
    begun = time.monotonic()
    try:
        with pytest.raises(InterruptedError):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            # Without an end for those who do not look at signals: it fails with another error.
            demo.generate(itertools.repeat(1))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - begun < 60


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory differ")
def test_too_little_memory_is_an_error(python):
    script = """
import itertools, resource
import mullama

model = mullama.Model("demo", n_threads=1)
model.generate([1], max_tokens=1)
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (24 << 20),) * 2)
text = "x" * (8 << 20)
for call in (
    lambda: model.generate(itertools.repeat(1)),
    lambda: model.embed(itertools.repeat(text)),
):
    try:
        call()
    except mullama.OutOfMemoryError as error:
        print(error)
"""
    done = python(script)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.startswith("there is no memory for ") for line in lines] == [True, True], lines
