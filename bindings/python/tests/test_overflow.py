"""What happens when the context is full."""

import asyncio

import mullama
import pytest
from mullama import AsyncModel, Model

SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
LAST = "What is the capital of France?"


def a_conversation(turns):
    messages = [SYSTEM]
    for turn in range(turns):
        question = f"This is number {turn}. What is the capital of Italy?"
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": "The capital of Italy is Rome."})
    return messages


@pytest.fixture(scope="module")
def model():
    with Model("demo", context_size=256, n_threads=1) as model:
        yield model


def test_the_oldest_turns_are_left_out(model):
    messages = [*a_conversation(20), {"role": "user", "content": LAST}]
    with pytest.raises(mullama.ContextOverflowError) as refused:
        model.chat(messages)
    assert "`truncate`" in refused.value.hint
    answer = model.chat(messages, overflow="truncate", temperature=0, max_tokens=20)
    assert answer.text == "The capital of France is Paris."
    dropped = answer.usage.dropped_messages
    assert dropped > 0
    assert dropped % 2 == 0
    whole = model.apply_chat_template(messages)
    left = model.apply_chat_template(messages, overflow="truncate", max_tokens=20)
    assert left == model.apply_chat_template([SYSTEM, *messages[1 + dropped :]])
    whole, left = (model.tokenize(text, parse_special=True) for text in (whole, left))
    fewer = len(whole) - len(left)
    assert answer.usage.dropped_tokens == fewer
    chat = model.start_chat(messages=messages[:-1], overflow="truncate", temperature=0)
    assert chat.send(LAST, max_tokens=20).usage.dropped_messages == dropped
    assert len(chat.messages) == len(messages) + 1


def test_a_summary_replaces_the_oldest_turns(model):
    seen = []

    def summarize(messages):
        seen.append(messages)
        return f"{len(messages)} messages"

    history = a_conversation(20)
    options = {"temperature": 0, "max_tokens": 20, "overflow": "compact"}
    chat = model.start_chat(messages=history, compact=summarize, **options)
    answer = chat.send(LAST)
    assert answer.text == "The capital of France is Paris."
    (old,) = seen
    assert answer.usage.dropped_messages == len(old)
    assert old == history[1 : 1 + len(old)]
    assert chat.messages[0] == SYSTEM
    assert chat.messages[2] == {"role": "assistant", "content": f"{len(old)} messages"}
    assert chat.messages[3:-2] == history[1 + len(old) :]
    # A stream, and the model's own summary.
    chat = model.start_chat(messages=history, **options)
    with chat.stream(LAST) as turn:
        text = "".join(chunk.text for chunk in turn)
    assert turn.completion.text == text
    assert turn.completion.usage.dropped_messages > 0
    assert len(chat.messages) < 41
    assert chat.messages[1]["content"].startswith("Summarize")
    # Nothing changes if the function fails.
    chat = model.start_chat(messages=history, compact=lambda _: 1 / 0, **options)
    with pytest.raises(ZeroDivisionError):
        chat.send(LAST)
    assert chat.messages == history
    with pytest.raises(mullama.InvalidArgumentError, match="compact"):
        model.start_chat(compact="yes")
    with pytest.raises(mullama.InvalidArgumentError, match="overflow"):
        model.chat(history, overflow="compact")


def test_summaries_are_awaited():
    history = a_conversation(20)
    options = {"temperature": 0, "max_tokens": 20, "overflow": "compact", "messages": history}

    async def summarize(messages):
        await asyncio.sleep(0.01)
        return f"{len(messages)} messages"

    async def main():
        async with await AsyncModel.load("demo", context_size=256, n_threads=1) as model:
            chat = model.start_chat(compact=summarize, **options)
            assert (await chat.send(LAST)).text == "The capital of France is Paris."
            assert chat.messages[2]["content"].endswith(" messages")
            for compact in (summarize, None):
                chat = model.start_chat(compact=compact, **options)
                turn = chat.stream(LAST)
                text = "".join([chunk.text async for chunk in turn])
                assert text == "The capital of France is Paris." or compact is None
                assert turn.completion.usage.dropped_messages > 0
            # One that is never read changes nothing.
            chat = model.start_chat(compact=summarize, **options)
            turn = chat.stream(LAST)
            turn.cancel()
            await turn.close()
            assert chat.messages == history

    asyncio.run(main())


def test_a_text_continues_beyond_the_context(model):
    options = {"temperature": 0, "ignore_eos": True, "max_tokens": 600}
    answer = model.generate("Once upon a time", overflow="shift", **options)
    assert len(answer.tokens) == 600
    assert answer.usage.dropped_tokens > 256
    stream = model.stream("Once upon a time", overflow="shift", **options)
    assert "".join(chunk.text for chunk in stream) == answer.text
    stopped = model.generate("Once upon a time", **options)
    assert stopped.stop_reason.kind == "context_size"
    assert answer.tokens[: len(stopped.tokens)] == stopped.tokens
