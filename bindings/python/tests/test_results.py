"""Common properties of all results: a dict for JSON, and a representation."""

import json

import mullama
import pytest
from conftest import USER
from mullama import gpu


@pytest.fixture(scope="module")
def results(demo):
    """An object of each class of results, by class."""
    weather = [{"role": "user", "content": "What is the weather in Paris?"}]
    tool = {"name": "get_weather", "parameters": {"properties": {"city": {"type": "string"}}}}
    call = demo.chat(
        weather, tools=[{"type": "function", "function": tool}], tool_choice="required"
    )
    answer = demo.chat([USER], temperature=0, logprobs=2)
    chunks = [*demo.stream("One,", max_tokens=2), *demo.stream_chat([USER], prompt_progress=True)]
    plan = mullama.plan("demo", devices="RTX 4090", context_size=256)
    embeddings = demo.embed(["a", "b"], dimensions=4)
    stream = demo.stream_chat([USER], ignore_eos=True)
    next(stream)
    found = [
        answer,
        answer.message,
        answer.usage,
        answer.timings,
        answer.stop_reason,
        answer.logprobs[0],
        answer.logprobs[0].top[0],
        call.message.tool_calls[0],
        call.message.tool_calls[0].function,
        demo.generate("One,", max_tokens=1),
        *chunks,
        *(chunk.progress for chunk in chunks if chunk.progress),
        plan,
        plan.model,
        plan.host,
        plan.predicted,
        *mullama.plan("demo", devices="1MiB", n_gpu_layers=0).alternatives,
        embeddings,
        embeddings.usage,
        demo.capabilities,
        demo.placement,
        demo.placement.devices[0],
        demo.requests()[0],
        demo.stats(),
        *gpu.devices(),
        *gpu.backends(),
    ]
    stream.close()
    return {type(result).__name__: result for result in found}


NAMES = [
    "Alternative",
    "Backend",
    "Capabilities",
    "ChatChunk",
    "ChatCompletion",
    "Chunk",
    "Completion",
    "Device",
    "DeviceShare",
    "EmbeddingUsage",
    "Embeddings",
    "FunctionCall",
    "Message",
    "Placement",
    "Plan",
    "PlannedDevice",
    "PlannedModel",
    "Prediction",
    "PromptProgress",
    "RequestInfo",
    "Stats",
    "StopReason",
    "Timings",
    "TokenLogprob",
    "ToolCall",
    "TopLogprob",
    "Usage",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_result_has_a_dict_that_json_takes(results, name):
    result = results[name]
    fields = result.to_dict()
    assert json.loads(json.dumps(fields)) == json.loads(json.dumps(result.to_dict()))
    assert fields
    assert set(fields) <= {*dir(result), "vectors"} | {"type", "function"}
    assert name in repr(result)


def test_every_class_of_results_has_a_dict():
    """Including those that need a reranker, a registry or a conversation."""
    calls = {"Chat", "ChatTurn", "Model", "Stream", "ChatStream", "Tool"}
    calls |= {f"Async{name}" for name in calls}
    for module in (mullama, gpu):
        for name in module.__all__:
            thing = getattr(module, name)
            if isinstance(thing, type) and not issubclass(thing, Exception) and name not in calls:
                assert hasattr(thing, "to_dict"), name


def test_results_are_compared_by_value(demo):
    # The free memory of this machine changes.
    host = {"host_memory": "16GiB"}
    plan = mullama.plan("demo", devices=["24GiB"], **host)
    assert plan == mullama.plan("demo", devices=["24GiB"], **host)
    assert plan != mullama.plan("demo", devices=["8GiB"], **host)
    vectors = demo.embed(["a"])
    assert vectors == demo.embed(["a"])
    assert vectors != demo.embed(["b"])
    assert vectors != [[0.0]]
    answer = demo.generate("One,", temperature=0, max_tokens=2)
    assert answer != demo.generate("One,", temperature=0, max_tokens=3)
    assert answer != answer.text


def test_histories_are_saved_and_resumed(demo, tmp_path):
    chat = demo.start_chat(system="Be brief.", temperature=0)
    chat.send("What is the capital of France?")
    saved = json.dumps(chat.messages)
    resumed = demo.start_chat(messages=json.loads(saved), temperature=0)
    assert "Madrid" in resumed.send("And of Spain?").text
    # Messages that were appended unchanged.
    messages = [USER]
    messages.append(demo.chat(messages, temperature=0).message)
    assert json.loads(json.dumps(messages)) == messages
    assert messages[1].content == messages[1]["content"] == "The capital of France is Paris."


def test_streams_and_models_have_a_repr(demo):
    assert repr(demo).startswith("Model(name='Mullama Demo'")
    stream = demo.stream("One,", max_tokens=1)
    assert repr(stream) == "Stream(completion=None)"
    list(stream)
    assert "finish_reason='length'" in repr(stream)
    turn = demo.start_chat().stream("Hello!")
    assert repr(turn) == "ChatTurn(completion=None)"
    turn.close()
