"""The stubs match the module and are up to date."""

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import mullama
import pytest
from mullama import _native, gpu, options

HERE = Path(__file__).parent


def stubtest(folder, *options, **variables):
    command = [sys.executable, "-m", "mypy.stubtest", "mullama", *options]
    environment = {**os.environ, **variables}
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=folder, env=environment
    )


def test_stubtest(tmp_path):
    """Names, signatures and kinds of all items, compared by mypy's stubtest."""
    done = stubtest(tmp_path, "--allowlist", HERE / "stubtest_allowlist.txt")
    assert done.returncode == 0, done.stdout + done.stderr


def test_stubtest_detects_outdated_stubs(tmp_path):
    """Items that only the module or only the stub has, and a different signature."""
    package = Path(mullama.__file__).parent
    copy = tmp_path / "mullama"
    shutil.copytree(package, copy, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    stub = copy / "_native.pyi"
    text = stub.read_text(encoding="utf-8")
    changes = {
        "def memory_free(self) -> int:": "def memory_left(self) -> int:",
        "def cuda_memory_info(index: Supports": "def cuda_memory_info(number: Supports",
    }
    for true, wrong in changes.items():
        assert text.count(true) == 1
        text = text.replace(true, wrong)
    stub.write_text(text, encoding="utf-8")
    done = stubtest(tmp_path, "--concise", PYTHONPATH=str(tmp_path), MYPYPATH=str(tmp_path))
    assert done.returncode == 1
    for name in ("Device.memory_free", "Device.memory_left", "cuda_memory_info"):
        assert f"mullama._native.{name} " in done.stdout, done.stdout + done.stderr


def test_stubs_match_the_module(tmp_path):
    command = [sys.executable, HERE.parent / "generate_stubs.py", "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_option_is_declared():
    declared = {
        "load": options.LoadOptions,
        "cuda": options.CudaSettings,
        "generate": options.GenerateOptions,
        "chat": options.ChatOptions,
        "embed": options.EmbedOptions,
        "rerank": options.RerankOptions,
        "plan": options.PlanOptions,
    }
    for options_of, name, _, doc in _native._option_specs():
        assert name in declared[options_of].__annotations__
        assert "Default:" in doc


KEYWORDS = {
    mullama.Model: options.LoadOptions,
    mullama.AsyncModel: options.LoadOptions,
    mullama.AsyncModel.load: options.LoadOptions,
    mullama.plan: options.PlanOptions,
    mullama.Chat.send: options.ChatOptions,
    mullama.Chat.stream: options.ChatOptions,
    mullama.AsyncChat.send: options.ChatOptions,
    mullama.AsyncChat.stream: options.ChatOptions,
}
for _class in (mullama.Model, mullama.AsyncModel):
    for _method in ("generate", "infill", "stream"):
        KEYWORDS[getattr(_class, _method)] = options.GenerateOptions
    for _method in ("chat", "stream_chat", "start_chat", "apply_chat_template"):
        KEYWORDS[getattr(_class, _method)] = options.ChatOptions
    KEYWORDS[_class.embed] = options.EmbedOptions
    KEYWORDS[_class.rerank] = options.RerankOptions


@pytest.mark.parametrize("call", KEYWORDS, ids=lambda call: call.__qualname__)
def test_signatures_show_options(call):
    """For users, and for notebooks and editors that inspect the running program."""
    parameters = inspect.signature(call).parameters.values()
    keywords = {it.name for it in parameters if it.kind is it.KEYWORD_ONLY}
    own = {"progress", "system", "messages", "max_tool_rounds", "compact", "add_generation_prompt"}
    assert keywords - own == set(KEYWORDS[call].__annotations__) - own
    assert not any(it.kind is it.VAR_KEYWORD for it in parameters)
    assert call.__doc__.strip()[0].isupper()


def test_signatures_of_bound_methods_show_options(demo):
    assert "temperature=None" in str(inspect.signature(demo.chat))


def public(namespace):
    return {name: getattr(namespace, name) for name in dir(namespace) if not name.startswith("_")}


@pytest.mark.parametrize("module", [mullama, gpu, mullama.errors])
def test_everything_public_is_documented(module):
    assert module.__doc__
    for name in module.__all__:
        thing = getattr(module, name)
        # The documentation of a type alias follows it in the source, where only tools that read the
        # source see it.
        if name.startswith("__") or typing.get_origin(thing):
            continue
        assert thing.__doc__, name
        if inspect.isclass(thing) and not issubclass(thing, BaseException):
            for attribute, value in public(thing).items():
                assert value.__doc__, f"{name}.{attribute}"
            assert thing.__module__ in ("mullama", "mullama.gpu")


def test_docstrings_are_those_of_the_stubs():
    """The stub repeats the docstrings for editors; they must be identical."""
    import ast

    stub = Path(_native.__file__).with_name("_native.pyi").read_text(encoding="utf-8")

    def compare(node, thing, name):
        documented = ast.get_docstring(node)
        if documented:
            runtime = " ".join(inspect.getdoc(thing).split())
            assert " ".join(documented.split()) == runtime, name
        for child in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(child, ast.FunctionDef) and ast.get_docstring(child):
                compare(child, getattr(thing, child.name), f"{name}.{child.name}")

    for node in ast.parse(stub).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            compare(node, getattr(_native, node.name), node.name)


def test_types_of_a_program(tmp_path):
    """A program that uses the package passes type checks; mistakes in it are found."""
    program = tmp_path / "program.py"
    program.write_text(
        """
from pathlib import Path
from mullama import (
    AsyncChat, AsyncModel, Chat, ChatCompletion, Completion, Message, Model, Stream, Tool, gpu
)

def weather(city: str) -> str:
    return city

def main() -> None:
    with Model(Path("model.gguf"), n_gpu_layers="auto", kv_cache_type=("q8_0", "f16")) as model:
        completion: Completion = model.generate("Hello", temperature=0, stop=["x"], seed=None)
        text: str = completion.text
        messages: list[Message | dict[str, object]] = [{"role": "user", "content": text}]
        messages.append(model.chat(messages, tools=[{"type": "function"}]).message)
        stream: Stream = model.stream([1, 2, 3])
        for chunk in stream:
            print(chunk.text, chunk.completion)
        chat: Chat = model.start_chat(system="x", tools=[weather, Tool(weather)], temperature=0)
        answer: ChatCompletion = chat.send("Hello", max_tool_rounds=2, reasoning_budget=9)
        chat.messages.append(answer.message)
        for piece in chat.stream({"role": "user", "content": "x"}):
            print(piece.tool_calls)
        vector: memoryview[float] = model.embed(["x", "y"], pooling="mean", truncate="end")[0]
        print(gpu.devices()[0].memory_free // 2, vector.tolist(), len(model.rerank("x", ["y"])))

async def later() -> None:
    async with await AsyncModel.load("demo", progress=print) as model:
        completion: Completion = await model.generate("Hello", max_tokens=5)
        async for chunk in model.stream_chat([{"role": "user", "content": str(completion)}]):
            print(chunk.text)
        chat: AsyncChat = model.start_chat(tools=[weather])
        print((await chat.send("Hello")).text)
        async for piece in chat.stream("Hello"):
            print(piece.text)
""",
        encoding="utf-8",
    )
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        """
from mullama import Model
model = Model("demo", n_gpu_layer=1)
model.generate("x", temperature="hot")
model.generate("x", tools=[])
model.stream(5)
model.embed("x", pooling="median")
""",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "mypy", "--strict", program, wrong]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    lines = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [line.split(":")[:2] for line in lines] == [
        ["wrong.py", "3"],
        ["wrong.py", "4"],
        ["wrong.py", "5"],
        ["wrong.py", "6"],
        ["wrong.py", "7"],
    ], done.stdout + done.stderr


# What `Any` is for, where no type says it. All else is typed.
ANY = {
    "Coroutine[Any, Any, ": "what `await` makes no use of",
    "dict[str, Any]": "values of JSON, to be read without checks",
    "Message | Mapping[str, Any]": "the same, in messages",
    "list[list[Any]]": "the same, in vectors of texts or of tokens",
    "type[Any]": "the class of an answer, of any library",
    "Callable[..., Any]": "a function with parameters of its own",
}
ANY_PLACES = {
    "ChatCompletion.parsed": "an object of the class that was given",
    "Chat.__init__": "`start_chat` has the types of these options",
    "AsyncChat.__init__": "the same",
    "Tool.__call__": "what the function takes and gives",
}


def annotations(body, owner=""):
    """Names and annotations of what is public in a module or a class."""
    for node in body:
        if isinstance(node, ast.AnnAssign):
            name, found = ast.unparse(node.target), [node.annotation]
            found += [node.value] if "TypeAlias" in ast.unparse(node.annotation) else []
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            rest = filter(None, (node.args.vararg, node.args.kwarg))
            every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, *rest]
            name, found = node.name, [*(arg.annotation for arg in every), node.returns]
        elif isinstance(node, ast.ClassDef):
            name, found = node.name, []
        else:
            continue
        if name.startswith("_") and not name.endswith("__"):
            continue
        yield from ((owner + name, ast.unparse(hint)) for hint in found if hint is not None)
        if isinstance(node, ast.ClassDef):
            yield from annotations(node.body, f"{owner}{name}.")


def test_public_items_have_types():
    package = Path(mullama.__file__).parent
    files = [
        "_native.pyi",
        "_chat.py",
        "_message.py",
        "_messages.py",
        "options.py",
        "errors.py",
        "gpu.py",
    ]
    found = []
    for file in files:
        found += annotations(ast.parse((package / file).read_text(encoding="utf-8")).body)
    tools = ast.parse((package / "_tools.py").read_text(encoding="utf-8")).body
    found += annotations(
        [node for node in tools if isinstance(node, ast.ClassDef) and node.name == "Tool"]
    )
    assert len(found) > 500
    for name, hint in found:
        for known in ANY:
            hint = hint.replace(known, "")
        if name not in ANY_PLACES:
            assert not re.search(r"\bAny\b", hint), f"{name}: {hint}"
