"""The placement of models, and the errors if they do not fit."""

import os

import pytest
from mullama import InvalidArgumentError, Model


def test_unknown_devices_are_rejected():
    with pytest.raises(InvalidArgumentError, match=r"no device CUDA9; the devices are .*CPU"):
        Model("demo", devices=["CUDA9"])
    with pytest.raises(InvalidArgumentError, match="tensor_split"):
        Model("demo", tensor_split=[1, -1])
    with pytest.raises(InvalidArgumentError, match="tensor_overrides"):
        Model("demo", tensor_overrides={"(": "CPU"})


def test_models_that_do_not_fit_are_rejected(python):
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
