"""Writes what follows from the table of backends, `crates/mullama-sys/backends.json`: Cargo features, and tables of
the documentation. `--check` compares instead of writing.
"""

import json
from pathlib import Path

from tables import table, write_or_check

ROOT = Path(__file__).parent.parent
BACKENDS = json.loads((ROOT / "crates/mullama-sys/backends.json").read_text(encoding="utf-8"))


def features(enable):
    """The Cargo feature of each backend, which turns on another."""
    return "\n".join(f'{row["name"]} = ["{enable.format(row["name"])}"]' for row in BACKENDS)


def feature(row):
    return f"`{row['name']}`" + (", part of `full`" if row.get("with_the_engine") else "")


def building():
    """What each backend is for, and what building it takes."""
    rows = [
        [row["title"], row["hardware"], row["platforms"], f"`{row['variable']}=1`", feature(row), row["build_needs"]]
        for row in BACKENDS
    ]
    return table(["Backend", "Hardware", "Platform", "Variable", "Cargo feature", "Build requirements"], rows)


def packages():
    """What each backend is installed as."""
    rows = []
    for row in BACKENDS:
        if "included" in row:
            rows.append([row["title"], "in the package", "in the package", feature(row), row["included"]])
        for name, package in row.get("packages", {}).items():
            title = package.get("title", row["title"])
            npm = f"`@mullama/linux-x64-gnu-{name}`"
            rows.append([title, f"`mullama[{name}]`", npm, feature(row), package["needs"]])
    return table(["Backend", "Python", "Node.js", "Rust", "Requirements"], rows)


def in_rust():
    """The features of the crate that build a backend, but for those that `full` has."""
    rows = [
        [f"`{row['name']}`", f"`{row['variable']}=1`", row["hardware"], row["build_needs"]]
        for row in BACKENDS
        if not row.get("with_the_engine")
    ]
    return table(["Feature", "Variable", "Hardware", "Build requirements"], rows)


if __name__ == "__main__":
    write_or_check(
        {
            ROOT / "crates/mullama-sys/Cargo.toml": {"backends": lambda: features("dynamic-backends")},
            ROOT / "crates/mullama/Cargo.toml": {"backends": lambda: features("mullama-sys/{}")},
            ROOT / "crates/mullama/README.md": {"backends": in_rust},
            ROOT / "docs/guide/gpu.md": {"backends": building},
            ROOT / "docs/installation.md": {"backends": packages},
        }
    )
