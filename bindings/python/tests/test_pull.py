"""Pulling from a registry on loopback, and loading with the settings stored with a model."""

import asyncio
import shutil
import signal
import subprocess
import sys
import threading

import mullama
import pytest
from conftest import EXE, ROOT, USER
from mullama import (
    AsyncModel,
    CancelledError,
    DownloadError,
    InvalidArgumentError,
    Model,
    NotFoundError,
    PullProgress,
    UnknownModelError,
)

PROGRAM = ROOT / "target/release" / f"mullama-test-registry{EXE}"
DEMO = ROOT / "models/demo/demo.gguf"
PARIS = "The capital of France is Paris."


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Starts a registry with these arguments and selects it by environment; the store is empty."""
    if not PROGRAM.exists():
        pytest.skip(f"{PROGRAM.name} is not built")
    tiny = tmp_path / "served/registry/library/tiny/latest"
    big = tmp_path / "served/registry/library/big/latest"
    tiny.mkdir(parents=True)
    big.mkdir(parents=True)
    shutil.copy(DEMO, tiny / "model.gguf")
    (tiny / "params").write_text('{"temperature": 0}')
    (tiny / "messages").write_text(
        '[{"role": "user", "content": "What is the capital of France?"}]'
    )
    (big / "model.gguf").write_bytes(b"GGUF".ljust(16 << 20, b"\0"))
    for name in "MULLAMA_MODELS", "OLLAMA_MODELS", "HF_HUB_CACHE", "LLAMA_CACHE":
        monkeypatch.setenv(name, str(tmp_path / name))
    running = []

    def start(*arguments):
        command = [PROGRAM, tmp_path / "served", *arguments]
        registry = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(registry)
        monkeypatch.setenv("MULLAMA_REGISTRY", registry.stdout.readline().strip())

    yield start
    for registry in running:
        registry.kill()
        registry.wait()
        registry.stdout.close()


def test_a_model_is_pulled_and_loaded_by_its_name(serve):
    serve()
    with pytest.raises(NotFoundError, match=r'Model.pull\("tiny:latest"\)'):
        Model("tiny")
    seen = []
    pulled = Model.pull("tiny", progress=seen.append)
    assert str(pulled) == pulled.name == "tiny:latest"
    assert len(pulled.id) == 12
    assert pulled.size > DEMO.stat().st_size
    assert all(isinstance(progress, PullProgress) for progress in seen)
    assert (seen[0].phase, seen[0].fraction) == ("resolving", 0)
    last = seen[-1]
    assert (last.phase, last.fraction, last.completed) == ("done", 1, pulled.size)
    assert repr(last).startswith("PullProgress(phase='done'")
    with Model("tiny", n_threads=1) as model:
        assert model.path == pulled.path
        assert model.default_options["temperature"] == 0
        question = {"role": "user", "content": "And of Japan?"}
        prompt = model.apply_chat_template([question])
        assert prompt.index("France") < prompt.index("Japan")
    # It is present and up to date: only the manifest is requested.
    assert Model.pull("tiny").id == pulled.id


def test_a_pull_is_awaited(serve):
    serve()

    async def main():
        pulled = await AsyncModel.pull("tiny")
        async with await AsyncModel.load(pulled.name) as model:
            return str(await model.chat([USER]))

    assert "Paris" in asyncio.run(main())


@pytest.mark.parametrize("way", ["false", "raise"])
def test_progress_can_cancel_a_pull(serve, way):
    serve("--slow", str(1 << 20))

    def progress(now):
        if now.phase == "downloading":
            if way == "raise":
                raise KeyError("mine")
            return False
        return None

    with pytest.raises(KeyError if way == "raise" else CancelledError):
        Model.pull("big", progress=progress)
    with pytest.raises(NotFoundError):
        Model("big")


def test_a_task_that_is_cancelled_ends_its_pull(serve):
    serve("--slow", str(1 << 20))

    async def main():
        begun = threading.Event()
        calls = []

        def progress(now):
            calls.append(now)
            if now.phase == "downloading":
                begun.set()

        task = asyncio.create_task(AsyncModel.pull("big", progress=progress))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.3)
        heard = len(calls)
        await asyncio.sleep(0.5)
        assert len(calls) == heard, "it goes on"

    asyncio.run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_control_c_ends_a_pull(serve):
    serve("--slow", str(1 << 20))
    main = threading.main_thread().ident

    def progress(now):
        if now.phase == "downloading":
            signal.pthread_kill(main, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Model.pull("big", progress=progress)


def test_invalid_pulls_are_errors(serve):
    serve()
    with pytest.raises(UnknownModelError):
        Model.pull("a b")
    with pytest.raises(InvalidArgumentError):
        Model.pull("./model.gguf")
    with pytest.raises(InvalidArgumentError, match="built in"):
        Model.pull("demo")
    with pytest.raises(NotFoundError, match="has no model nothing:latest"):
        Model.pull("nothing")
    with pytest.raises(TypeError, match="progress is a function"):
        Model.pull("tiny", progress=3)
    with pytest.raises(TypeError):
        Model.pull("tiny", inscure=True)


def test_token_authenticates_at_the_registry(serve, monkeypatch):
    serve("--token", "secret")
    # The registry issues its token to every client; here the caller provides it.
    assert Model.pull("tiny", token="secret").name == "tiny:latest"
    monkeypatch.setenv("MULLAMA_REGISTRY", "http://127.0.0.1:9")
    with pytest.raises(DownloadError) as raised:
        Model.pull("tiny")
    assert raised.value.hint == "check the name and the network"
    assert mullama.errors.DownloadError is DownloadError
