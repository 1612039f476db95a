import copy
import gc
import json
import os
import pickle
import sys
import threading
import time
import weakref
from pathlib import Path

import mullama
import pytest
from conftest import USER
from mullama import ClosedError, InvalidArgumentError, Message, Model, gpu

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Name of the city"}},
            "required": ["city"],
        },
    },
}


def test_model_properties(demo):
    assert demo.architecture == "llama"
    assert demo.name == demo.metadata["general.name"]
    assert demo.context_size > 0
    assert demo.n_layers > 0
    assert demo.n_vocab > max(demo.tokenize(demo.chat_template))
    assert demo.n_embd > 0
    assert demo.n_params > 1_000_000
    assert 0 < demo.size <= os.path.getsize(demo.path)
    assert demo.metadata["general.architecture"] == "llama"
    assert "<|im_start|>" in demo.chat_template
    assert demo.capabilities.generate
    assert demo.capabilities.chat
    assert demo.capabilities.tools
    assert not demo.is_closed
    assert demo.default_options["temperature"] == 0.2
    assert repr(demo).startswith("Model(name='")
    assert demo.description == "llama 1.9M F16"
    assert demo.description in repr(demo)


def test_placement_includes_all_weights(demo):
    devices = demo.placement.devices
    assert devices[-1].name == "CPU"
    assert sum(share.weights for share in devices) >= demo.size
    assert all(share.kv >= 0 and share.compute >= 0 for share in devices)
    assert "DeviceShare(name='CPU', layers=" in repr(demo.placement)


def test_generate(demo):
    options = {"max_tokens": 5, "temperature": 0, "ignore_eos": True}
    completion = demo.generate("The capital of France is", **options)
    assert isinstance(completion, mullama.Completion)
    assert str(completion) == completion.text
    assert completion.finish_reason == "length"
    assert demo.detokenize(completion.tokens, skip_special=True) == completion.text
    usage = completion.usage
    assert usage.prompt_tokens == demo.count_tokens("The capital of France is")
    assert usage.completion_tokens == len(completion.tokens) == 5
    assert 0 <= usage.cached_tokens <= usage.prompt_tokens
    timings = completion.timings
    assert 0 < timings.first_token_ms <= timings.total_ms
    assert completion.logprobs is None
    assert completion.to_dict()["usage"]["completion_tokens"] == 5
    json.dumps(completion.to_dict())
    assert repr(completion).startswith(f"Completion(text={completion.text!r}, ")


def test_a_prompt_is_text_or_tokens(demo):
    options = {"max_tokens": 6, "temperature": 0}
    text = "The capital of Japan is"
    tokens = demo.tokenize(text, parse_special=True)
    expected = demo.generate(text, **options).tokens
    for prompt in (tokens, tuple(tokens), iter(tokens), (token for token in tokens)):
        assert demo.generate(prompt, **options).tokens == expected


def test_options_accept_python_numbers(demo):
    """Integers as keys and floats, None for the default, objects like NumPy's."""

    class Scalar:
        def __init__(self, value):
            self.value = value

        def __index__(self):
            return self.value

    class Single:
        def __float__(self):
            return 0.0

    class Array:
        def tolist(self):
            return [",", "."]

    completion = demo.generate(
        "One, two",
        max_tokens=Scalar(3),
        temperature=Single(),
        stop=Array(),
        logit_bias={5: -1, 6: False, 7: 0.5},
        seed=None,
        top_p=1,
    )
    assert len(completion.tokens) <= 3


def test_a_seed_gives_the_same_text(demo):
    options = {"max_tokens": 12, "temperature": 1.5, "seed": 7}
    first = demo.generate("Once upon a time", **options)
    again = demo.generate("Once upon a time", **options)
    assert again.tokens == first.tokens
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1


def test_reproducible_results_are_bitwise_equal(demo):
    options = {
        "max_tokens": 12,
        "temperature": 1.5,
        "seed": 7,
        "logprobs": 0,
        "reproducible": True,
    }
    first = demo.generate("Once upon a time", **options)
    demo.generate("Once upon a hill", max_tokens=3)
    again = demo.generate("Once upon a time", **options)
    assert again.usage.cached_tokens == 0
    assert [it.logprob for it in again.logprobs] == [it.logprob for it in first.logprobs]


def test_stream_gives_the_same_as_generate(demo):
    options = {"max_tokens": 20, "temperature": 0}
    expected = demo.generate("The capital of Spain is", **options)
    stream = demo.stream("The capital of Spain is", **options)
    assert iter(stream) is stream
    assert stream.completion is None
    chunks = list(stream)
    assert "".join(chunk.text for chunk in chunks) == expected.text
    assert "".join(map(str, chunks)) == expected.text
    assert all(chunk.completion is None for chunk in chunks[:-1])
    assert chunks[-1].completion.tokens == expected.tokens
    assert stream.completion.tokens == expected.tokens
    assert list(stream) == []


def test_logprobs(demo):
    options = {"max_tokens": 4, "temperature": 0, "logprobs": 3, "reproducible": True}
    completion = demo.generate("The capital of France is", **options)
    assert [entry.token for entry in completion.logprobs] == completion.tokens
    first = completion.logprobs[0]
    assert len(first.top) == 3
    assert first.top[0].token == first.token
    assert first.top[0].logprob == first.logprob <= 0
    assert "TopLogprob(token=" in repr(first)
    chunks = list(demo.stream("The capital of France is", **options))
    streamed = [entry for chunk in chunks for entry in chunk.logprobs or []]
    assert streamed == completion.logprobs


def test_json_schema_and_grammar(demo):
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
    completion = demo.generate("JSON:", json_schema=schema, max_tokens=40, temperature=0)
    assert json.loads(completion.text)["a"] in (1, 2)
    completion = demo.generate("Yes or no?", grammar='root ::= "yes" | "no"')
    assert completion.text in ("yes", "no")


def test_cancelling_a_stream(demo):
    stream = demo.stream("One, two, three,", ignore_eos=True, temperature=0)
    next(stream)
    stream.cancel()
    *_, last = stream
    assert last.completion.finish_reason == "cancelled"
    assert stream.completion.text


def test_closing_a_stream(demo):
    with demo.stream("One, two, three,", ignore_eos=True) as stream:
        next(stream)
    assert list(stream) == []
    assert stream.completion is None


def test_dropping_a_stream_cancels_it():
    with Model("demo", n_parallel=1, n_threads=1) as model:
        stream = model.stream("One, two,", ignore_eos=True)
        next(stream)
        del stream
        gc.collect()
        # The only sequence is free again.
        assert model.generate("One, two,", max_tokens=2).usage.completion_tokens <= 2


def test_chat(demo):
    answer = demo.chat([USER], temperature=0)
    assert isinstance(answer, mullama.ChatCompletion)
    assert isinstance(answer, mullama.Completion)
    assert "Paris" in answer.text
    assert str(answer) == answer.text == answer.message.content
    assert answer.message.role == "assistant"
    assert answer.message.tool_calls == []
    assert answer.message.reasoning is None
    assert answer.to_dict()["message"] == answer.message.to_dict()
    assert repr(answer).startswith("ChatCompletion(message=Message({")


def test_chat_history_is_rendered(demo):
    messages = [USER]
    answer = demo.chat(messages, temperature=0)
    messages += [answer.message, {"role": "user", "content": "And of Italy?"}]
    prompt = demo.apply_chat_template(messages)
    assert answer.text in prompt
    assert prompt.endswith("<|im_start|>assistant\n")
    assert not demo.apply_chat_template(messages, add_generation_prompt=False).endswith(
        "assistant\n"
    )
    assert demo.chat(messages, temperature=0).usage.prompt_tokens == demo.count_tokens(prompt)


def test_stream_chat_gives_the_same_as_chat(demo):
    expected = demo.chat([USER], temperature=0)
    stream = demo.stream_chat([USER], temperature=0)
    chunks = list(stream)
    assert "".join(map(str, chunks)) == expected.text
    assert chunks[-1].completion.message == expected.message == stream.completion.message
    assert all(chunk.reasoning == "" and chunk.tool_calls == [] for chunk in chunks)


def test_tools(demo):
    question = {"role": "user", "content": "What is the weather in Paris?"}
    answer = demo.chat([question], tools=[WEATHER], temperature=0)
    assert answer.finish_reason == "tool_calls"
    [call] = answer.message.tool_calls
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments).keys() == {"city"}
    assert "FunctionCall(name='get_weather'" in repr(call)
    result = {"role": "tool", "tool_call_id": call.id, "content": '{"temperature": 18}'}
    messages = [question, answer.message, result]
    assert "18" in demo.chat(messages, tools=[WEATHER], temperature=0).text

    deltas = [
        delta
        for chunk in demo.stream_chat([question], tools=[WEATHER], temperature=0)
        for delta in chunk.tool_calls
    ]
    assert deltas[0].name == "get_weather"
    assert deltas[0].id
    assert "".join(delta.arguments for delta in deltas) == call.function.arguments
    assert {delta.index for delta in deltas} == {0}


def test_messages_behave_like_dicts(demo):
    message = demo.chat([USER], temperature=0).message
    plain = {"role": "assistant", "content": message.content}
    assert dict(message) == plain == message.to_dict()
    assert message["content"] == message.content
    assert message.get("tool_calls") is None
    assert message.get("tool_calls", []) == []
    assert "role" in message
    assert "tool_calls" not in message
    assert len(message) == 2
    assert sorted(message) == ["content", "role"]
    assert sorted(message.keys()) == ["content", "role"]
    with pytest.raises(KeyError, match="tool_calls"):
        message["tool_calls"]
    assert str(message) == message.content
    assert message == Message.from_dict(plain)
    assert copy.deepcopy(message) == message
    assert pickle.loads(pickle.dumps(message)) == message
    with pytest.raises(AttributeError):
        message.content = "x"
    with pytest.raises(InvalidArgumentError, match="role"):
        Message.from_dict({"content": "x"})


def test_tokens(demo):
    text = "Zażółć 🙂 <|im_end|>"
    for parse_special in (False, True):
        tokens = demo.tokenize(text, add_special=False, parse_special=parse_special)
        assert demo.detokenize(tokens) == text
    assert demo.tokenize(text, False, True) == tokens
    assert demo.detokenize(tokens, True) == "Zażółć 🙂 "
    assert demo.tokenize("", add_special=False) == []
    assert demo.detokenize([]) == ""
    assert demo.count_tokens("Hello") == len(demo.tokenize("Hello", parse_special=True))


def test_a_path_is_a_string_or_pathlike(demo, tmp_path):
    link = tmp_path / "modèle de démonstration.gguf"
    link.symlink_to(demo.path)
    for source in (link, str(link), os.fsencode(link)):
        with Model(source, vocab_only=True) as model:
            assert model.path == str(link)
            assert model.tokenize("Hello") == demo.tokenize("Hello")


@pytest.mark.skipif(sys.platform == "win32", reason="HOME is no home folder there")
def test_a_path_may_begin_at_the_home_folder(demo, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m.gguf").symlink_to(demo.path)
    for source in ("~/m.gguf", Path("~/m.gguf"), b"~/m.gguf"):
        with Model(source, vocab_only=True) as model:
            assert model.path == str(tmp_path / "m.gguf")
    assert mullama.plan("~/m.gguf").fits
    state = demo.save_state("Hello", "~/state")
    assert (tmp_path / "state").read_bytes() == state
    assert demo.load_state(Path("~/state"))
    with pytest.raises(mullama.NotFoundError, match=str(tmp_path)):
        demo.set_lora("~/none.gguf")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text there")
def test_paths_that_are_not_utf8_are_rejected(demo, tmp_path):
    link = os.fsencode(tmp_path) + b"/caf\xe9 \xff.gguf"
    os.symlink(demo.path, link)
    for source in (link, os.fsdecode(link), Path(os.fsdecode(link))):
        for call in (Model, mullama.plan):
            with pytest.raises(InvalidArgumentError, match="UTF-8"):
                call(source)
    with pytest.raises(mullama.NotFoundError):
        Model(link + b"x.gguf")
    with pytest.raises(InvalidArgumentError):
        demo.set_lora(os.fsdecode(link))


def test_loading_options():
    with Model("demo", context_size=512, n_threads=1, n_parallel=1, n_gpu_layers=0) as model:
        assert model.context_size == 512
        assert model.gpu_layers == 0


def test_progress():
    heard = []
    Model("demo", progress=heard.append).close()
    assert heard[-1] == 1.0
    assert heard == sorted(heard)
    assert 0 <= heard[0] <= 1


def test_close():
    model = Model("demo", n_threads=1)
    stream = model.stream("One,", ignore_eos=True)
    next(stream)
    model.close()
    model.close()
    assert model.is_closed
    assert "is_closed=True" in repr(model)
    assert model.architecture == "llama"
    *_, last = stream
    assert last.completion.finish_reason == "cancelled"
    calls = [
        lambda: model.generate("x"),
        lambda: model.stream("x"),
        lambda: model.chat([USER]),
        lambda: model.tokenize("x"),
        lambda: model.detokenize([1]),
        lambda: model.count_tokens("x"),
        lambda: model.apply_chat_template([USER]),
        lambda: model.default_options,
    ]
    for call in calls:
        with pytest.raises(ClosedError):
            call()


def test_a_with_block_closes_and_lets_exceptions_through():
    with pytest.raises(ZeroDivisionError), Model("demo", vocab_only=True) as model:
        raise ZeroDivisionError
    assert model.is_closed


def test_models_can_be_subclassed():
    class Mine(Model):
        def ask(self, question):
            return str(self.chat([{"role": "user", "content": question}], temperature=0))

    with Mine("demo", n_threads=1) as model:
        assert "Paris" in model.ask(USER["content"])
        assert repr(model).startswith("Mine(")
        reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def test_the_gil_is_released(demo):
    """Python threads continue while the engine computes."""
    ticks = 0
    done = threading.Event()

    def tick():
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    started = time.perf_counter()
    demo.generate("One, two,", max_tokens=200, ignore_eos=True)
    took = time.perf_counter() - started
    done.set()
    thread.join()
    assert ticks > 20 * took


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize(
    "call",
    [
        "model.generate('One,', ignore_eos=True)",
        "model.chat([{'role': 'user', 'content': 'One,'}], ignore_eos=True)",
        "list(model.stream('One,', ignore_eos=True))",
        "list(model.stream_chat([{'role': 'user', 'content': 'One,'}], ignore_eos=True))",
    ],
)
def test_ctrl_c(call, python):
    script = f"""
import os, signal, threading, time
from mullama import Model
# Long enough to be interrupted, however fast the machine.
model = Model('demo', context_size=60000, n_threads=1)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    {call}
except KeyboardInterrupt:
    print('interrupted')
# The request is gone, and the model goes on.
print(model.generate('One,', max_tokens=1).usage.completion_tokens)
"""
    done = python(script)
    assert done.stdout.split() == ["interrupted", "1"], done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("function", ["Model", "plan"])
def test_ctrl_c_ends_the_wait_for_a_worker(function, python):
    script = f"""
import os, signal, socket, threading
from mullama import Model, plan
os.environ['MULLAMA_RPC_TIMEOUT'] = '1000'
# It accepts connections and sends nothing.
silent = socket.create_server(('127.0.0.1', 0))
address = '127.0.0.1:%d' % silent.getsockname()[1]
threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    {function}('demo', rpc_servers=[address], n_gpu_layers=-1)
except KeyboardInterrupt:
    print('interrupted')
"""
    done = python(script)
    assert done.stdout.split() == ["interrupted"], done.stderr


def test_gpu_functions():
    devices = gpu.devices()
    assert devices[-1].kind == "cpu"
    assert devices[-1].memory_total >= devices[-1].memory_free > 0
    assert devices[-1].kernels.startswith(("mullama's, with ", "the engine's: "))
    assert all(device.kernels is None for device in devices if device.kind != "cpu")
    assert any(backend.name == "cpu" and backend.loaded for backend in gpu.backends())
    assert all(backend.loaded or backend.reason for backend in gpu.backends())
    kinds = {device.backend for device in devices}
    for name in ("cuda", "metal", "rocm", "vulkan", "opencl", "sycl"):
        assert getattr(gpu, f"{name}_available")() is (name in kinds)
    assert gpu.cuda_device_count() == sum(device.backend == "cuda" for device in devices)
    assert gpu.rocm_device_count() == sum(device.backend == "rocm" for device in devices)
    assert gpu.cuda_memory_info(99) == (0, 0)
    assert repr(devices[-1]).startswith("Device(name='CPU', ")


def test_the_engine_comes_from_the_package():
    """Neither from a build tree nor from the system."""
    if os.environ.get("MULLAMA_BACKENDS"):
        pytest.skip("MULLAMA_BACKENDS names another folder")
    package = os.path.dirname(os.path.realpath(mullama.__file__))
    paths = {backend.name: os.path.realpath(backend.path) for backend in gpu.backends()}
    for name in ("cpu", "rpc"):
        assert paths[name].startswith(package + os.sep)


def test_importing_is_cheap(python):
    script = "import sys, mullama; print({'asyncio', 'json', 'pathlib', 'typing'} & {*sys.modules})"
    done = python(script)
    assert done.stdout.strip() == "set()", done.stderr


def test_repeated_prompts_use_the_prefix_cache():
    with Model("demo", n_threads=1) as model:
        first = model.generate("The capital of France is", temperature=0)
        again = model.generate("The capital of France is", temperature=0)
        assert (first.usage.cached_tokens, first.text) == (0, again.text)
        assert again.usage.cached_tokens == again.usage.prompt_tokens - 1
        stats = model.stats()
        assert (stats.finished, stats.running, stats.waiting) == (2, 0, 0)
        assert stats.cached_tokens == again.usage.cached_tokens
        assert "kv_used=" in repr(stats)
        assert stats.kv_kept == stats.kv_used > 0
    with Model("demo", context_size=60_000, n_threads=1) as model:
        late = model.generate("Once", timeout=0.1, ignore_eos=True, temperature=0)
        assert late.finish_reason == "cancelled"
