"""The generated parts of the documentation are up to date; `make reference` regenerates them. The page on the command
is compared in the tests of the command, and plans by `docs/plan_tables.py --check` and `docs/pictures.py --check`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        ("docs", [sys.executable, "reference_tables.py", "--check"]),
        ("bindings/node", ["node", "generate-reference.mjs", "--check"]),
    ],
    ids=["errors, options and Python", "Node.js"],
)
def test_references_are_current(folder, command):
    checked = subprocess.run(command, cwd=ROOT / folder, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
