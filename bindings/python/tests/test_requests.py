"""Information about requests: why they ended, their progress, their constraints."""

import copy
import json
import pickle
import re
import threading
import time

import mullama
import pytest
from mullama import Model

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
ENDLESS = {"temperature": 0, "ignore_eos": True}


def test_stop_reason_is_reported(demo):
    done = demo.chat(QUESTION, temperature=0).stop_reason
    assert (done.kind, done.text) == ("end_token", "<|im_end|>")
    assert done.token == demo.chat(QUESTION, temperature=0).tokens[-1]
    stopped = demo.generate("The capital of", stop=[" is"], **ENDLESS)
    assert (stopped.finish_reason, stopped.stop_reason.kind) == ("stop", "stop_text")
    assert (stopped.stop_reason.text, stopped.stop_reason.token) == (" is", None)
    limited = demo.generate("The capital of", max_tokens=2, **ENDLESS)
    assert (limited.finish_reason, limited.stop_reason.kind) == ("length", "max_tokens")
    late = demo.generate("The capital of", timeout=0.05, **ENDLESS)
    assert (late.finish_reason, late.stop_reason.kind) == ("cancelled", "timeout")
    assert pickle.loads(pickle.dumps(stopped)).stop_reason == stopped.stop_reason
    assert copy.copy(done) == done
    assert stopped.to_dict()["stop_reason"] == {"kind": "stop_text", "text": " is", "token": None}


def test_max_tokens_zero_computes_only_the_prompt(demo):
    prompt = "The capital of France is what many people know. " * 6
    none = demo.generate(prompt, max_tokens=0, temperature=0)
    assert (none.text, none.tokens, none.finish_reason) == ("", [], "length")
    again = demo.generate(prompt, max_tokens=1, temperature=0)
    assert again.usage.cached_tokens >= none.usage.prompt_tokens - 1


def test_chats_have_log_probabilities_with_bytes(demo):
    whole = demo.chat(QUESTION, temperature=0, logprobs=1)
    *_, last = chunks = list(demo.stream_chat(QUESTION, temperature=0, logprobs=1))
    streamed = [token for chunk in chunks for token in chunk.logprobs or ()]
    assert streamed == last.completion.logprobs
    assert b"".join(token.bytes for token in streamed).decode() == whole.text + "<|im_end|>"
    assert isinstance(streamed[0].top[0].bytes, bytes)
    assert json.dumps(whole.to_dict())


def test_texts_follow_regular_expressions_and_lark_grammars(demo):
    date = demo.generate("Date: ", regex=r"\d{4}-\d{2}-\d{2}", temperature=1.5, seed=1).text
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", date)
    lark = 'start: "x" NUMBER+\nNUMBER: /[0-9]{2}/\n'
    text = demo.chat(QUESTION, lark=lark, max_tokens=12, temperature=1.5, seed=1).text
    assert re.fullmatch(r"x(\d\d)*\d?", text)
    with pytest.raises(mullama.InvalidGrammarError, match="regular expression"):
        demo.generate("x", regex="(")
    with pytest.raises(mullama.InvalidGrammarError, match="Lark grammar"):
        demo.generate("x", lark="start: (")
    with pytest.raises(mullama.InvalidArgumentError, match="regex"):
        demo.generate("x", regex="a", grammar='root ::= "a"')


def test_infill_uses_the_fim_tokens():
    names = ("fim_pre", "fim_suf", "fim_mid")
    ids = {f"tokenizer.ggml.{name}_token_id": 300 + at for at, name in enumerate(names)}
    with Model("demo", metadata_overrides=ids, n_threads=1) as model:
        prompt = [300, *model.tokenize("a = ", add_special=False), 301]
        prompt += [*model.tokenize("\nprint(a)", add_special=False), 302]
        options = {"max_tokens": 4, **ENDLESS}
        expected = model.generate(prompt, **options).tokens
        assert model.infill("a = ", "\nprint(a)", **options).tokens == expected
        stream = model.stream("a = ", infill_suffix="\nprint(a)", **options)
        assert list(stream)[-1].completion.tokens == expected


def test_infill_needs_fim_tokens(demo):
    with pytest.raises(mullama.UnsupportedError, match="middle"):
        demo.infill("a", "b")


def test_full_queues_reject_requests():
    with Model("demo", n_parallel=1, max_queue=0, n_threads=1) as model:
        stream = model.stream("The capital of", **ENDLESS)
        next(stream)
        with pytest.raises(mullama.BusyError, match="wait") as refused:
            model.generate("x")
        assert isinstance(refused.value, RuntimeError)
        assert refused.value.context["max_queue"] == "0"
        stream.cancel()


def test_requests_are_listed_and_cancelled():
    with Model("demo", n_parallel=1, n_threads=1) as model:
        first = model.stream("The capital of", request_id="mine", client="me", **ENDLESS)
        next(first)
        answers = []
        second = threading.Thread(
            target=lambda: answers.append(model.generate("x", priority=2, **ENDLESS))
        )
        second.start()
        while len(model.requests()) < 2:
            time.sleep(0.01)
        one, other = model.requests()
        assert (one.id, one.client, one.state) == ("mine", "me", "generating")
        assert (other.priority, other.state, other.client) == (2, "waiting", None)
        assert model.cancel_request("mine")
        assert list(first)[-1].completion.stop_reason.kind == "cancelled"
        assert model.cancel_request(other.id)
        second.join()
        assert answers[0].stop_reason.kind == "cancelled"
        assert not model.cancel_request("mine")


def test_streams_report_prompt_progress():
    prompt = "The capital of France is what many people know. " * 20
    with Model("demo", batch_size=64, ubatch_size=64, n_threads=1) as model:
        chunks = list(model.stream(prompt, prompt_progress=True, max_tokens=2))
    told = [chunk.progress for chunk in chunks if chunk.progress is not None]
    assert len(told) > 2
    assert [it.computed for it in told] == sorted(it.computed for it in told)
    assert told[-1].computed == told[-1].total == chunks[-1].completion.usage.prompt_tokens
