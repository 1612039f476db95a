"""The vectors in `tests/vectors`, which every language executes."""

import json
import os
from pathlib import Path

import mullama
import pytest
from conftest import ROOT
from mullama import Model, MullamaError, _native

GREEDY = {"temperature": 0}


def calls(answer):
    functions = [call.function for call in answer.message.tool_calls]
    return [{"name": f.name, "arguments": json.loads(f.arguments)} for f in functions]


def test_every_file_is_executed():
    known = {
        "demo_chat.json",
        "demo_embeddings.json",
        "demo_greedy.json",
        "demo_seeded.json",
        "demo_tokenize.json",
        "defaults.json",
        "errors.json",
        "overflow.json",
        "plan.json",
    }
    there = {path.name for path in (ROOT / "tests/vectors").glob("*.json")}
    assert there <= known, "a file of vectors has no test here"


def test_demo_tokens(demo, vectors):
    for case in vectors("demo_tokenize.json"):
        tokens = demo.tokenize(case["text"], add_special=False, parse_special=case["parse_special"])
        assert tokens == case["tokens"], case["text"]
        assert demo.detokenize(tokens) == case["text"]


def test_published_vocabularies():
    data = Path(os.environ.get("MULLAMA_TEST_DATA") or ROOT.parent / "shared/data")
    files = sorted((data / "tokenizers").glob("*.gguf"))
    if not files:
        pytest.skip("no test data; MULLAMA_TEST_DATA names its folder")
    for file in files:
        texts = Path(f"{file}.inp").read_bytes().decode()
        ids = Path(f"{file}.out").read_text(encoding="utf-8").splitlines()
        texts = texts.split("\n__ggml_vocab_test__\n")
        checked = 0
        with Model(file, vocab_only=True) as model:
            # The texts end with a separator.
            for text, line in zip(texts, ids, strict=False):
                expected = [int(token) for token in line.split()]
                assert model.tokenize(text, add_special=False) == expected, (file.name, text)
                checked += 1
        assert checked > 30, file.name


def test_demo_prompts(demo, vectors):
    for case in vectors("demo_chat.json"):
        prompt = demo.apply_chat_template(
            case["messages"],
            tools=case.get("tools"),
            add_generation_prompt=case["add_generation_prompt"],
        )
        assert prompt == case["prompt"]


def test_demo_capitals(demo, vectors):
    cases = vectors("demo_greedy.json")["capitals"]
    for case in cases:
        answer = demo.chat([{"role": "user", "content": case["question"]}], **GREEDY)
        assert answer.text == case["text"]
        assert case["capital"] in answer.text
    assert len(cases) >= 100


def test_conversations_beyond_the_context(vectors):
    for case in vectors("overflow.json"):
        options = {"overflow": "truncate", **GREEDY, **case["options"]}
        with Model("demo", context_size=case["context_size"], n_threads=1) as model:
            usage = model.chat(case["messages"], **options).usage
        dropped = (usage.dropped_messages, usage.dropped_tokens)
        assert dropped == (case["dropped_messages"], case["dropped_tokens"]), case["messages"]


def test_demo_chats(demo, vectors):
    for case in vectors("demo_greedy.json")["chat"]:
        tools = case.get("tools")
        answer = demo.chat(case["messages"], tools=tools, max_tokens=200, **GREEDY)
        if "<tool_call>" in case["text"]:
            call = case["text"].strip().removeprefix("<tool_call>").removesuffix("</tool_call>")
            assert calls(answer) == [json.loads(call)], case["messages"]
        else:
            assert answer.text == case["text"], case["messages"]


def test_demo_completions(demo, vectors):
    for case in vectors("demo_greedy.json")["completions"]:
        completion = demo.generate(case["prompt"], max_tokens=case["max_tokens"], **GREEDY)
        assert completion.text == case["text"], case["prompt"]


def test_demo_tool_calls(demo, vectors):
    greedy = vectors("demo_greedy.json")
    right = 0
    for case in greedy["tool_calls"]:
        question = {"role": "user", "content": case["question"]}
        answer = demo.chat([question], tools=greedy["tools"], **GREEDY)
        assert answer.finish_reason == "tool_calls"
        assert calls(answer) == [case["call"]]
        right += 1
    assert right >= 40


def test_demo_draws(demo, vectors):
    for case in vectors("demo_seeded.json"):
        completion = demo.generate(case["prompt"], **case["options"])
        assert completion.tokens == case["tokens"], case
        assert completion.text == case["text"]


def test_demo_embeddings(demo, vectors):
    vectors = vectors("demo_embeddings.json")
    cases = vectors["cases"]
    for pooling in ("mean", "cls", "last"):
        embeddings = demo.embed([case["text"] for case in cases], pooling=pooling)
        assert embeddings.token_counts == [case["tokens"] for case in cases]
        for case, vector in zip(cases, embeddings, strict=True):
            assert vector.tolist() == pytest.approx(
                case[pooling], abs=vectors["tolerance"], rel=0
            ), case["text"]


def test_option_defaults(demo, vectors):
    assert demo.default_options == vectors("defaults.json")


def test_error_kinds(vectors):
    kinds = vectors("errors.json")["kinds"]
    assert [kind for kind, *_ in _native._error_kinds()] == list(kinds)
    for kind in kinds:
        error = getattr(mullama, f"{kind}Error")
        assert issubclass(error, MullamaError)
        assert error().kind == kind


def check(case, call):
    with pytest.raises(MullamaError) as raised:
        call()
    error = raised.value
    assert error.kind == case["kind"], case
    assert type(error) is getattr(mullama, f"{case['kind']}Error")
    assert case.get("hint", "") in (error.hint or ""), case


def test_errors_of_calls(demo, vectors):
    errors = vectors("errors.json")
    for case in errors["load"]:
        check(case, lambda case=case: Model(case["source"], **case["options"]))
    for case in errors["generate"]:
        check(case, lambda case=case: demo.generate(case["prompt"], **case["options"]))
    for case in errors["chat"]:
        check(case, lambda case=case: demo.chat(case["messages"], **case["options"]))
    for case in errors["embed"]:
        check(case, lambda case=case: demo.embed(case["texts"], **case["options"]))
    for case in errors["rerank"]:
        check(
            case,
            lambda case=case: demo.rerank(case["query"], case["documents"], **case["options"]),
        )


def plan_of(vectors, case):
    source = vectors["shapes"].get(case.get("shape")) or case.get("fields") or case["source"]
    return mullama.plan(source, **case["options"])


def test_plans(vectors):
    cases = vectors("plan.json")
    for case in cases["plans"]:
        plan = plan_of(cases, case)
        for field, value in case["plan"].items():
            assert getattr(plan, field) == value, (case, field)
        if "layers" in case:
            assert {gpu.name: gpu.layers for gpu in plan.devices} == case["layers"], case
        assert plan.host.name in str(plan)
        assert plan.options["context_size"] == plan.context_size
    for case in cases["errors"]:
        check(case, lambda case=case: plan_of(cases, case))
