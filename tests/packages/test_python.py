"""The wheel: its contents, the systems on which it runs, and its messages where it cannot run."""

import email
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import gpu
import wheels
from conftest import ROOT, Unpacked, VirtualEnvironment, unpack

MB = 1_000_000
ENGINE = ROOT / "target/release/mullama-engine"
LINUX = sys.platform == "linux"

USE = """
import mullama, os
with mullama.Model("demo") as model:
    print(model.chat([{"role": "user", "content": "What is the capital of France?"}], temperature=0))
print(os.path.dirname(mullama.__file__))
"""
ANSWER = "The capital of France is Paris."


def imports(environment, **options):
    """Imports the package and returns the finished process."""
    return environment.script("import mullama", check=False, **options)


def problem(environment, **options):
    """The last line of Python's error message if the package cannot be imported."""
    done = imports(environment, **options)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: "), done.stderr
    return last


# --- what is in it ----------------------------------------------------------------------------------


def test_size(wheel, figure):
    with zipfile.ZipFile(wheel) as archive:
        infos = archive.infolist()
    figure(f"{wheel.name}: {wheel.stat().st_size / MB:.1f} MB, {sum(i.file_size for i in infos) / MB:.1f} MB unpacked")
    kinds = {
        "CPU modules": "libggml-cpu",
        "engine": "lib/lib",
        "addon": "_native.abi3",
        "demo model": "lib/demo",
        "": "",
    }
    left = list(infos)
    for kind, part in kinds.items():
        of_kind = [info for info in left if part in info.filename]
        left = [info for info in left if info not in of_kind]
        packed, size = sum(i.compress_size for i in of_kind), sum(i.file_size for i in of_kind)
        figure(f"  {kind or 'the rest'}: {packed / MB:.2f} MB, {size / MB:.2f} MB unpacked, {len(of_kind)} files")
    assert wheel.stat().st_size < 20 * MB


def test_wheel_is_complete(wheel):
    names = list(wheels.read(wheel))
    assert len(names) == len(set(names))
    inside = {name.removeprefix("mullama/lib/") for name in names if name.startswith("mullama/lib/")}
    assert inside == {file.name for file in ENGINE.iterdir()}
    assert {"mullama/py.typed", "mullama/_native.pyi"} <= set(names)
    assert any("libggml-rpc" in name or "ggml-rpc" in name for name in inside)


@pytest.mark.skipif(not LINUX, reason="auditwheel is for Linux")
def test_tag(wheel):
    _, _, python, abi, platform = wheel.stem.split("-")
    assert (python, abi) == ("cp311", "abi3")
    found = wheels.audit(wheel)
    assert found["external_libs"] == {}
    assert platform == found["overall_tag"] == found["sym_tag"]
    assert platform.startswith(("manylinux_", "musllinux_"))


@pytest.mark.skipif(not LINUX, reason="reads ELF files")
def test_libraries_are_searched_only_in_their_own_folder(wheel, tmp_path):
    unpack(wheel, tmp_path)
    files = [*tmp_path.glob("mullama/*.so"), *tmp_path.glob("mullama/lib/*")]
    for file in files:
        if file.suffix == ".gguf":
            continue
        dynamic = subprocess.run(["readelf", "-d", file], capture_output=True, text=True, check=True).stdout
        for line in dynamic.splitlines():
            if "PATH)" in line:
                paths = line.partition("[")[2].rstrip("]").split(":")
                assert all(path.startswith("$ORIGIN") for path in paths if path), f"{file.name}: {line}"


def test_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    needed = metadata.get_all("Requires-Dist") or []
    assert all("extra ==" in line for line in needed), "no dependency at run time"
    extras = set(metadata.get_all("Provides-Extra"))
    version = metadata["Version"]
    assert {str(Requirement(line)) for line in needed} == {
        f'mullama-{extra}=={version}; extra == "{extra}"' for extra in extras
    }
    assert extras == set(gpu.PACKAGES), "they are those of the table"
    assert metadata["Requires-Python"] == ">=3.11"


# --- using it ---------------------------------------------------------------------------------------


def test_a_model_answers(installed):
    answer, folder = installed.script(USE, PATH="").stdout.splitlines()
    assert answer == ANSWER
    assert str(installed.folder) in folder


def test_the_command(installed):
    question = ["run", "demo", "--temperature", "0", "What is the capital of France?"]
    by_module = installed.run(installed.python, "-m", "mullama", *question, PATH="")
    by_script = installed.run(installed.python.with_name("mullama"), *question, PATH="")
    assert by_module.stdout == by_script.stdout == ANSWER + "\n"


def test_the_command_has_the_program_s_output_and_status(installed):
    program = ROOT / f"target/release/mullama{'.exe' if sys.platform == 'win32' else ''}"
    for arguments in (["--version"], ["no-such-command"], ["run", "--no-pull", "no-such-model", "Hello"]):
        module = installed.run(installed.python, "-m", "mullama", *arguments, check=False)
        direct = installed.run(program, *arguments, check=False)
        assert module.returncode == direct.returncode
        assert module.stdout == direct.stdout


def test_the_command_runs_in_the_python_process(installed):
    """A signal reaches it, and its output is not buffered."""
    command = [installed.python, "-m", "mullama", "run", "demo", "--max-tokens", "100000", "--ignore-eos", "One,"]
    environment = {"HOME": str(installed.home)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.read(8)
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 130


def answers(port):
    """Whether a process listens on a port of this machine."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")
def test_commands_without_a_signal_handler_are_interrupted(installed):
    """Python's own handler would wait until the command has finished."""
    command = [installed.python, "-m", "mullama", "rpc-server", "--device", "CPU", "--port", "27199"]
    environment = {"HOME": str(installed.home)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not answers(27199):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT


def test_import_time(installed, figure):
    def measure(text):
        times = []
        for _ in range(21):
            begun = time.perf_counter()
            installed.script(text)
            times.append((time.perf_counter() - begun) * 1000)
        return statistics.median(times), min(times)

    installed.script("import mullama")
    bare, importing = measure("pass"), measure("import mullama")
    median, least = (with_it - without for with_it, without in zip(importing, bare, strict=True))
    figure(
        f"import mullama: {median:.1f} ms (at best {least:.1f} ms) more than starting Python, which takes {bare[0]:.1f} ms"
    )


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
def test_other_versions_of_python(minor, wheel, tmp_path):
    base = python_of(minor)
    if base is None:
        pytest.skip(f"there is no Python 3.{minor} here")
    environment = VirtualEnvironment(tmp_path / "venv", base)
    environment.pip("install", wheel)
    assert environment.script(USE).stdout.splitlines()[0] == ANSWER


def python_of(minor):
    """A Python of this version: from the path, or from pyenv."""
    places = [shutil.which(f"python3.{minor}"), *Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python")]
    return next((str(place) for place in places if place and runs(place, minor)), None)


def runs(python, minor):
    said = subprocess.run(
        [python, "-c", "import sys, venv; print(sys.version_info[1])"], capture_output=True, text=True
    )
    return said.stdout.strip() == str(minor)


# --- where it cannot be installed ---------------------------------------------------------------------


def test_an_old_python_is_refused(wheel, installed, tmp_path):
    options = ["install", "--only-binary=:all:", "--no-deps", "--target", tmp_path / "none"]
    old = [*options, "--python-version", "3.9"]
    file = installed.pip(*old, wheel, check=False)
    assert file.returncode != 0
    assert "is not a supported wheel on this platform" in file.stderr
    index = installed.pip(*old, "--find-links", wheel.parent, "mullama", check=False)
    assert index.returncode != 0
    assert "Requires-Python" in index.stderr or "No matching distribution" in index.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "platform", ["win_amd64", "macosx_11_0_arm64", "manylinux_2_99_x86_64", "musllinux_1_2_x86_64"]
)
def test_another_platform_is_refused(platform, wheel, installed, tmp_path):
    other = tmp_path / f"{wheel.stem.rpartition('-')[0]}-{platform}.whl"
    shutil.copy(wheel, other)
    done = installed.pip("install", "--target", tmp_path / "none", other, check=False)
    assert done.returncode != 0
    assert "is not a supported wheel on this platform" in done.stderr


# --- installations that are wrong ---------------------------------------------------------------------


def module_of(environment):
    return next(path for path in environment.package.glob("_native.*") if path.suffix != ".pyi")


def test_unpacked_wheel_works(unpacked):
    assert unpacked.script(USE).stdout.splitlines() == [ANSWER, str(unpacked.package)]


def test_the_native_module_is_missing(unpacked):
    module_of(unpacked).unlink()
    said = problem(unpacked)
    assert f"the native module of mullama is missing from {unpacked.package}" in said
    assert "--force-reinstall" in said


@pytest.mark.parametrize("content", [b"", b"a page that a proxy sent\n" * 99])
def test_the_native_module_is_damaged(unpacked, content):
    module = module_of(unpacked)
    module.write_bytes(content)
    said = problem(unpacked)
    assert module.name in said
    assert "it is damaged, or for another platform" in said
    assert "--force-reinstall" in said


def test_the_native_module_is_for_another_platform(unpacked):
    module = module_of(unpacked)
    # ELF's machine: 183 is AArch64.
    content = bytearray(module.read_bytes())
    content[18] = 183
    module.write_bytes(content)
    assert "for another platform" in problem(unpacked)


def test_the_native_module_is_of_another_version(unpacked):
    version = unpacked.package / "_version.py"
    version.write_text(version.read_text().replace('__version__ = "', '__version__ = "99.'))
    said = problem(unpacked)
    assert "is of mullama 0." in said
    assert "are of 99." in said
    assert "--force-reinstall" in said


def test_the_engine_is_missing(unpacked):
    shutil.rmtree(unpacked.package / "lib")
    said = problem(unpacked)
    assert f"there is no {unpacked.package / 'lib'}" in said
    assert "--force-reinstall" in said


def test_a_library_of_the_engine_is_missing(unpacked):
    (unpacked.package / "lib/libllama.so.0").unlink()
    said = problem(unpacked)
    assert "libllama.so.0" in said
    assert "--force-reinstall" in said


def test_the_cpu_modules_are_missing(unpacked):
    for module in (unpacked.package / "lib").glob("libggml-cpu-*"):
        module.unlink()
    done = unpacked.script(USE, check=False)
    assert done.returncode == 1
    assert "no CPU module of the engine could be loaded" in done.stderr
    assert "reinstall mullama" in done.stderr


def test_the_source_folder_cannot_be_imported(tmp_path, installed):
    shutil.copytree(ROOT / "bindings/python", tmp_path / "source", ignore=shutil.ignore_patterns("lib", "*.so"))
    done = installed.script("import mullama", check=False, PYTHONPATH=tmp_path / "source/python")
    assert done.returncode == 1
    assert "is the source of mullama, and not an installation" in done.stderr
    assert "pip install ./bindings/python" in done.stderr


def test_a_folder_that_cannot_be_written(unpacked):
    everything = [unpacked.folder, *unpacked.folder.rglob("*")]
    for path in everything:
        path.chmod(path.stat().st_mode & ~0o222 | 0o555)
    python = someone_elses_python(unpacked.folder) if os.geteuid() == 0 else [unpacked.python]
    try:
        assert unpacked.run(*python, "-c", USE).stdout.splitlines()[0] == ANSWER
        question = ["run", "demo", "--temperature", "0", "What is the capital of France?"]
        assert unpacked.run(*python, "-m", "mullama", *question).stdout == ANSWER + "\n"
    finally:
        for path in everything:
            path.chmod(path.stat().st_mode | 0o200)


def someone_elses_python(folder):
    """A command that runs Python as a user who is not root, who could write everywhere."""
    if not shutil.which("setpriv"):
        pytest.skip("root may write everywhere, and there is no setpriv to be someone else")
    for parent in folder.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)
    as_other = [shutil.which("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"]
    for python in (sys.executable, "/usr/bin/python3"):
        runs = [*as_other, python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        if subprocess.run(runs, capture_output=True).returncode == 0:
            return [*as_other, python]
    pytest.skip("no Python that other users may run")


def test_of_two_copies_the_first_is_used(tmp_path, wheel):
    first, second = Unpacked(tmp_path / "first", wheel), Unpacked(tmp_path / "second", wheel)
    for one, other in ((first, second), (second, first)):
        path = os.pathsep.join([str(one.place), str(other.place)])
        assert one.script(USE, PYTHONPATH=path).stdout.splitlines() == [ANSWER, str(one.package)]
        assert one.run(one.python, "-m", "mullama", "--version", PYTHONPATH=path).stdout.startswith("mullama ")


def test_two_copies_in_one_process(tmp_path, wheel):
    first, second = Unpacked(tmp_path / "first", wheel), Unpacked(tmp_path / "second", wheel)
    both = f"""
import sys
import mullama
for name in [name for name in sys.modules if name.startswith("mullama")]:
    del sys.modules[name]
sys.path.insert(0, {str(second.place)!r})
import mullama
"""
    done = first.script(both, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "the engine of another installation is loaded" in last
    assert str(first.package / "lib") in last
    assert str(second.package / "lib") in last


@pytest.mark.skipif(not LINUX, reason="LD_LIBRARY_PATH is Linux's")
def test_another_engine_on_the_path_of_libraries(tmp_path, wheel, unpacked):
    other = Unpacked(tmp_path / "other", wheel)
    said = problem(unpacked, LD_LIBRARY_PATH=other.package / "lib")
    assert "the engine of another installation is loaded" in said
    assert "LD_LIBRARY_PATH" in said


# --- building it --------------------------------------------------------------------------------------


def test_there_is_no_source_distribution(tmp_path):
    done = backend(ROOT / "bindings/python", f"build_sdist({str(tmp_path)!r})")
    assert done.returncode == 1
    assert "mullama has no source distribution" in done.stderr
    assert "pip install ./bindings/python" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_folder_alone_cannot_be_built(tmp_path):
    alone = tmp_path / "a/b/python"
    shutil.copytree(ROOT / "bindings/python", alone, ignore=shutil.ignore_patterns("lib", "tests"))
    done = backend(alone, "get_requires_for_build_wheel()")
    assert done.returncode == 1
    assert "is not in a clone of mullama's repository" in done.stderr


def test_a_build_without_a_compiler_says_so():
    done = backend(ROOT / "bindings/python", "get_requires_for_build_wheel()", PATH="")
    assert done.returncode == 1
    assert "building mullama from source needs Rust" in done.stderr


def backend(folder, call, **variables):
    """Calls a hook of the package's own build backend."""
    command = [sys.executable, "-c", f"import build_backend; build_backend.{call}"]
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.timeout(1700)
def test_from_source(tmp_path):
    """`pip install` in a copy of the repository, with a virtual environment, where nothing has been built."""
    copy = tmp_path / "repository"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    environment = VirtualEnvironment(tmp_path / "venv")
    # The build tools, with their caches of downloads.
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("CARGO_", "VIRTUAL_ENV"))}
    command = [environment.python, "-m", "pip", "install", "--no-deps", "./bindings/python"]
    done = subprocess.run(command, cwd=copy, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    shutil.rmtree(copy)
    answer, folder = environment.script(USE).stdout.splitlines()
    assert answer == ANSWER
    assert str(environment.folder) in folder
    assert environment.run(environment.python, "-m", "mullama", "--version").stdout.startswith("mullama ")
