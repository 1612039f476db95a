"""Common parts of the tests of packages: clean environments, and figures that are printed at the end.

A clean environment contains neither the source tree nor a compiler: its only variable is `HOME`, and it is in
a folder of its own, whose name has spaces and letters outside ASCII.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "packages"))

FIGURES: list[str] = []


def pytest_terminal_summary(terminalreporter):
    for line in FIGURES:
        terminalreporter.write_line(line)


@pytest.fixture
def figure():
    """Adds a line to the output at the end."""
    return FIGURES.append


@pytest.fixture(scope="session")
def wheel():
    """The wheel that `make wheel` built."""
    wheels = sorted((ROOT / "target/wheels").glob("mullama-*.whl"))
    assert len(wheels) == 1, f"`make wheel` leaves one wheel, and here are {wheels}"
    return wheels[0]


class Environment:
    """A folder with an installation, in which programs run that see nothing else."""

    def __init__(self, folder, python):
        self.folder, self.python = folder, python
        self.home = folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)

    def run(self, *command, check=True, **variables):
        """Runs a program with only `HOME` and the given variables."""
        environment = {"HOME": str(self.home), **{name: str(value) for name, value in variables.items()}}
        done = subprocess.run(
            [str(part) for part in command],
            env=environment, cwd=self.home, capture_output=True, text=True, timeout=280, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def script(self, text, **options):
        """Runs Python."""
        return self.run(self.python, "-c", text, **options)


class VirtualEnvironment(Environment):
    """A virtual environment."""

    def __init__(self, folder, base=sys.executable):
        subprocess.run([base, "-m", "venv", folder], check=True, env={"PATH": os.defpath})
        super().__init__(folder, folder / ("Scripts" if sys.platform == "win32" else "bin") / "python")

    @property
    def package(self):
        """The installed package's folder."""
        return next(self.folder.glob("**/site-packages/mullama"))

    def pip(self, *arguments, **options):
        """Runs this environment's pip, without an index."""
        return self.run(
            self.python, "-m", "pip", *arguments, PIP_NO_INDEX=1, PIP_DISABLE_PIP_VERSION_CHECK=1, **options
        )


class Unpacked(Environment):
    """A wheel's files in a folder in which Python searches for packages."""

    def __init__(self, folder, *wheels):
        super().__init__(folder, sys.executable)
        self.place = folder / "packages"
        for wheel in wheels:
            unpack(wheel, self.place)
        self.package = self.place / "mullama"

    def run(self, *command, **options):
        return super().run(*command, **{"PYTHONPATH": self.place, "PYTHONNOUSERSITE": 1, **options})


def unpack(wheel, place):
    """Extracts a wheel's files like an installer."""
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            Path(archive.extract(info, place)).chmod(info.external_attr >> 16 & 0o777)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with a difficult name."""
    return tmp_path_factory.mktemp("Größe und Übung – λ")


@pytest.fixture(scope="session")
def installed(folder, wheel):
    """The wheel, installed into a virtual environment of its own."""
    environment = VirtualEnvironment(folder / "venv")
    environment.pip("install", wheel)
    return environment


@pytest.fixture
def unpacked(tmp_path, wheel):
    """The wheel's files in a folder, which tests may damage."""
    return Unpacked(tmp_path / "ein Ort für λ", wheel)
