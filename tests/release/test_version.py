"""Changing the version changes it everywhere."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HISTORY = "CHANGELOG.md"
THIS = "tests/release/test_version.py"


@pytest.fixture
def tree(tmp_path):
    """A copy of the tracked files."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run("git init -q && git add -A", shell=True, cwd=tmp_path, check=True)
    return tmp_path


def version(tree, *arguments):
    command = [sys.executable, ROOT / "scripts/version.py", "--root", tree, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def current(tree):
    return re.search(r'^version = "(.+)"', (tree / "Cargo.toml").read_text(), re.M)[1]


def naming(tree, wanted):
    """The lines with a version, except those of third-party packages and of the change history."""
    found = []
    for path in sorted(tree.rglob("*")):
        name = str(path.relative_to(tree))
        if not path.is_file() or name.startswith(".git/") or name in (HISTORY, THIS):
            continue
        text = path.read_bytes().decode(errors="replace")
        if name == "Cargo.lock":
            blocks = text.split("[[package]]")
            text = "".join(block for block in blocks if "\nsource = " not in block)
        elif name.endswith("package-lock.json"):
            # The entries of third-party packages are removed.
            text = re.sub(r'"node_modules/(?!@?mullama)[^"]+": \{.*?\n    \}', "", text, flags=re.S)
        pattern = rf"(?<![\d.]){re.escape(wanted)}(?![\d-]|\.\d)"
        found += [f"{name}: {line}" for line in text.splitlines() if re.search(pattern, line)]
    return found


def test_current_versions_agree():
    done = version(ROOT, "check")
    assert done.returncode == 0, done.stderr


def test_nothing_names_the_old_version_after_a_bump(tree):
    old = current(tree)
    unreleased = (tree / HISTORY).read_text().split("## [Unreleased]\n")[1].split("\n## ")[0].split("\n[")[0].strip()
    for new in ("7.31.4-rc.1", "7.31.4", "8.0.0"):
        count = len(naming(tree, old))
        assert count >= 20, "the workspace, its crates, both locks and package.json name it"
        done = version(tree, "bump", new)
        assert done.returncode == 0, done.stderr
        assert naming(tree, old) == []
        assert len(naming(tree, new)) == count
        assert f"\n## [Unreleased]\n\n## [{new}] - 2" in (tree / HISTORY).read_text()
        assert version(tree, "check", "--release", f"v{new}").returncode == 0
        assert version(tree, "notes").stdout.strip() == unreleased
        old, unreleased = new, ""
    history = (tree / HISTORY).read_text()
    assert history.index("## [8.0.0]") < history.index("## [7.31.4]") < history.index("## [7.31.4-rc.1]")
    assert "[Unreleased]: https://github.com/mullama/mullama/compare/v8.0.0...HEAD\n" in history
    assert history.count("[Unreleased]: ") == 1
    assert history.count("\n[7.31.4]: ") == 1


@pytest.mark.parametrize("wrong", ["0.0.9", "1.0", "v1.0.0", "1.0.0.0", "", "next"])
def test_older_and_invalid_versions_are_rejected(tree, wrong):
    before = current(tree)
    done = version(tree, "bump", wrong)
    assert done.returncode == 1
    assert "no version" in done.stderr or "does not come after" in done.stderr
    assert current(tree) == before


def test_disagreeing_files_are_named(tree):
    package = tree / "bindings/node/package.json"
    package.write_text(package.read_text().replace(f'"version": "{current(tree)}"', '"version": "0.0.1"'))
    done = version(tree, "check")
    assert done.returncode == 1
    assert done.stderr == "version: bindings/node/package.json has version 0.0.1\n"


def test_tags_of_other_versions_are_rejected(tree):
    done = version(tree, "check", "--release", "v9.9.9")
    assert done.returncode == 1
    assert "the tag is v9.9.9" in done.stderr
