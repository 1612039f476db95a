"""Checks that all packages have the same version, and changes it.

    python3 scripts/version.py check [--release TAG]
    python3 scripts/version.py bump VERSION
    python3 scripts/version.py current
    python3 scripts/version.py notes

`bump` writes the new version wherever a tracked file names the old one, gives the changelog's
unreleased changes a heading with today's date, and prints each line that it changed. In lock files, only
our own packages change; earlier sections of the changelog do not. `check` fails if packages disagree, and with
`--release` if the tag is not the version or the changelog has no section for it. `current` prints the
version, `notes` its section of the changelog.
"""

import argparse
import datetime
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHANGELOG = "CHANGELOG.md"
LOCKS = ("Cargo.lock", "bindings/node/package-lock.json")
REPOSITORY = "https://github.com/mullama/mullama"
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:-((?:[a-z]+\.?)?\d+))?")
_UNRELEASED = "## [Unreleased]"


class Problem(Exception):
    """The reason why the version cannot be changed, in one line."""


def run(*command: str, root: Path) -> str:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode != 0:
        raise Problem(f"{' '.join(command[:3])}: {done.stderr.strip()}")
    return done.stdout


def current(root: Path) -> str:
    """The version of the workspace."""
    section = (root / "Cargo.toml").read_text().partition("[workspace.package]")[2]
    return re.findall(r'^version = "([^"]+)"', section, re.M)[0]


def exactly(version: str) -> re.Pattern[str]:
    """A pattern for a version that is not part of another."""
    return re.compile(rf"(?<![\w.]){re.escape(version)}(?![\w-]|\.\d)|(?<=[/-]v){re.escape(version)}(?![\w-]|\.\d)")


def order(version: str) -> tuple:
    """A sorting key for versions: pre-releases come before their release."""
    match = _VERSION.fullmatch(version)
    if not match:
        raise Problem(f"{version} is no version: X.Y.Z, or X.Y.Z-rc.1 before it")
    before = match[4] or ""
    name = before.rstrip("0123456789")
    return (*map(int, match.groups()[:3]), not before, name, int(before[len(name) :] or 0))


# --- changing it ------------------------------------------------------------------------------------


def bump(root: Path, version: str) -> list[str]:
    """Changes every package to `version`; returns the changed lines with their files."""
    old = current(root)
    if order(version) <= order(old):
        raise Problem(f"{version} does not come after {old}, which this is")
    changed = []
    for name in run("git", "ls-files", root=root).splitlines():
        path = root / name
        if name == CHANGELOG or path.is_symlink() or not path.is_file():
            continue
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue
        new = moved(name, text, old, version)
        if new != text:
            path.write_bytes(new.encode())
            changed += differences(name, text, new)
    text = (root / CHANGELOG).read_text()
    new = with_heading(text, version)
    (root / CHANGELOG).write_text(new)
    return changed + differences(CHANGELOG, text, new)


def moved(name: str, text: str, old: str, version: str) -> str:
    """The text of a file with the old version replaced by the new one."""
    if name == "Cargo.lock":
        # Packages of the workspace have no field `source`.
        blocks = re.split(r"(?=^\[\[package\]\]$)", text, flags=re.M)
        ours = [block if "\nsource = " in block else exactly(old).sub(version, block) for block in blocks]
        return "".join(ours)
    if name.endswith("package-lock.json"):
        lock = json.loads(text)
        lock["version"] = version
        for key, package in lock["packages"].items():
            if key == "" or "mullama" in key:
                lock["packages"][key] = json.loads(exactly(old).sub(version, json.dumps(package)))
        return json.dumps(lock, indent=2, ensure_ascii=False) + "\n"
    return exactly(old).sub(version, text)


def with_heading(changelog: str, version: str) -> str:
    """The changelog with the unreleased changes under the heading of a version."""
    if _UNRELEASED not in changelog:
        raise Problem(f"{CHANGELOG} has no heading {_UNRELEASED}")
    today = datetime.datetime.now(datetime.UTC).date()
    changelog = changelog.replace(_UNRELEASED, f"{_UNRELEASED}\n\n## [{version}] - {today}", 1)
    body = re.sub(r"^\[Unreleased\]: .*\n", "", changelog, flags=re.M).rstrip("\n")
    body, links = re.sub(r"\n(\[\d[^\]]*\]: .*)", "", body), re.findall(r"^\[\d[^\]]*\]: .*", body, re.M)
    links = [
        f"[Unreleased]: {REPOSITORY}/compare/v{version}...HEAD",
        f"[{version}]: {REPOSITORY}/releases/tag/v{version}",
        *links,
    ]
    return body.rstrip("\n") + "\n\n" + "\n".join(links) + "\n"


def differences(name: str, old: str, new: str) -> list[str]:
    before = set(old.splitlines())
    return [f"{name}: {line.strip()}" for line in new.splitlines() if line not in before]


def notes(changelog: str, version: str) -> str:
    """The section of a version in the changelog."""
    found = re.search(rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## |^\[[^\]]+\]: |\Z)", changelog, re.M | re.S)
    if not found:
        raise Problem(f"{CHANGELOG} has no heading for {version}")
    return found[1].strip()


# --- checking it ----------------------------------------------------------------------------------


def disagreements(root: Path, tag: str | None = None) -> list[str]:
    """All places with a version other than the workspace's."""
    version = current(root)
    wrong = [*crates(root, version), *node_packages(root, version)]
    changelog = (root / CHANGELOG).read_text()
    heading = re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.M)
    if not heading and _UNRELEASED not in changelog:
        wrong.append(f"{CHANGELOG}: it tells neither of {version} nor of what is unreleased")
    if tag is not None:
        if tag != f"v{version}":
            wrong.append(f"the tag is {tag}, the version {version}")
        if not heading:
            wrong.append(f"{CHANGELOG}: it has no heading with a date for {version}")
    return wrong


def crates(root: Path, version: str) -> list[str]:
    command = ("cargo", "metadata", "--no-deps", "--format-version", "1", "--locked", "--offline")
    wrong = []
    for crate in json.loads(run(*command, root=root))["packages"]:
        if crate["version"] != version:
            wrong.append(f"{crate['name']} has version {crate['version']}")
        for needed in crate["dependencies"]:
            # Crates for tests have no version, because they are not published.
            if needed.get("path") and needed["req"] not in (f"={version}", "*"):
                wrong.append(f"{crate['name']} asks for {needed['name']} {needed['req']}")
    for block in (root / "Cargo.lock").read_text().split("[[package]]")[1:]:
        found = re.findall(r'^version = "(.+)"', block, re.M)[0]
        if "\nsource = " not in block and found != version:
            wrong.append(f"Cargo.lock has {block.splitlines()[1]} of version {found}")
    return wrong


def node_packages(root: Path, version: str) -> list[str]:
    files = [name for name in run("git", "ls-files", root=root).splitlines() if name.endswith("package.json")]
    described = {name: json.loads((root / name).read_text()) for name in files}
    lock = "bindings/node/package-lock.json"
    packages = json.loads((root / lock).read_text())["packages"]
    described |= {f"{lock} ({key})": package for key, package in packages.items() if key == "" or "mullama" in key}
    wrong = []
    for name, package in described.items():
        if "version" in package and package["version"] != version:
            wrong.append(f"{name} has version {package['version']}")
        for field in ("dependencies", "optionalDependencies", "peerDependencies"):
            for needed, found in package.get(field, {}).items():
                if needed.startswith(("mullama", "@mullama/")) and found != version:
                    wrong.append(f"{name} asks for {needed} {found}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description="The one version of every package.")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree; by default the one of this file")
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="fail where packages disagree")
    checking.add_argument("--release", metavar="TAG", help="and where this is not the version's tag")
    commands.add_parser("bump", help="move every package").add_argument("version")
    commands.add_parser("current", help="print the version")
    commands.add_parser("notes", help="print what the changelog tells of it")
    arguments = parser.parse_args()
    root = arguments.root
    try:
        if arguments.command == "current":
            print(current(root))
            return 0
        if arguments.command == "notes":
            print(notes((root / CHANGELOG).read_text(), current(root)))
            return 0
        if arguments.command == "bump":
            print(*bump(root, arguments.version), sep="\n")
        wrong = disagreements(root, getattr(arguments, "release", None))
    except Problem as problem:
        wrong = [str(problem)]
    for line in wrong:
        print(f"version: {line}", file=sys.stderr)
    if not wrong:
        print(f"version: {current(root)} everywhere")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
