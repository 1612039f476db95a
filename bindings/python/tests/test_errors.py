"""Invalid arguments raise typed errors that name the argument, and do not affect other calls."""

import builtins
import json
import math
import pickle
import shutil
from pathlib import Path

import mullama
import pytest
from conftest import USER
from mullama import (
    CancelledError,
    ContextOverflowError,
    InvalidArgumentError,
    InvalidGrammarError,
    InvalidModelError,
    Model,
    MullamaError,
    NotFoundError,
    UnsupportedError,
    errors,
)

BUILT_IN = {
    "NotFoundError": FileNotFoundError,
    "InvalidModelError": ValueError,
    "InvalidArgumentError": ValueError,
    "UnknownModelError": ValueError,
    "OutOfMemoryError": MemoryError,
    "DoesNotFitError": MemoryError,
    "ContextOverflowError": ValueError,
    "InvalidGrammarError": ValueError,
    "TemplateError": ValueError,
    "UnsupportedError": NotImplementedError,
    "BackendError": RuntimeError,
    "CancelledError": MullamaError,
    "ClosedError": RuntimeError,
    "BusyError": RuntimeError,
    "CallbackError": RuntimeError,
    "DownloadError": ConnectionError,
    "IoError": OSError,
    "InternalError": RuntimeError,
}


@pytest.fixture(autouse=True)
def and_the_process_goes_on(demo):
    yield
    assert demo.generate("x", max_tokens=1).usage.completion_tokens == 1


@pytest.fixture(scope="module")
def good(demo):
    return Path(demo.path).read_bytes()


def refused(path, error=InvalidModelError, **options):
    with pytest.raises(error) as raised:
        Model(path, **options)
    assert Path(path).name in str(raised.value)
    return raised.value


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_errors_derive_from_built_in_errors(name):
    kind = getattr(errors, name)
    error = kind("it failed\nhint: mend it", hint="mend it", context={"path": "x"})
    assert isinstance(error, MullamaError)
    assert isinstance(error, BUILT_IN[name])
    assert str(error) == "it failed\nhint: mend it"
    assert error.kind == name.removesuffix("Error")
    assert (error.hint, error.context) == ("mend it", {"path": "x"})
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.kind, again.hint, again.context) == (error.kind, error.hint, error.context)
    assert name in errors.__all__
    assert name in mullama.__all__
    assert not hasattr(builtins, name)


def test_every_error_class_is_tested():
    assert {*errors.__all__} - {"MullamaError"} == {*BUILT_IN}


def test_a_missing_file(tmp_path):
    error = refused(tmp_path / "missing.gguf", NotFoundError)
    assert isinstance(error, FileNotFoundError)
    assert error.kind == "NotFound"
    assert error.context["path"] == error.filename == str(tmp_path / "missing.gguf")
    assert error.hint in str(error)
    assert repr(error).startswith("NotFoundError(")
    refused("no-such-model", NotFoundError)
    refused("", NotFoundError)


def test_files_that_are_no_models(tmp_path, good):
    refused(tmp_path)
    for name, content in {
        "empty.gguf": b"",
        "text.gguf": b"This is not a model.\n" * 100,
        "other.gguf": b"PK\x03\x04" + good[4:],
        "version.gguf": good[:4] + (99).to_bytes(4, "little") + good[8:],
        "magic.gguf": b"GGUF",
    }.items():
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name)
    refused(tmp_path / "text.gguf" / "below.gguf", NotFoundError)


def test_truncated_at_many_offsets(tmp_path, good):
    path = tmp_path / "cut.gguf"
    ends = [*range(1, 64), *range(64, 4096, 331), *range(4096, len(good), 97_003), len(good) - 1]
    for end in ends:
        path.write_bytes(good[:end])
        refused(path)


def test_broken_models_are_rejected_or_work(tmp_path, testkit):
    tiny = tmp_path / "tiny.gguf"
    testkit("write", "tiny", tiny)
    files = json.loads(testkit("broken", tiny, tmp_path / "broken"))
    assert len(files) > 50
    kinds, accepted = {}, 0
    for file in files:
        try:
            with Model(file["file"], context_size=256, n_threads=1) as model:
                model.generate("abc", max_tokens=2)
            accepted += 1
        except MullamaError as error:
            kinds[file["name"]] = error.kind
    assert "Internal" not in kinds.values(), kinds
    assert len(kinds) > accepted


def test_a_vocabulary_only(tmp_path, testkit):
    path = tmp_path / "vocab.gguf"
    testkit("write", "vocab", path)
    assert "vocab_only" in refused(path).hint
    with Model(path, vocab_only=True) as model:
        assert not model.capabilities.generate
        assert model.detokenize(model.tokenize("Hello", add_special=False)) == "Hello"
        for call in (
            lambda: model.generate("x"),
            lambda: model.stream("x"),
            lambda: model.generate([1]),
        ):
            with pytest.raises(UnsupportedError, match="vocabulary") as raised:
                call()
            assert isinstance(raised.value, NotImplementedError)


def test_a_prompt_longer_than_the_context():
    with Model("demo", context_size=256, n_threads=1) as model:
        for call in (
            lambda: model.generate([5] * 257),
            lambda: model.stream([5] * 257),
            lambda: model.generate("x " * 1000),
            lambda: model.chat([{"role": "user", "content": "x " * 1000}]),
        ):
            with pytest.raises(ContextOverflowError) as raised:
                call()
            assert raised.value.context["context_size"] == "256"


@pytest.mark.parametrize(
    "token", [-1, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 63, 1 << 64, -(1 << 70)]
)
def test_invalid_tokens(demo, token):
    for call in (demo.generate, demo.stream, demo.detokenize):
        with pytest.raises(InvalidArgumentError, match=f"token {token} is not in the vocabulary"):
            call([token])


@pytest.mark.parametrize(
    "call",
    [
        lambda demo, long: demo.chat([USER], tool_choice=long),
        lambda demo, long: demo.chat([USER], response_format=[long]),
        lambda demo, long: demo.chat([USER], tools=[{"name": long}]),
        lambda demo, long: demo.chat([{"role": long, "content": "x"}]),
        lambda demo, long: demo.start_chat(tools=[{"name": long, "execute": 1}]),
        lambda demo, long: demo.generate("x", **{long: 1}),
        lambda demo, long: demo.generate("x", grammar=long),
        lambda demo, long: demo.generate("x", json_schema={"type": long}),
        lambda demo, long: demo.generate("x", lora=long),
        lambda demo, long: Model("demo", split_mode=long),
        lambda demo, long: Model("demo", draft_model=long),
        lambda demo, long: Model("demo", metadata_overrides={long: 1}),
        lambda demo, long: Model("demo", chat_template="{{ raise_exception('" + long + "') }}"),
        lambda demo, long: Model(long),
        lambda demo, long: mullama.plan("demo", long),
    ],
)
def test_long_values_are_not_repeated_in_full(demo, call):
    with pytest.raises(MullamaError) as raised:
        call(demo, "x" * 10**6)
        raise MullamaError("it was accepted")
    assert len(str(raised.value)) < 10_000


@pytest.mark.parametrize(
    "prompt", [None, 1, 1.5, b"bytes", bytearray(b"x"), {1: 2}, {1, 2}, object(), True]
)
def test_prompts_of_a_wrong_type(demo, prompt):
    for call in (demo.generate, demo.stream, demo.detokenize):
        with pytest.raises(TypeError, match=type(prompt).__name__):
            call(prompt)


@pytest.mark.parametrize("token", [None, 1.5, "1", True, [1], object()])
def test_tokens_of_a_wrong_type(demo, token):
    with pytest.raises(TypeError, match=f"token ids are integers, not {type(token).__name__}"):
        demo.generate([1, token])


def test_wrong_types_elsewhere(demo):
    for call in (
        lambda: demo.tokenize(b"x"),
        lambda: demo.tokenize(None),
        lambda: demo.tokenize("x", add_special="yes"),
        lambda: demo.count_tokens(3),
        lambda: demo.detokenize("text"),
        lambda: demo.generate(),
        lambda: demo.generate("x", 5),
        lambda: Model(),
        lambda: Model(None),
        lambda: Model("demo", "other"),
        lambda: Model("demo", progress=5),
    ):
        with pytest.raises(TypeError) as raised:
            call()
        assert not isinstance(raised.value, MullamaError)


def test_lone_surrogates(demo):
    bad = "half \ud800 a pair"
    for call in (
        lambda: demo.generate(bad),
        lambda: demo.stream(bad),
        lambda: demo.tokenize(bad),
        lambda: demo.count_tokens(bad),
        lambda: demo.chat([{"role": "user", "content": bad}]),
        lambda: demo.chat([{bad: "x"}]),
        lambda: demo.generate("x", stop=bad),
        lambda: demo.generate("x", **{bad: 1}),
        lambda: Model(bad),
    ):
        with pytest.raises(InvalidArgumentError, match="surrogate") as raised:
            call()
        assert isinstance(raised.value, ValueError)
    with pytest.raises(InvalidArgumentError, match="index 5"):
        demo.tokenize(bad)


def test_nul_bytes(demo, tmp_path):
    for call in (
        lambda: demo.generate("a\0b"),
        lambda: demo.stream("a\0b"),
        lambda: demo.tokenize("a\0b"),
        lambda: demo.count_tokens("a\0b"),
        lambda: demo.chat([{"role": "user", "content": "a\0b"}]),
    ):
        with pytest.raises(InvalidArgumentError, match="NUL"):
            call()
    with pytest.raises(InvalidGrammarError):
        demo.generate("x", grammar='root ::= "a\0"')
    with pytest.raises(MullamaError):
        Model(str(tmp_path / "a\0b.gguf"))
    with pytest.raises(MullamaError):
        demo.chat([USER], grammar="\0")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("temprature", "temperature"),
        ("max_token", "max_tokens"),
        ("topk", "top_k"),
        ("stops", "stop"),
    ],
)
def test_unknown_options(demo, name, nearest):
    for value in (1, print):
        with pytest.raises(InvalidArgumentError) as raised:
            demo.generate("x", **{name: value})
        assert f"option `{name}`: there is no such option" in str(raised.value)
        assert f"`{nearest}`" in raised.value.hint
        assert raised.value.context["option"] == name


def test_unknown_options_elsewhere(demo):
    with pytest.raises(InvalidArgumentError, match="context_size"):
        Model("demo", n_context_size=5)
    with pytest.raises(InvalidArgumentError, match="no such option"):
        Model("demo", temperature=5)
    with pytest.raises(InvalidArgumentError, match="no such option"):
        demo.generate("x", tools=[])
    with pytest.raises(InvalidArgumentError, match="no such option"):
        demo.chat([USER], progress=print)
    with pytest.raises(InvalidArgumentError, match="no such option"):
        demo.apply_chat_template([USER], tokenize=True)


class Unhelpful:
    def __index__(self):
        raise ZeroDivisionError


deep = []
for _ in range(1000):
    deep = [deep]
endless = []
endless.append(endless)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("temperature", "hot", 'expected a number, not "hot"'),
        ("temperature", math.nan, "not a finite number"),
        ("temperature", math.inf, "not a finite number"),
        ("temperature", 1j, "complex"),
        ("temperature", [1.0], "not a list"),
        ("max_tokens", 1.5, "expected a whole number from 0"),
        ("max_tokens", -2, "from 0 to 4294967295, not `-2`"),
        ("max_tokens", 1 << 40, "from 0 to 4294967295"),
        ("max_tokens", 1 << 70, "too large"),
        ("max_tokens", True, "not `true`"),
        ("max_tokens", Unhelpful(), "Unhelpful"),
        ("seed", "x", "expected a whole number"),
        ("stop", 5, "expected a string"),
        ("stop", ["a", 5], "expected a string"),
        ("stop", {"a"}, "set"),
        ("stop", b"a", "bytes"),
        ("ignore_eos", 1, "expected true or false"),
        ("ignore_eos", print, "builtin_function_or_method"),
        ("ignore_eos", object(), "object"),
        ("logit_bias", {"x": 1}, "logit_bias"),
        ("logit_bias", {1.5: 1}, "keys are strings or integers, not float"),
        ("logit_bias", {True: 1}, "keys are strings or integers, not bool"),
        ("logit_bias", {5: math.nan}, "not a finite number"),
        ("logit_bias", [1], "logit_bias"),
        ("json_schema", endless, "nested too deeply"),
        ("json_schema", deep, "nested too deeply"),
        ("json_schema", {"x": object()}, "object"),
    ],
)
def test_ill_typed_options(demo, name, value, problem):
    for call in (demo.generate, demo.stream):
        with pytest.raises(InvalidArgumentError) as raised:
            call("x", **{name: value})
        assert str(raised.value).startswith(f"option `{name}`: ")
        assert problem in str(raised.value)


@pytest.mark.parametrize(
    "messages",
    [
        None,
        5,
        "Hello",
        [],
        {},
        ["Hello"],
        [{}],
        [{"role": "user", "content": object()}],
        [{"role": "user", "content": "x", "nonsense": 1}],
        [{1: 2}],
        endless,
    ],
)
def test_messages_of_a_wrong_shape(demo, messages):
    for call in (demo.chat, demo.stream_chat, demo.apply_chat_template):
        with pytest.raises(InvalidArgumentError, match="message"):
            call(messages)


def test_progress_that_raises():
    class OwnError(Exception):
        pass

    raised = OwnError("unchanged")

    def fail(_):
        raise raised

    with pytest.raises(OwnError) as caught:
        Model("demo", progress=fail)
    assert caught.value is raised
    with pytest.raises(SystemExit):
        Model("demo", progress=lambda _: exit())


def test_progress_that_cancels():
    heard = []

    def cancel(fraction):
        heard.append(fraction)
        return False

    with pytest.raises(CancelledError, match="cancelled"):
        Model("demo", progress=cancel)
    assert len(heard) == 1
    for harmless in (None, 0, "", [], True):
        Model("demo", vocab_only=True, progress=lambda _, answer=harmless: answer).close()


def test_a_file_that_cannot_be_read(tmp_path, demo):
    path = tmp_path / "secret.gguf"
    shutil.copy(demo.path, path)
    path.chmod(0)
    try:
        path.read_bytes()
    except PermissionError:
        error = refused(path, mullama.IoError)
        assert isinstance(error, OSError)
    else:
        pytest.skip("root reads everything")


def test_unknown_error_kinds_are_mullama_errors():
    error = MullamaError("new", kind="Novel")
    assert pickle.loads(pickle.dumps(error)).kind == "Novel"
