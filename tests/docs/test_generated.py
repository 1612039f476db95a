"""What the documentation has from the code is what the code says now; `make reference` writes it anew. The page
on the command is compared where the command is tested, and plans by `docs/plan_tables.py --check` and `docs/pictures.py --check`."""

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
