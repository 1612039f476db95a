"""LoRA adapters, saved states, prompt lookup and finishing before closing."""

import asyncio
from pathlib import Path

import mullama
import pytest
from conftest import ROOT, USER
from mullama import AsyncModel, Model

PROMPT = "The quick brown fox"
GREEDY = {"temperature": 0, "ignore_eos": True, "max_tokens": 24}


@pytest.fixture(scope="module")
def adapters(testkit, tmp_path_factory):
    """Two adapters for the demo model, strong enough to change its output."""
    folder = tmp_path_factory.mktemp("adapters")
    for seed in (1, 2):
        testkit("adapter", ROOT / "models/demo/demo.gguf", folder / f"{seed}.gguf", seed)
    return [folder / "1.gguf", folder / "2.gguf"]


def test_adapters_of_a_request(demo, adapters):
    def tokens(**options):
        return demo.generate(PROMPT, **GREEDY, **options).tokens

    plain, first = tokens(), tokens(lora=adapters[0])
    assert first != plain
    assert tokens(lora=[]) == plain
    assert tokens(lora=str(adapters[0])) == first
    assert tokens(lora=[(adapters[0], 1.0)]) == first
    assert tokens(lora=[(adapters[0], 0.5), (adapters[0], 0.5)]) == first
    assert tokens(lora=[str(adapters[0]), (adapters[1], -1)]) not in (plain, first)


def test_adapters_of_a_model(adapters):
    with Model("demo", n_threads=1, lora=[(adapters[0], 1)]) as model:
        first = model.generate(PROMPT, **GREEDY).tokens
        plain = model.generate(PROMPT, **GREEDY, lora=[]).tokens
        assert first != plain
        model.set_lora([])
        assert model.generate(PROMPT, **GREEDY).tokens == plain
        model.set_lora(adapters[0])
        assert model.generate(PROMPT, **GREEDY).tokens == first


def test_invalid_adapters_are_rejected(demo, tmp_path):
    (tmp_path / "text.gguf").write_text("this is no adapter")
    with pytest.raises(mullama.NotFoundError, match="there is no file"):
        demo.generate("Hi", lora=tmp_path / "missing.gguf")
    with pytest.raises(mullama.InvalidModelError, match=r"text\.gguf"):
        demo.set_lora(tmp_path / "text.gguf")
    with pytest.raises(mullama.InvalidModelError, match=r"general\.type"):
        demo.set_lora([(ROOT / "models/demo/demo.gguf", 1)])
    for wrong in (3, [3], [("a", "b")], [("a", 1, 2)], {"a": 1}, b"a"):
        with pytest.raises((mullama.InvalidArgumentError, TypeError), match="lora"):
            demo.set_lora(wrong)
        with pytest.raises((mullama.InvalidArgumentError, TypeError), match="lora"):
            demo.generate("Hi", lora=wrong)


def test_states_are_restored_in_another_model_of_the_same_file(demo, tmp_path):
    prompt = demo.apply_chat_template([USER])
    state = demo.save_state(prompt)
    assert isinstance(state, bytes)
    path = tmp_path / "paris.state"
    assert demo.save_state(prompt, path) == path.read_bytes()
    for saved in (state, bytearray(state), memoryview(state), path, str(path)):
        with Model("demo", n_threads=1) as model:
            assert model.load_state(saved) == model.count_tokens(prompt)
            answer = model.chat([USER], temperature=0)
            assert answer.text == "The capital of France is Paris."
            assert answer.usage.cached_tokens == answer.usage.prompt_tokens - 1


def test_invalid_states_are_rejected(demo, testkit, tmp_path):
    state = demo.save_state("Hello, you")
    other = Model(testkit("path", "tiny").strip(), n_threads=1)
    with other, pytest.raises(mullama.InvalidArgumentError, match="another model"):
        other.load_state(state)
    with pytest.raises(mullama.InvalidArgumentError, match="damaged"):
        demo.load_state(state[:-1])
    with pytest.raises(mullama.InvalidArgumentError, match="not one that was saved"):
        demo.load_state(b"")
    with pytest.raises(mullama.NotFoundError):
        demo.load_state(tmp_path / "missing")
    with pytest.raises(OSError, match="cannot write"):
        demo.save_state("Hello", tmp_path / "missing" / "file")
    with pytest.raises(TypeError, match="bytes or a path"):
        demo.load_state(3)


def test_lookup_guesses_do_not_change_answers(demo):
    options = {"temperature": 0, "max_tokens": 40}
    plain = demo.chat([USER], **options)
    before = demo.stats()
    assert demo.chat([USER], prompt_lookup=8, **options).tokens == plain.tokens
    demo.generate("one two one two one two", prompt_lookup=8, **GREEDY)
    after = demo.stats()
    assert after.drafted_tokens > before.drafted_tokens
    assert after.accepted_tokens <= after.drafted_tokens


def test_draft_models_do_not_change_answers(demo, testkit):
    draft = ROOT / "models/demo/draft.gguf"
    with Model("demo", n_threads=1, draft_model=draft) as model:
        assert model.placement.devices[-1].draft > 1_000_000
        plain = model.chat([USER], temperature=0, draft="off")
        assert plain.usage.drafted_tokens == 0
        assert model.chat([USER], temperature=0, draft_max=4).tokens == plain.tokens
        options = {"temperature": 0, "max_tokens": 40}
        usage = model.generate("The capital of Peru is", **options).usage
        assert usage.drafted_tokens >= usage.accepted_tokens
        stats = model.stats()
        assert stats.drafted_tokens >= stats.accepted_tokens > 0
        texts = list(model.stream(USER["content"], draft="lookup", **options))
        assert texts[-1].completion
    assert demo.placement.devices[-1].draft == 0
    with pytest.raises(ValueError, match="draft_model"):
        demo.generate("Hello", draft="model")
    small = testkit("path", "small").strip()
    with pytest.raises(ValueError, match="another vocabulary"):
        Model("demo", n_threads=1, draft_model=small)


def test_a_draft_model_is_planned():
    draft = ROOT / "models/demo/draft.gguf"
    plan = mullama.plan("demo", devices="24GiB", draft_model=draft)
    assert plan.fits
    assert plan.devices[0].draft > 1_000_000
    assert "DRAFT MODEL" in str(plan)
    assert plan.options["draft_model"] == str(draft)


def test_close_can_wait_for_running_requests():
    model = Model("demo", n_threads=1)
    stream = model.stream("Hello", temperature=0, ignore_eos=True, max_tokens=100)
    model.close(finish=True)
    assert sum(1 for chunk in stream if chunk.text) > 0
    assert stream.completion.finish_reason == "length"
    with pytest.raises(mullama.ClosedError):
        model.generate("Hello")


def test_adapters_and_states_with_asyncio(adapters, tmp_path):
    async def main():
        async with await AsyncModel.load("demo", n_threads=1) as model:
            plain = (await model.generate(PROMPT, **GREEDY)).tokens
            await model.set_lora([(adapters[0], 1.0)])
            assert (await model.generate(PROMPT, **GREEDY)).tokens != plain
            await model.set_lora([])
            path = Path(tmp_path, "a.state")
            state = await model.save_state(PROMPT, path)
            assert state == path.read_bytes()
            assert await model.load_state(path) == await model.load_state(state) > 0
            running = asyncio.create_task(model.generate("Hello", **GREEDY))
            await asyncio.sleep(0.01)
            await model.close(finish=True)
            assert (await running).finish_reason == "length"

    asyncio.run(main())
