"""The checks of workflows find the mistakes in one."""

import json
import subprocess
import sys
from pathlib import Path

import yaml

import workflows

GOOD = """
on: push
permissions:
  contents: read
jobs:
  test:
    strategy:
      matrix:
        include:
          - platform: linux-x64-gnu
            make: test-rust
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
      - uses: ./.github/actions/prepare
      - run: make lint docs && make gpu-package BACKEND=${{ matrix.backend }}
      - run: cmake --version
      - run: make ${{ matrix.make }}
"""
KNOWN = {"lint", "docs", "gpu-package", "test-rust"}


def problems(text):
    return list(workflows.problems("w.yml", yaml.safe_load(text), KNOWN))


def test_targets_are_found_in_commands_and_in_rows():
    assert workflows.wanted_targets(yaml.safe_load(GOOD)) == KNOWN
    assert problems(GOOD) == []


def test_missing_targets_are_named():
    assert problems(GOOD.replace("lint docs", "lint dcos")) == ["w.yml: the Makefile has no target dcos"]
    assert problems(GOOD.replace("make: test-rust", "make: test-go")) == ["w.yml: the Makefile has no target test-go"]


def audited(text, folder):
    """The kinds of findings of the linter that `make lint` runs in addition to this check."""
    workflow = folder / ".github/workflows/w.yml"
    workflow.parent.mkdir(parents=True, exist_ok=True)
    workflow.write_text(text)
    command = [Path(sys.executable).with_name("zizmor"), "--offline", "--quiet", "--min-confidence=medium"]
    options = ["--config", workflows.ROOT / ".github/zizmor.yml", "--format=json", workflow]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    return {finding["ident"] for finding in json.loads(done.stdout)}


def test_actions_are_pinned_and_exist(tmp_path):
    assert audited(GOOD, tmp_path) == set()
    unpinned = GOOD.replace("3d3c42e5aac5ba805825da76410c181273ba90b1", "v7")
    assert "unpinned-uses" in audited(unpinned, tmp_path)
    assert problems(GOOD.replace("actions/prepare", "actions/nothing")) == [
        "w.yml: there is no ./.github/actions/nothing"
    ]


def test_jobs_declare_permissions_and_timeouts(tmp_path):
    unsaid = GOOD.replace("permissions:\n  contents: read\n", "")
    assert "excessive-permissions" in audited(unsaid, tmp_path)
    assert problems(GOOD.replace("    timeout-minutes: 5\n", "")) == ["w.yml: test may take for ever"]


def test_matrix_covers_all_packages():
    assert list(workflows.uncovered("backend", {"cpu", "webgpu"}, {"cpu", "vulkan"})) == [
        "the matrix has the backend webgpu, for which there are no packages",
        "there are packages for the backend vulkan, which the matrix does not build",
    ]


def test_makefile_targets_are_parsed():
    assert workflows.targets("a b: c\n\td\nE := f\n.PHONY: a\nx-y: z\n") >= {"a", "b", "x-y"}
    assert "E" not in workflows.targets("E := f\n")


def test_current_workflows_pass(capsys):
    assert workflows.main() == 0, capsys.readouterr().err
