"""What `cargo build` has compiled is not compiled again by `cargo test`."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def features(edges):
    """What the workspace is built on, along these kinds of dependencies: the features of each package."""
    command = ["cargo", "tree", "--locked", "--offline", "--features", "full", "--prefix", "none", "--edges", edges]
    done = subprocess.run([*command, "--format", "{p}={f}"], cwd=ROOT, check=True, capture_output=True, text=True)
    return dict(line.removesuffix(" (*)").rsplit("=", 1) for line in done.stdout.splitlines() if line)


def test_what_tests_need_changes_nothing_that_is_built():
    """Where this fails, the dependencies of tests/testkit must have these features too."""
    built, tested = features("normal"), features("normal,dev")
    assert {name: tested[name] for name in built} == built
