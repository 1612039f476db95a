"""Counts the tests of a run from the logs of the test runners.

    python3 tests/summary.py [--logs FOLDER] LANGUAGE...

Reads LANGUAGE.log (what the runners of that language printed) and LANGUAGE.status (the exit status)
from target/test-logs, where `scripts/logged.sh` writes them, and ends with the line

    total: N passed, N failed, N skipped

The exit status is 1 if a test failed, a runner ended badly, or a language ran no test.
"""

import argparse
import re
import sys
from pathlib import Path

LOGS = Path(__file__).resolve().parents[1] / "target" / "test-logs"

# Last lines of the runners. A log may have several.
_CARGO = re.compile(
    r"^test result: \w+\. (?P<passed>\d+) passed; (?P<failed>\d+) failed; (?P<skipped>\d+) ignored", re.M
)
_PYTEST = re.compile(r"^(?:=+ )?(?P<counts>\d+ \w+(?:, \d+ \w+)*) in [\d.]+s\b", re.M)
_NODE = re.compile(r"^(?:#|ℹ) (?P<word>pass|fail|cancelled|skipped|todo) (?P<count>\d+)$", re.M)
_PLAIN = re.compile(r"^[\w-]+: (?P<passed>\d+) passed, (?P<failed>\d+) failed, (?P<skipped>\d+) skipped$", re.M)
_SKIPPED = re.compile(r"^skipped: ", re.M)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")

_WORDS = {
    "passed": "passed", "xpassed": "passed", "pass": "passed",
    "failed": "failed", "error": "failed", "errors": "failed", "fail": "failed", "cancelled": "failed",
    "skipped": "skipped", "xfailed": "skipped", "deselected": "skipped", "todo": "skipped",
}  # fmt: skip


def count(log: str) -> dict[str, int]:
    """Numbers of passed, failed and skipped tests, from the last lines of the runners in a log."""
    log = _ANSI.sub("", log)
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for line in [*_CARGO.finditer(log), *_PLAIN.finditer(log)]:
        for word in counts:
            counts[word] += int(line[word])
    # A Rust test that skips itself prints a line and passes.
    itself = len(_SKIPPED.findall(log))
    counts["passed"] -= itself
    counts["skipped"] += itself
    pairs = [(line["count"], line["word"]) for line in _NODE.finditer(log)]
    for line in _PYTEST.finditer(log):
        pairs += re.findall(r"(\d+) (\w+)", line["counts"])
    for number, word in pairs:
        if word in _WORDS:
            counts[_WORDS[word]] += int(number)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description="Count the tests of a run.")
    parser.add_argument("--logs", type=Path, default=LOGS)
    parser.add_argument("languages", nargs="+")
    arguments = parser.parse_args()

    total = {"passed": 0, "failed": 0, "skipped": 0}
    lines, troubles = [], []
    for language in arguments.languages:
        log = arguments.logs / f"{language}.log"
        status_file = arguments.logs / f"{language}.status"
        status = status_file.read_text().strip() if status_file.exists() else "none"
        counts = count(log.read_text(encoding="utf-8", errors="replace") if log.exists() else "")
        if not counts["passed"] and not counts["failed"]:
            troubles.append(f"{language}: no test ran")
            counts["failed"] = 1
        elif status != "0" and not counts["failed"]:
            troubles.append(f"{language}: exit status {status}, see {log}")
            counts["failed"] = 1
        lines.append("{}: {passed} passed, {failed} failed, {skipped} skipped".format(language, **counts))
        for word in total:
            total[word] += counts[word]
    print(*lines, *troubles, sep="\n")
    print("total: {passed} passed, {failed} failed, {skipped} skipped".format(**total))
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
