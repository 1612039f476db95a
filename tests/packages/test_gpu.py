"""The packages of the Vulkan backend: with them, GPUs are used, and without them, the CPU; problems are reported.
Two devices of Mesa's software renderer replace GPUs."""

import json
import os
import shutil
import subprocess
import sys
import tarfile

import pytest

import gpu
from conftest import ROOT, Unpacked, VirtualEnvironment

MB = 1_000_000
MODULE = "libggml-vulkan.so"
# The renderer counts as a CPU and is skipped, unless it is selected; selected twice, it is two GPUs. Its
# warm-up is slow.
TWO_GPUS = {"GGML_VK_VISIBLE_DEVICES": "0,0", "MULLAMA_WARMUP": "0"}
NO_DRIVER = {"VK_DRIVER_FILES": "/nonexistent.json", "VK_ICD_FILENAMES": "/nonexistent.json"}

LIST = """
import json
from mullama import gpu
print(json.dumps({
    "devices": [device.name for device in gpu.devices()],
    "backends": {backend.name: [backend.path, backend.loaded, backend.reason] for backend in gpu.backends()},
    "vulkan": gpu.vulkan_available(),
}))
"""
COMPUTE = """
from mullama import Model
with Model("demo", n_gpu_layers={layers}, context_size=64, batch_size=32) as model:
    print(model.generate("The capital of France is", max_tokens=1, temperature=0).usage.completion_tokens)
    print(model.gpu_layers)
"""


@pytest.fixture(scope="session")
def built():
    """The two packages that `make gpu-package` built."""
    found = {path.suffix: path for path in (ROOT / "target/packages").glob("*vulkan*")}
    assert set(found) == {".whl", ".tgz"}, "run `make gpu-package` first"
    return found


@pytest.fixture(scope="session")
def installed(folder, wheel, built):
    """Both wheels, by the extra's name."""
    environment = VirtualEnvironment(folder / "venv")
    places = ["--find-links", wheel.parent, "--find-links", built[".whl"].parent]
    environment.pip("install", *places, "mullama[vulkan]")
    return environment


@pytest.fixture
def unpacked(tmp_path, wheel, built):
    """The files of both wheels, which tests may damage."""
    return Unpacked(tmp_path / "ein Ort für λ", wheel, built[".whl"])


def listed(environment, **variables):
    return json.loads(environment.script(LIST, **{**TWO_GPUS, **variables}).stdout)


def by_command(environment, **variables):
    """The output of `mullama devices`, in the same form as the other list."""
    command = [environment.python, "-m", "mullama", "devices", "--json"]
    said = json.loads(environment.run(*command, **{**TWO_GPUS, **variables}).stdout)
    return {
        "devices": [device["name"] for device in said["devices"]],
        "backends": {one["name"]: [one["path"], one["loaded"], one["reason"]] for one in said["backends"]},
        "vulkan": any(device["backend"] == "vulkan" for device in said["devices"]),
    }


def reason(environment, **variables):
    """The reason why the module is not loaded, which the list and the command both report. The CPU still works."""
    said = listed(environment, **variables)
    assert by_command(environment, **variables) == said
    path, loaded, why = said["backends"]["vulkan"]
    assert not loaded
    assert not said["vulkan"]
    assert said["devices"] == ["CPU"]
    assert os.path.basename(path) == MODULE
    computed = environment.script(COMPUTE.format(layers='"auto"'), **{**TWO_GPUS, **variables}).stdout
    assert computed.split() == ["1", "0"]
    table = environment.run(environment.python, "-m", "mullama", "devices", **{**TWO_GPUS, **variables}).stdout
    assert f"vulkan ({path}): {why}" in table
    return why


def test_sizes(built, figure):
    for path in built.values():
        figure(f"{path.name}: {path.stat().st_size / MB:.1f} MB")
        assert path.stat().st_size < 20 * MB


def test_wheel_and_npm_package_have_the_same_module(built, tmp_path):
    unpacked = Unpacked(tmp_path / "wheel", built[".whl"])
    of_python = unpacked.place / "mullama_backends/vulkan"
    with tarfile.open(built[".tgz"]) as archive:
        archive.extractall(tmp_path, filter="data")
    of_node = tmp_path / "package"
    assert {path.name for path in of_python.iterdir()} == {MODULE, "mullama-backend.json"}
    extra = {"package.json", "README.md", "LICENSE"}
    assert {path.name for path in of_node.iterdir()} - extra == {MODULE, "mullama-backend.json"}
    assert (of_python / MODULE).read_bytes() == (of_node / MODULE).read_bytes()

    labels = [json.loads((folder / "mullama-backend.json").read_text()) for folder in (of_python, of_node)]
    platform = gpu.Platform.here().npm
    assert [label["package"] for label in labels] == ["mullama-vulkan", f"@mullama/{platform}-vulkan"]
    assert {label["version"] for label in labels} == {gpu.version()}
    manifest = json.loads((of_node / "package.json").read_text())
    assert manifest["name"] == labels[1]["package"]
    assert manifest["version"] == gpu.version()
    assert manifest["peerDependencies"] == {"mullama": gpu.version()}
    assert "scripts" not in manifest


def test_installed_package_adds_gpus(installed):
    said = listed(installed)
    assert said["devices"] == ["Vulkan0", "Vulkan1", "CPU"]
    assert said["vulkan"]
    path, loaded, why = said["backends"]["vulkan"]
    assert loaded, why
    assert path.endswith(f"mullama_backends/vulkan/{MODULE}")
    assert by_command(installed) == said


def test_models_run_on_the_gpus(installed):
    # The renderer compiles the shaders of each layer slowly, so one layer must suffice.
    one = {**TWO_GPUS, "GGML_VK_VISIBLE_DEVICES": "0"}
    assert installed.script(COMPUTE.format(layers=1), **one).stdout.split() == ["1", "1"]


def test_models_run_on_the_cpu_without_the_package(tmp_path, wheel):
    without = Unpacked(tmp_path / "without", wheel)
    said = listed(without)
    assert said["devices"] == ["CPU"]
    assert "vulkan" not in said["backends"]
    assert by_command(without) == said
    computed = without.script(COMPUTE.format(layers='"auto"'), **TWO_GPUS).stdout
    assert computed.split() == ["1", "0"]


def test_without_a_driver_the_reason_is_listed(installed):
    assert "driver" in reason(installed, **NO_DRIVER)


def test_missing_vulkan_loader_is_reported(unpacked, tmp_path):
    # A file that is not a library, found before the system's library.
    (tmp_path / "libvulkan.so.1").write_text("this is no library")
    assert "libvulkan.so.1" in reason(unpacked, LD_LIBRARY_PATH=tmp_path)


def test_a_package_of_another_version_is_refused(unpacked):
    label = unpacked.place / "mullama_backends/vulkan/mullama-backend.json"
    label.write_text(label.read_text().replace(f'"{gpu.version()}"', '"99.0.0"'))
    why = reason(unpacked)
    assert "mullama-vulkan 99.0.0" in why
    assert f"this is mullama {gpu.version()}" in why
    assert f"pip install mullama-vulkan=={gpu.version()}" in why


def test_pip_installs_only_matching_versions(installed, wheel, tmp_path, monkeypatch):
    """Each requires exactly the version of the other."""
    monkeypatch.setattr(gpu, "version", lambda: "99.0.0")
    module = ROOT / "target/release/mullama-backends/vulkan" / MODULE
    gpu.packages("vulkan", module, [], tmp_path)
    places = ["--find-links", wheel.parent, "--find-links", tmp_path]
    for wanted in ("mullama-vulkan==99.0.0", "mullama[vulkan]"):
        done = installed.pip("install", "--target", tmp_path / "none", *places, wanted, check=False)
        assert done.returncode != 0
        assert "No matching distribution found" in done.stderr


def test_damaged_modules_are_reported(unpacked):
    module = unpacked.place / "mullama_backends/vulkan" / MODULE
    module.write_bytes(b"a page that a proxy sent")
    assert MODULE in reason(unpacked)


def test_backends_folder_takes_precedence(installed, unpacked):
    named = unpacked.place / "mullama_backends/vulkan"
    path, loaded, _ = listed(installed, MULLAMA_BACKENDS=named)["backends"]["vulkan"]
    assert loaded
    assert os.path.dirname(path) == str(named)


def test_backend_can_be_disabled(installed):
    said = listed(installed, MULLAMA_BACKEND="cpu")
    assert said["devices"] == ["CPU"]
    assert "vulkan" not in said["backends"]


def test_import_does_not_load_the_module(installed):
    """Nothing of the module is loaded before the engine is used."""
    mapped = "import mullama; print('libggml-vulkan' in open('/proc/self/maps').read())"
    assert installed.script(mapped).stdout == "False\n"


def test_modules_are_packed_only_as_their_backend(tmp_path):
    module = ROOT / "target/release/mullama-backends/vulkan" / MODULE
    command = [sys.executable, ROOT / "packages/gpu.py", "sycl", module, "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "the module of sycl is ggml-sycl, and not libggml-vulkan.so" in done.stderr
    shutil.copy(module, tmp_path / "libggml-opencl.so")
    command = [sys.executable, ROOT / "packages/gpu.py", "opencl", tmp_path / "libggml-opencl.so", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "needs libvulkan.so.1, which it does not bring along" in done.stderr


def test_libraries_of_nvidia_wheels_are_found(tmp_path):
    """A module for CUDA finds NVIDIA's libraries where NVIDIA's wheels put them."""
    library, module = tmp_path / "libcudart.so.12", tmp_path / "libggml-cuda.so"
    for made, source, *more in [
        (library, "int answer(void) { return 42; }", "-Wl,-soname,libcudart.so.12"),
        (module, "int answer(void); int ask(void) { return answer(); }", library),
    ]:
        made.with_suffix(".c").write_text(source)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", made, made.with_suffix(".c"), *more], check=True)
    built = {path.suffix: path for path in gpu.packages("cuda12", module, [], tmp_path / "built")}
    unpacked = Unpacked(tmp_path / "site", built[".whl"])
    placed = unpacked.place / "mullama_backends/cuda12" / module.name
    ask = f"import ctypes; print(ctypes.CDLL({str(placed)!r}).ask())"
    missing = unpacked.script(ask, check=False)
    assert "libcudart.so.12" in missing.stderr
    beside = unpacked.place / "nvidia/cuda_runtime/lib"
    beside.mkdir(parents=True)
    shutil.move(library, beside)
    assert unpacked.script(ask).stdout == "42\n"
