"""Two hundred concurrent requests of every kind, with KV cache cells for a few of them."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mullama
import pytest
from conftest import ROOT
from mullama import AsyncModel, Model

REQUESTS = 200
COUNTRIES = [
    "France",
    "Japan",
    "Italy",
    "Spain",
    "Norway",
    "Egypt",
    "Kenya",
    "Peru",
    "Chile",
    "Cuba",
]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "big": {"type": "boolean"}},
    "required": ["city", "big"],
}
SMALL = {"context_size": 256, "n_parallel": 6, "n_threads": 1}


@pytest.fixture(scope="module")
def weak_adapters(testkit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    for seed in (1, 2):
        testkit("adapter", ROOT / "models/demo/demo.gguf", folder / f"{seed}.gguf", seed)
    # Too weak to change the model's answers.
    return [[], [(folder / "1.gguf", 0.01)], [(folder / "2.gguf", 0.01)]]


def requests(adapters):
    """(kind, request, options), in an irregular order."""
    for index in range(REQUESTS):
        draw = index * 7919 % REQUESTS
        country, lora = COUNTRIES[draw % 10], adapters[draw // 3 % 3]
        prompt = "You are a helpful assistant. " * (draw % 13) + f"The capital of {country} is"
        kind = index % 10
        if kind < 5:
            messages = [{"role": "user", "content": f"What is the capital of {country}?"}]
            if draw % 2 == 0:
                system = ("You are a helpful assistant. " * (1 + draw % 9)).strip()
                messages.insert(0, {"role": "system", "content": system})
            ends = [{"stop": " is"}, {"prompt_lookup": 4}, {"max_tokens": 3}, {}, {}]
            yield "same", messages, {"temperature": 0, "lora": lora} | ends[draw % 5]
        elif kind == 5:
            yield "json", prompt, {"json_schema": SCHEMA, "seed": draw, "lora": lora}
        elif kind == 6:
            yield "dropped", prompt, {"ignore_eos": True, "temperature": 0}
        elif kind == 7:
            yield "cancelled", prompt, {"ignore_eos": True, "lora": lora}
        elif kind == 8:
            yield "grammar", prompt, {"grammar": "root ::= missing"}
        else:
            yield "overflow", "a b c d " * 400, {}


def alone(requests):
    """Answers computed alone, if the model is sure of every token."""
    with Model("demo", n_threads=1) as model:
        for kind, asked, options in requests:
            if kind != "same":
                yield None
                continue
            answer = model.chat(asked, logprobs=2, **options)
            sure = all(t.top[0].logprob - t.top[1].logprob > 0.1 for t in answer.logprobs)
            yield answer.tokens if sure else None


def check_whole(kind, answer, expected):
    if kind == "same":
        assert expected is None or answer.tokens == expected
    else:
        value = json.loads(answer.text)
        assert isinstance(value["city"], str)
        assert isinstance(value["big"], bool)


def resident_kib():
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("the system does not tell")


def check_end(model, finished):
    deadline = time.monotonic() + 10
    while (stats := model.stats()).running + stats.waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (stats.running, stats.waiting) == (0, 0)
    # Requests that cannot be served never reach the engine.
    assert stats.finished - finished == REQUESTS * 8 // 10
    assert stats.kv_used == stats.kv_kept
    assert stats.preemptions > 0
    return stats.finished


def test_threads(weak_adapters):
    everything = list(requests(weak_adapters))
    expected = list(alone(everything))
    assert sum(tokens is not None for tokens in expected) >= 80

    def run(index):
        kind, asked, options = everything[index]
        if kind in ("same", "json"):
            ask = model.chat if kind == "same" else model.generate
            check_whole(kind, ask(asked, **options), expected[index])
        elif kind == "dropped":
            stream = model.stream(asked, **options)
            for _ in range(index % 4):
                next(stream)
        elif kind == "cancelled":
            with model.stream(asked, **options) as stream:
                threading.Timer(index / 4000, stream.cancel).start()
                assert list(stream)[-1].completion.finish_reason in ("cancelled", "length")
        else:
            error = {
                "grammar": mullama.InvalidGrammarError,
                "overflow": mullama.ContextOverflowError,
            }
            with pytest.raises(error[kind]):
                model.generate(asked, **options)

    with Model("demo", **SMALL) as model:
        held, finished = [], 0
        for _ in range(3):
            with ThreadPoolExecutor(REQUESTS) as pool:
                list(pool.map(run, range(REQUESTS)))
            finished = check_end(model, finished)
            held.append(resident_kib())
        assert held[2] - held[1] < 8 * 1024, held


def test_tasks(weak_adapters):
    everything = list(requests(weak_adapters))
    expected = list(alone(everything))

    async def run(model, index):
        kind, asked, options = everything[index]
        if kind in ("same", "json"):
            ask = model.chat if kind == "same" else model.generate
            check_whole(kind, await ask(asked, **options), expected[index])
        elif kind == "dropped":
            stream = model.stream(asked, **options)
            for _ in range(index % 4):
                await anext(stream)
        elif kind == "cancelled":
            task = asyncio.create_task(model.generate(asked, **options))
            await asyncio.sleep(index / 4000)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            error = {
                "grammar": mullama.InvalidGrammarError,
                "overflow": mullama.ContextOverflowError,
            }
            with pytest.raises(error[kind]):
                await model.generate(asked, **options)

    async def main():
        async with await AsyncModel.load("demo", **SMALL) as model:
            held = []
            for _ in range(3):
                await asyncio.gather(*(run(model, index) for index in range(REQUESTS)))
                deadline = time.monotonic() + 10
                while model.stats().running + model.stats().waiting:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.01)
                held.append(resident_kib())
            stats = model.stats()
            assert stats.kv_used == stats.kv_kept
            assert held[2] - held[1] < 8 * 1024, held

    asyncio.run(main())
