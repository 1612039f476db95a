"""Checks the workflows against the source tree, which actionlint and zizmor cannot do.

    python tests/release/workflows.py

Their `make` targets exist in the Makefile; their backends and platforms are exactly those with packages;
each job has a time limit; actions of this tree that they use exist.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = json.loads((ROOT / "crates/mullama-sys/backends.json").read_text())
# At the start of a command, with its arguments.
_MAKE = re.compile(r"(?:^|[;&|]) *make((?: +(?:[\w-]+=\S+|[\w-]+))+)", re.M)
_EXPRESSION = re.compile(r"\$\{\{.*?\}\}")


def targets(makefile: str) -> set[str]:
    """The names of the Makefile's rules."""
    return {name for line in re.findall(r"^([\w -]+):(?!=)", makefile, re.M) for name in line.split()}


def jobs(workflow: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from workflow.get("jobs", {}).items()


def rows(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a job's matrix."""
    return list(job.get("strategy", {}).get("matrix", {}).get("include", []))


def steps(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The steps of a workflow, or of an action."""
    for _, job in jobs(document):
        yield from job.get("steps", [])
    yield from document.get("runs", {}).get("steps", [])


def wanted_targets(document: dict[str, Any]) -> set[str]:
    """All targets of `make` that a document runs, including those in a matrix."""
    wanted = {row["make"] for _, job in jobs(document) for row in rows(job) if "make" in row}
    for step in steps(document):
        for words in _MAKE.findall(_EXPRESSION.sub("X", step.get("run", ""))):
            wanted |= {word for word in words.split() if re.fullmatch(r"[a-z][\w-]*", word)}
    return wanted


def problems(name: str, document: dict[str, Any], known: set[str]) -> Iterator[str]:
    """The problems of a workflow or an action."""
    for target in sorted(wanted_targets(document) - known):
        yield f"{name}: the Makefile has no target {target}"
    uses = [step["uses"] for step in steps(document) if "uses" in step]
    for action in uses + [job["uses"] for _, job in jobs(document) if "uses" in job]:
        if action.startswith("./") and not any((ROOT / action / part).is_file() for part in ("", "action.yml")):
            yield f"{name}: there is no {action}"
    for job_name, job in jobs(document):
        if "uses" not in job and "timeout-minutes" not in job:
            yield f"{name}: {job_name} may take for ever"


def uncovered(what: str, named: set[str], packaged: set[str]) -> Iterator[str]:
    """The differences between the matrix and the table of packages."""
    for one in sorted(named - packaged):
        yield f"the matrix has the {what} {one}, for which there are no packages"
    for one in sorted(packaged - named):
        yield f"there are packages for the {what} {one}, which the matrix does not build"


def matrices(documents: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The missing and superfluous rows of the matrices."""
    backends = {row["backend"] for row in rows(documents["backends.yml"]["jobs"]["backend"])}
    # Backends that need no toolkit are part of every build, like the CPU's modules.
    needing = [row for row in BACKENDS if "toolkit" in row]
    packaged = {package for row in needing for package in row.get("packages", [row["name"]])}
    yield from uncovered("backend", backends, packaged | {"cpu"})
    built = {row["platform"] for row in rows(documents["packages.yml"]["jobs"]["native"])}
    platforms = set(json.loads((ROOT / "bindings/node/packaging/platforms.json").read_text()))
    yield from uncovered("platform", built, platforms)
    for name, document in documents.items():
        for job_name, job in jobs(document):
            for row in rows(job):
                if row["platform"] not in platforms:
                    yield f"{name}: {job_name} names the platform {row['platform']}, which has no packages"


def main() -> int:
    known = targets((ROOT / "Makefile").read_text())
    files = sorted((ROOT / ".github").rglob("*.yml"))
    documents = {file.name: yaml.safe_load(file.read_text()) for file in files}
    wrong = [problem for name, document in documents.items() for problem in problems(name, document, known)]
    wrong += matrices(documents)
    for line in wrong:
        print(f"workflows: {line}", file=sys.stderr)
    count = len({target for document in documents.values() for target in wanted_targets(document)})
    print(f"workflows: {len(files)} files, {count} targets of make, {len(wrong)} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
