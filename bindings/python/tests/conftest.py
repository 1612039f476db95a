import json
import subprocess
import sys
from pathlib import Path

import mullama
import pytest
from mullama import Model

ROOT = Path(__file__).resolve().parents[3]
EXE = ".exe" if sys.platform == "win32" else ""
TESTKIT = ROOT / "target/release" / f"mullama-testkit{EXE}"

USER = {"role": "user", "content": "What is the capital of France?"}


def pytest_report_header():
    return f"mullama {mullama.__version__} from {Path(mullama.__file__).parent}"


@pytest.fixture(scope="session")
def demo():
    """The demo model, shared by tests that do not change it."""
    with Model("demo", n_threads=1) as model:
        yield model


@pytest.fixture(scope="session")
def vectors():
    """Reads a file of `tests/vectors`."""

    def read(name):
        return json.loads((ROOT / "tests/vectors" / name).read_text(encoding="utf-8"))

    return read


@pytest.fixture(scope="session")
def testkit():
    """Runs the program that creates model files, and returns its output."""
    if not TESTKIT.exists():
        pytest.skip(f"{TESTKIT.name} is not built")

    def run(*arguments):
        command = [TESTKIT, *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    return run


@pytest.fixture
def python(tmp_path):
    """Runs a script in a separate Python process."""

    def run(script, **options):
        path = tmp_path / "script.py"
        path.write_text(script, encoding="utf-8")
        command = [sys.executable, "-X", "dev", path]
        options = {"capture_output": True, "text": True, "timeout": 40, "cwd": tmp_path} | options
        return subprocess.run(command, check=False, **options)

    return run
