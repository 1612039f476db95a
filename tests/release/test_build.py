"""`cargo test` does not recompile the output of `cargo build`."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def features(edges):
    """The features of each dependency of the workspace, for the given kinds of dependencies."""
    command = ["cargo", "tree", "--locked", "--offline", "--features", "full", "--prefix", "none", "--edges", edges]
    done = subprocess.run([*command, "--format", "{p}={f}"], cwd=ROOT, check=True, capture_output=True, text=True)
    return dict(line.removesuffix(" (*)").rsplit("=", 1) for line in done.stdout.splitlines() if line)


def test_dev_dependencies_do_not_change_built_features():
    """If this fails, the missing features must be added to the dependencies of tests/testkit."""
    built, tested = features("normal"), features("normal,dev")
    assert {name: tested[name] for name in built} == built
