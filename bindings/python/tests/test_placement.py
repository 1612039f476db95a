"""Where models go, and what is said where they cannot."""

import os
import socket
import subprocess
import time

import pytest
from conftest import EXE, ROOT, USER
from mullama import BackendError, InvalidArgumentError, Model, gpu

COMMAND = ROOT / "target/release" / f"mullama{EXE}"


@pytest.fixture
def worker():
    """A worker on loopback, which stands in for another machine."""
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
    yield f"127.0.0.1:{port}"
    process.kill()
    process.wait()


def test_a_model_on_a_worker(worker):
    with Model("demo", rpc_servers=[worker], n_gpu_layers=-1, context_size=512) as model:
        assert model.gpu_layers == model.n_layers + 1
        remote = [share for share in model.placement.devices if share.name.startswith("RPC")]
        assert [share.layers for share in remote] == [9]
        assert str(model.chat([USER], temperature=0)) == "The capital of France is Paris."
        device = next(device for device in gpu.devices() if device.backend == "rpc")
        assert worker in device.description


def test_a_worker_that_is_not_there():
    with pytest.raises(BackendError, match=r"127\.0\.0\.1:9 cannot be used") as caught:
        Model("demo", rpc_servers=["127.0.0.1:9"])
    assert "rpc-server" in caught.value.hint
    with pytest.raises(InvalidArgumentError, match="no address"):
        Model("demo", rpc_servers=["nowhere:port"])


def test_devices_that_are_not_there():
    with pytest.raises(InvalidArgumentError, match=r"there is no device CUDA9; there are .*CPU"):
        Model("demo", devices=["CUDA9"])
    with pytest.raises(InvalidArgumentError, match="tensor_split"):
        Model("demo", tensor_split=[1, -1])
    with pytest.raises(InvalidArgumentError, match="tensor_overrides"):
        Model("demo", tensor_overrides={"(": "CPU"})


def test_what_does_not_fit_the_machine_is_refused(python):
    script = """
from mullama import DoesNotFitError, Model
try:
    Model("demo", context_size=100_000)
except DoesNotFitError as error:
    assert isinstance(error, MemoryError)
    assert "CPU needs" in str(error)
    fitting = int(error.context["max_context_size"])
    print(Model("demo", context_size=fitting).context_size == fitting)
print(Model("demo").context_size < 2048)
"""
    done = python(script, env=os.environ | {"MULLAMA_HOST_MEMORY": "10MiB"})
    assert (done.returncode, done.stdout.split()) == (0, ["True", "True"]), done.stderr
