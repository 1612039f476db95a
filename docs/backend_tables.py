"""Writes what is derived from the table of backends, `crates/mullama-sys/backends.json`, and from the workflow that builds
their packages: Cargo features, and tables of the documentation. `--check` compares instead of writing.
"""

import json
import re
from pathlib import Path

import yaml
from tables import table, write_or_check

ROOT = Path(__file__).parent.parent
BACKENDS = json.loads((ROOT / "crates/mullama-sys/backends.json").read_text(encoding="utf-8"))
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/backends.yml").read_text(encoding="utf-8"))
# The C library of each release of Ubuntu on which packages are built.
GLIBC = {"22.04": "2.35", "24.04": "2.39"}


def features(enable):
    """The Cargo feature of each backend, which enables another one."""
    return "\n".join(f'{row["name"]} = ["{enable.format(row["name"])}"]' for row in BACKENDS)


def feature(row):
    return f"`{row['name']}`" + (", part of `full`" if row.get("with_the_engine") else "")


def building():
    """The purpose of each backend, and the requirements for building it."""
    rows = [
        [row["title"], row["hardware"], row["platforms"], f"`{row['variable']}=1`", feature(row), row["build_needs"]]
        for row in BACKENDS
    ]
    return table(["Backend", "Hardware", "Platform", "Variable", "Cargo feature", "Build requirements"], rows)


def glibc(package):
    """The C library of the image, or else of the runner, that builds the modules of a package."""
    rows = WORKFLOW["jobs"]["backend"]["strategy"]["matrix"]["include"]
    built_on = [
        re.search(r"ubuntu-?(\d\d\.\d\d)", row.get("image", row["runner"]))[1]
        for row in rows
        if row["backend"] == package and row["platform"].startswith("linux")
    ]
    (version,) = {GLIBC[release] for release in built_on}
    return version


def c_libraries():
    """The packages by the C library with which they are built."""
    by_version = {}
    for row in BACKENDS:
        for name, package in row.get("packages", {}).items():
            by_version.setdefault(glibc(name), []).append(package.get("title", row["title"]))
    rows = [[f"{version} or newer", ", ".join(titles)] for version, titles in sorted(by_version.items())]
    return table(["glibc", "Packages"], rows)


def packages():
    """The packages of each backend."""
    rows = []
    for row in BACKENDS:
        if "included" in row:
            rows.append([row["title"], "in the package", "in the package", feature(row), row["included"], ""])
        for name, package in row.get("packages", {}).items():
            title = package.get("title", row["title"])
            npm = f"`@mullama/linux-x64-gnu-{name}`"
            rows.append([title, f"`mullama[{name}]`", npm, feature(row), package["needs"], f"glibc {glibc(name)}"])
    return table(["Backend", "Python", "Node.js", "Rust", "Requirements", "Linux"], rows)


def in_rust():
    """The features of the crate that build a backend, except those in `full`."""
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
            ROOT / "docs/guide/gpu.md": {"backends": building, "glibc": c_libraries},
            ROOT / "docs/installation.md": {"backends": packages},
        }
    )
