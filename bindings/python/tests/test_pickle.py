"""Results can be copied and pickled, so that they can be passed between processes."""

import copy
import multiprocessing
import pickle

import mullama
import pytest
from conftest import USER
from mullama import gpu

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def shown(value):
    """All readable attributes of a result."""
    if isinstance(value, mullama.Embeddings):
        return value.tolist(), value.pooling, value.normalized, value.usage, bytes(value)
    if isinstance(value, list):
        return [shown(item) for item in value]
    if not type(value).__module__.startswith("mullama"):
        return value
    names = [name for name in dir(value) if not name.startswith("_")]
    fields = {name: getattr(value, name) for name in names}
    return type(value), str(value), {k: shown(v) for k, v in fields.items() if not callable(v)}


@pytest.fixture(scope="module")
def results(demo, testkit):
    options = {"temperature": 0, "max_tokens": 8, "logprobs": 2}
    asked = [{"role": "user", "content": "What is the weather in Paris?"}]
    called = demo.chat(asked, tools=[TOOL], temperature=0)
    assert called.message.tool_calls
    with mullama.Model(testkit("path", "encoder").strip()) as encoder:
        embeddings = [
            encoder.embed(["a", "b c"]),
            encoder.embed(["a", "b c"], pooling="none"),
            encoder.embed([]),
        ]
    with mullama.Model(testkit("path", "reranker").strip()) as reranker:
        ranking = reranker.rerank("a", ["b", "c d"])
    return [
        demo.generate("One,", **options),
        *demo.stream("One,", **options),
        demo.chat([USER], temperature=0),
        called,
        called.message,
        called.message.tool_calls,
        *demo.stream_chat(asked, tools=[TOOL], temperature=0),
        *embeddings,
        ranking,
        ranking[0],
        mullama.plan("demo"),
        mullama.plan("demo", devices=["24GiB", "8GiB"], kv_cache_type="q8_0"),
        mullama.plan("demo", devices="1MiB"),
        gpu.devices(),
        gpu.backends(),
        demo.stats(),
        demo.placement,
        demo.capabilities,
    ]


def test_copies_are_the_same(results):
    for result in results:
        for again in (
            copy.copy(result),
            copy.deepcopy(result),
            *(pickle.loads(pickle.dumps(result, n)) for n in range(2, 6)),
        ):
            assert shown(again) == shown(result)
            assert again == result


def work(text):
    model = mullama.Model("demo", n_threads=1)
    return model.generate(text, temperature=0, max_tokens=4), model.chat([USER], temperature=0)


def fail(_):
    mullama.Model("missing.gguf")


def test_a_pool_of_processes_gives_results_and_errors(demo):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        completion, answer = pool.apply(work, ("One, two,",))
        assert completion.text == demo.generate("One, two,", temperature=0, max_tokens=4).text
        assert answer.message == demo.chat([USER], temperature=0).message
        with pytest.raises(mullama.NotFoundError) as raised:
            pool.apply(fail, (None,))
    error = raised.value
    assert (error.kind, error.context["path"]) == ("NotFound", "missing.gguf")
    assert error.hint in str(error)


def test_models_are_not_pickled(demo):
    for value in (demo, demo.stream("One,", max_tokens=1)):
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(value)


def test_damaged_pickles_are_refused(results):
    embeddings = next(it for it in results if isinstance(it, mullama.Embeddings))
    restore, (fields, numbers) = embeddings.__reduce__()
    for wrong in ((fields, numbers[:-4]), ({**fields, "dimensions": 1 << 62}, numbers), ({}, b"")):
        with pytest.raises(ValueError):
            restore(*wrong)
