"""The caller's say in the choice of tokens: order of samplers, banned phrases, own processors."""

import asyncio
import math
import threading

import pytest
from mullama import AsyncModel, InvalidArgumentError, Model, errors

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = {"temperature": 0, "max_tokens": 24}


def test_the_order_of_samplers(demo):
    options = {**GREEDY, "repeat_penalty": 1e6, "repeat_last_n": -1, "top_k": 1, "ignore_eos": True}
    text = "One two one two one two"
    plain = demo.generate(text, **GREEDY, ignore_eos=True).tokens
    assert demo.generate(text, samplers=["top_k", "penalties"], **options).tokens == plain
    assert demo.generate(text, samplers=["penalties", "top_k"], **options).tokens != plain
    with pytest.raises(InvalidArgumentError, match=r"expected one of `penalties`, .* not `top_kk`"):
        demo.generate(text, samplers=["top_kk"])
    with pytest.raises(InvalidArgumentError, match="twice"):
        demo.generate(text, samplers=["top_k", "top_k"])
    assert demo.generate(text, adaptive_p=0.3, samplers=["min_p"], seed=1, max_tokens=4).tokens


def test_banned_phrases(demo):
    phrases = ["Paris", "capital of"]
    answer = demo.chat(QUESTION, **GREEDY, banned_phrases=phrases)
    assert not any(phrase in answer.text for phrase in phrases)
    chunks = list(demo.stream_chat(QUESTION, **GREEDY, banned_phrases=phrases))
    assert "".join(chunk.text for chunk in chunks) == answer.text
    with pytest.raises(InvalidArgumentError, match="banned_phrases"):
        demo.chat(QUESTION, banned_phrases=[""])


def test_a_processor_sees_the_tokens_and_changes_the_logits(demo):
    plain = demo.chat(QUESTION, **GREEDY)
    seen = []

    def process(tokens, logits):
        seen.append(tokens)
        assert (logits.format, logits.itemsize, len(logits)) == ("f", 4, demo.n_vocab)
        assert not logits.readonly
        logits[plain.tokens[0]] = -math.inf

    answer = demo.chat(QUESTION, **GREEDY, logits_processors=process)
    assert plain.tokens[0] not in answer.tokens
    assert len(seen) == len(answer.tokens)
    assert seen[-1][-len(answer.tokens) + 1 :] == answer.tokens[:-1]
    assert demo.chat(QUESTION, **GREEDY, logits_processors=None).tokens == plain.tokens
    # In streams, in turn, and in conversations.
    stream = demo.stream_chat(QUESTION, **GREEDY, logits_processors=[process, process])
    assert "".join(chunk.text for chunk in stream) == answer.text
    chat = demo.start_chat(**GREEDY, logits_processors=process)
    assert chat.send(QUESTION[0]["content"]).text == answer.text


def test_numpy_shares_the_buffer(demo):
    numpy = pytest.importorskip("numpy")
    plain = demo.chat(QUESTION, **GREEDY)

    def process(tokens, logits):
        array = numpy.asarray(logits)
        assert array.dtype == numpy.float32
        array[plain.tokens[0]] = -numpy.inf

    answer = demo.chat(QUESTION, **GREEDY, logits_processors=process)
    assert plain.tokens[0] not in answer.tokens


def test_the_buffer_is_invalid_after_the_call(demo):
    kept = []
    demo.generate("Once", max_tokens=1, logits_processors=lambda _, logits: kept.append(logits))
    with pytest.raises(ValueError, match="released"):
        kept[0][0] = 1.0

    # A slice, or an array, would stay alive.
    with pytest.raises(errors.CallbackError) as raised:
        demo.generate(
            "Once", max_tokens=2, logits_processors=lambda _, logits: kept.append(logits[1:])
        )
    assert isinstance(raised.value.__cause__, BufferError)


def test_an_exception_ends_that_request_alone(demo):
    calls = []

    def fails(tokens, logits):
        calls.append(tokens)
        if len(calls) == 3:
            raise KeyError("on purpose")

    beside = demo.stream("Once upon a time", temperature=0, max_tokens=30, ignore_eos=True)
    next(beside)
    with pytest.raises(errors.CallbackError, match="on purpose") as raised:
        demo.generate("Once upon a time", ignore_eos=True, logits_processors=fails)
    assert raised.value.kind == "Callback"
    assert isinstance(raised.value, RuntimeError)
    assert repr(raised.value.__cause__) == "KeyError('on purpose')"
    assert len(calls) == 3
    list(beside)
    assert len(beside.completion.tokens) == 30


def test_invalid_logits_of_processors_are_errors(demo):
    def fill(value):
        def process(tokens, logits):
            for index in range(len(logits)):
                logits[index] = value

        return process

    for value, problem in [(math.nan, "NaN"), (-math.inf, "forbids every"), (math.inf, "inf")]:
        with pytest.raises(errors.CallbackError, match=problem):
            demo.generate("Once", logits_processors=fill(value))
    with pytest.raises(errors.CallbackError) as raised:
        demo.generate("Once", logits_processors=lambda tokens, logits: logits)
    assert isinstance(raised.value.__cause__, TypeError)
    for wrong in (3, "text", [None], {"a": 1}):
        with pytest.raises(InvalidArgumentError, match="logits_processors"):
            demo.generate("Once", logits_processors=wrong)


def test_a_processor_cannot_ask_its_own_model(demo):
    def asks(tokens, logits):
        demo.generate("Once", max_tokens=1)

    with pytest.raises(errors.CallbackError) as raised:
        demo.generate("Once", logits_processors=asks)
    assert isinstance(raised.value.__cause__, errors.UnsupportedError)


def test_closing_while_a_processor_runs():
    model = Model("demo", n_threads=1)
    running = threading.Event()
    stream = model.stream(
        "Once", ignore_eos=True, logits_processors=lambda tokens, logits: running.set()
    )
    next(stream)
    assert running.is_set()
    model.close()


def test_async_processors():
    async def main():
        async with await AsyncModel.load("demo", n_threads=1) as model:
            plain = await model.chat(QUESTION, **GREEDY)

            def process(tokens, logits):
                logits[plain.tokens[0]] = -math.inf

            answer = await model.chat(QUESTION, **GREEDY, logits_processors=process)
            assert plain.tokens[0] not in answer.tokens

    asyncio.run(main())
