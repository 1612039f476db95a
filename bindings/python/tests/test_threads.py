"""Many concurrent threads with one model get the same results as each of them alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from mullama import ClosedError, ContextOverflowError, Model

PROMPTS = [f"The capital of {country} is" for country in ("France", "Spain", "Italy", "Japan")]
QUESTIONS = [[{"role": "user", "content": f"What is {n} + 2?"}] for n in range(4)]
GREEDY = {"temperature": 0, "max_tokens": 16}


def at_once(work, count):
    """Runs `work(0)` to `work(count - 1)` on threads that start simultaneously."""
    # Without enough memory, not all of them start.
    barrier = threading.Barrier(count, timeout=60)

    def start(index):
        barrier.wait()
        return work(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def test_concurrent_generations_match_single_ones():
    with Model("demo", n_threads=1) as model:
        alone = [model.generate(prompt, **GREEDY) for prompt in PROMPTS]
        chats = [model.chat(messages, **GREEDY) for messages in QUESTIONS]

        def work(index):
            prompt, messages = PROMPTS[index % 4], QUESTIONS[index % 4]
            if index % 3 == 0:
                return model.generate(prompt, **GREEDY).text == alone[index % 4].text
            if index % 3 == 1:
                text = "".join(chunk.text for chunk in model.stream(prompt, **GREEDY))
                return text == alone[index % 4].text
            return model.chat(messages, **GREEDY).text == chats[index % 4].text

        assert at_once(work, 24) == [True] * 24


def test_seeds_are_unaffected_by_other_requests():
    with Model("demo", n_threads=1) as model:
        options = {"seed": 11, "max_tokens": 16}
        alone = model.generate("Once upon a time", **options).tokens

        def work(index):
            seed = 11 if index % 2 == 0 else index
            return model.generate("Once upon a time", seed=seed, max_tokens=16).tokens

        assert at_once(work, 12)[::2] == [alone] * 6


def test_one_stream_read_by_many_threads():
    with Model("demo", n_threads=1) as model:
        options = {"max_tokens": 60, "temperature": 0, "ignore_eos": True, "logprobs": 0}
        alone = model.generate("One, two,", **options)
        stream = model.stream("One, two,", **options)
        shares = at_once(lambda _: list(stream), 4)
        tokens = [one.token for share in shares for chunk in share for one in chunk.logprobs or []]
        assert sorted(tokens) == sorted(alone.tokens)
        assert stream.completion.tokens == alone.tokens


def test_tokenizing_on_many_threads():
    with Model("demo", vocab_only=True) as model:
        texts = [f"Text number {n}: Zażółć 🙂" for n in range(16)]
        tokens = [model.tokenize(text, add_special=False) for text in texts]

        def work(index):
            return all(
                model.tokenize(texts[index], add_special=False) == tokens[index]
                and model.detokenize(tokens[index]) == texts[index]
                for _ in range(50)
            )

        assert all(at_once(work, 16))


def test_closing_under_load():
    model = Model("demo", n_threads=1)

    def work(index):
        if index == 0:
            model.close()
            return "closed"
        try:
            return model.generate("One,", ignore_eos=True).finish_reason
        except ClosedError:
            return "closed"

    outcomes = at_once(work, 8)
    assert {*outcomes} <= {"closed", "cancelled", "length"}
    assert model.is_closed


def test_models_loaded_and_dropped_on_many_threads():
    def work(index):
        with Model("demo", context_size=256, n_threads=1) as model:
            return model.generate("x", max_tokens=1 + index).usage.completion_tokens > 0

    assert all(at_once(work, 6))


RUNS = [" ", "a", "-", "7", "\u4e2d", "\U0001f600", "\n"]


@pytest.mark.parametrize("pre", ["gpt-4o", "deepseek-v3", "llama4", "default"])
def test_long_runs_need_no_large_stack(pre):
    """Text of one class of characters, over which the engine's expressions recurse."""
    options = {"metadata_overrides": {"tokenizer.ggml.pre": pre}, "context_size": 256}
    with Model("demo", n_threads=1, **options) as model:

        def use(run):
            text = run * 60_000
            tokens = model.tokenize(text, add_special=False)
            assert model.detokenize(tokens) == text
            message = {"role": "user", "content": text}
            for call in (
                lambda: model.generate(text),
                lambda: list(model.stream(text)),
                lambda: model.chat([message]),
                lambda: list(model.stream_chat([message])),
                lambda: model.start_chat().send(text),
                lambda: model.embed(text),
            ):
                with pytest.raises(ContextOverflowError):
                    call()
            assert len(model.embed(text, truncate="end")) == 1

        size = threading.stack_size(256 << 10)
        try:
            at_once(lambda index: use(RUNS[index]), len(RUNS))
        finally:
            threading.stack_size(size)
