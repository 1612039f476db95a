"""The files and folders that the page on the architecture names exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/architecture.md"
# The folders to which a path on the page may be relative, in addition to the file named before it on its line.
BASES = [
    ROOT,
    *(ROOT / "crates" / crate for crate in ("mullama-core/src", "mullama-core", "mullama-sys", "mullama-base/src")),
    *(ROOT / "crates" / crate / "src" for crate in ("mullama-cli", "mullama-hub")),
    *(ROOT / "bindings" / binding for binding in ("python", "python/src", "node")),
]
# Folders that a build creates.
MADE = {"target/release/mullama-engine", "dist"}


def test_files_exist():
    paths, missing = 0, []
    for number, line in enumerate(PAGE.read_text(encoding="utf-8").splitlines(), 1):
        bases = list(BASES)
        for name in re.findall(r"`([\w./-]+)`", line):
            is_path = "/" in name or re.search(r"\.(rs|cpp|py|json|ts|mjs|md|yml|sh)$", name)
            if not is_path or name in MADE:
                continue
            paths += 1
            found = next((base / name for base in bases if (base / name).exists()), None)
            if found is None:
                missing.append(f"{PAGE.name}:{number}: {name}")
            else:
                bases.append(found if found.is_dir() else found.parent)
    assert not missing
    assert paths > 50, "the page has lost its paths, or how they are written has changed"
