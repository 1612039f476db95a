"""Workers as processes of this machine: correct ones, silent ones, and ones with false answers."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest
from conftest import EXE, ROOT, USER
from mullama import BackendError, InvalidArgumentError, Model, gpu

COMMAND = ROOT / "target/release" / f"mullama{EXE}"

# A long timeout, because the machine may be busy. The tests set a worker's timeout even longer: a
# call that ends within this time did not wait for the worker.
PATIENCE = 120
FOR_EVER = "3600"


class Worker:
    def __init__(self, process, port):
        self.process = process
        self.address = f"127.0.0.1:{port}"


@pytest.fixture
def worker():
    """A worker on loopback."""
    if not COMMAND.exists():
        pytest.skip(f"{COMMAND.name} is not built")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [COMMAND, "rpc-server", "--port", str(port), "--threads", "1", "--device", "CPU"]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.01)
    yield Worker(process, port)
    process.kill()
    process.wait()


def test_a_model_on_a_worker(worker):
    with Model("demo", rpc_servers=[worker.address], n_gpu_layers=-1, context_size=512) as model:
        assert model.gpu_layers == model.n_layers + 1
        remote = [share for share in model.placement.devices if share.name.startswith("RPC")]
        assert [share.layers for share in remote] == [9]
        assert str(model.chat([USER], temperature=0)) == "The capital of France is Paris."
        device = next(device for device in gpu.devices() if device.backend == "rpc")
        assert worker.address in device.description


def test_unreachable_workers_are_errors():
    with pytest.raises(BackendError, match=r"127\.0\.0\.1:9 cannot be used") as caught:
        Model("demo", rpc_servers=["127.0.0.1:9"])
    assert "rpc-server" in caught.value.hint
    with pytest.raises(InvalidArgumentError, match="not an address"):
        Model("demo", rpc_servers=["nowhere:port"])


BEGIN = """
import asyncio, os, signal, sys, threading
from mullama import AsyncModel, BackendError, Model, gpu

worker, process = sys.argv[1], int(sys.argv[2])
options = dict(rpc_servers=[worker], n_gpu_layers=-1, context_size=512)

def silence():
    os.kill(process, signal.SIGSTOP)
"""

CALLS = """
model = Model("demo", **options)
stream = model.stream("Once upon a time", ignore_eos=True)
text = str(next(stream))
silence()
late = model.generate("Once", timeout=1)
assert late.finish_reason == "cancelled" and late.text == "", late
late = model.chat([{"role": "user", "content": "Hello"}], timeout=1)
assert late.finish_reason == "cancelled", late
stream.cancel()
text += "".join(map(str, stream))
assert stream.completion.finish_reason == "cancelled"
assert stream.completion.text == text != ""
assert [device.backend for device in gpu.devices()].count("rpc") == 1
waiting = threading.Thread(target=lambda: model.generate("Once", ignore_eos=True, timeout=2))
waiting.start()
model.close()
waiting.join()
"""

ASYNC = """
async def main():
    async with await AsyncModel.load("demo", **options) as model:
        stream = model.stream("Once upon a time", ignore_eos=True)
        await anext(stream)
        silence()
        late = await model.generate("Once", timeout=1)
        assert late.finish_reason == "cancelled", late
        try:
            await asyncio.wait_for(model.generate("Once", ignore_eos=True), 1)
        except TimeoutError:
            pass
        else:
            raise AssertionError("it was not cancelled")

asyncio.run(main())
"""

EXIT = """
model = Model("demo", **options)
stream = model.stream("Once upon a time", ignore_eos=True)
next(stream)
silence()
reader = threading.Thread(target=lambda: list(stream), daemon=True)
reader.start()
"""

LIMIT = """
model = Model("demo", **options)
stream = model.stream("Once upon a time", ignore_eos=True)
next(stream)
silence()
try:
    list(stream)
except BackendError as error:
    assert worker in str(error) and "within 5 s" in str(error), error
else:
    raise AssertionError("it went on")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be halted there")
@pytest.mark.parametrize(
    ("script", "silence"),
    [(CALLS, FOR_EVER), (ASYNC, FOR_EVER), (EXIT, FOR_EVER), (LIMIT, "5")],
    ids=["calls", "async", "exit", "limit"],
)
def test_silent_workers_time_out(worker, tmp_path, script, silence):
    path = tmp_path / "script.py"
    path.write_text(BEGIN + script + "print('done')\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, path, worker.address, str(worker.process.pid)],
        env=os.environ | {"MULLAMA_RPC_TIMEOUT": silence},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    os.kill(worker.process.pid, signal.SIGCONT)


HELLO, DEVICE_COUNT, ALIGNMENT, MAX_SIZE, MEMORY = 14, 15, 1, 2, 11

GOOD = {
    HELLO: bytes([7, 0, 0]).ljust(28, b"\0"),
    DEVICE_COUNT: struct.pack("<I", 1),
    ALIGNMENT: struct.pack("<Q", 64),
    MAX_SIZE: struct.pack("<Q", 1 << 40),
    MEMORY: struct.pack("<QQ", 1 << 30, 1 << 31),
}


@contextlib.contextmanager
def pretend(answers):
    """The address of a fake worker that has only the given answers."""

    def serve(stream):
        with stream, stream.makefile("rb") as requests:
            while head := requests.read(9):
                command, length = struct.unpack("<BQ", head)
                requests.read(length)
                if command not in answers:
                    break
                stream.sendall(struct.pack("<Q", len(answers[command])) + answers[command])

    def accept():
        # The thread ends when the listener is shut down.
        with contextlib.suppress(OSError):
            while True:
                serve(listener.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ({DEVICE_COUNT: struct.pack("<I", 1 << 31)}, "2147483648 devices"),
        ({ALIGNMENT: struct.pack("<Q", 0)}, "0 for the alignment"),
        ({MEMORY: struct.pack("<QQ", 2, 1)}, "2 of 1 bytes"),
        ({MAX_SIZE: b""}, "wrong length"),
        ({HELLO: bytes(3)}, "not a worker"),
        ({}, "closed the connection"),
    ],
)
def test_invalid_worker_answers_are_errors(answers, problem):
    with pretend(GOOD | answers) as address:
        with pytest.raises(BackendError, match=problem) as caught:
            Model("demo", rpc_servers=[address], n_gpu_layers=-1)
        assert address in str(caught.value)
