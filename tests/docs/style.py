"""Checks the words and the spelling of the documentation.

    .venv/bin/python tests/docs/style.py [FILE]...

`style.json` in this folder lists words to avoid, as regular expressions, with what to write instead. They apply
to the prose of Markdown pages (code is left out), to the docstrings of Python, to the documentation comments of
TypeScript, to the comments of Rust, C++ and manifests, and to messages (`messages.py`).
Spelling is checked by codespell, which knows common misspellings of English and is silent about names.
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import messages
from links import without_code

ROOT = Path(__file__).resolve().parents[2]
RULES = [
    (re.compile(rule["avoid"], re.I), rule["write"])
    for rule in json.loads(Path(__file__).with_name("style.json").read_text(encoding="utf-8"))
]
# Pages, and code with comments.
READ = [
    "*.md",
    "*.rs",
    "*.h",
    "*.cpp",
    "*Cargo.toml",
    "bindings/node/lib/*.ts",
    "*.py",
]
# Comments by the suffix of the file: all, or in TypeScript those of the documentation.
COMMENTS = {
    ".rs": re.compile(r"(?:^|(?<=[ \t]))//.*$", re.M),
    ".toml": re.compile(r"^#.*$", re.M),
    ".ts": re.compile(r"/\*\*.*?\*/", re.S),
}
COMMENTS[".h"] = COMMENTS[".cpp"] = COMMENTS[".rs"]
EXEMPT = {
    "docs/gpu-results.md",
    "docs/reference/command-line.md",
}
_TABLE = re.compile(r"^<!-- table: .*?^<!-- end -->$", re.M | re.S)
# Misspelt on purpose, in tests of messages about misspelt names; a German word; names that look like mistakes.
NO_MISTAKES = "ser,seperator,atleast,caf,contnet,modle,ordner,temprature,tempurature"


def prose(path: Path) -> str:
    """The checked text of a file, with the same line numbers."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return without_code(_TABLE.sub(lambda table: "\n" * table[0].count("\n"), text))
    if path.suffix == ".py":
        comments = _docstrings(text)
    else:
        comments = COMMENTS[path.suffix].finditer(text)
    kept = [" " if character != "\n" else "\n" for character in text]
    for comment in comments:
        kept[comment.start() : comment.end()] = comment[0]
    return without_code("".join(kept))


def _docstrings(text: str) -> Iterator[re.Match[str]]:
    """The docstrings of a Python file, including those of attributes."""
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found = re.compile(r'"""(?:.*?)"""', re.S).match(text, starts[node.lineno - 1] + node.col_offset)
            if found:
                yield found


def findings(path: Path) -> list[tuple[int, str, str]]:
    """Line, words and replacement for each place that violates a rule."""
    text = prose(path)
    found = []
    for avoid, write in RULES:
        found += [(text.count("\n", 0, place.start()) + 1, place[0], write) for place in avoid.finditer(text)]
    return sorted(found)


def message_findings(path: Path) -> list[tuple[int, str, str]]:
    """The same of the messages in a file of Rust."""
    found = []
    for line, text in messages.messages(path):
        for avoid, write in RULES:
            found += [(line, place[0], write) for place in avoid.finditer(messages.without_values(text))]
    return found


def tracked(*patterns: str) -> list[str]:
    """Files of the repository that match these git patterns."""
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name]


def misspellings() -> int:
    """Prints misspelt words of all text files and returns the status of codespell."""
    names = tracked("*.md", "*.py", "*.pyi", "*.rs", "*.ts", "*.mts", "*.mjs", "*.cpp", "*.h", "*.sh", "Makefile")
    names = [name for name in names if not name.startswith("models/demo/")]
    command = [sys.executable, "-m", "codespell_lib", "--ignore-words-list", NO_MISTAKES, *names]
    return subprocess.run(command, cwd=ROOT).returncode


def main(names: list[str]) -> int:
    pages = names or [name for name in tracked(*READ) if name not in EXEMPT]
    sources = [] if names else messages.tracked()
    found = [(name, *place) for name in pages for place in findings(ROOT / name)]
    found += [(name, *place) for name in sources for place in message_findings(ROOT / name)]
    for name, line, words, write in found:
        print(f"{name}:{line}: {words!r}: write {write}")
    count = len(found)
    print(f"style: {len(pages) + len(sources)} files, {count} places to reword")
    return 1 if count or misspellings() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
