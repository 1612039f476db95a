"""Lists the messages of the Rust crates: errors, hints, warnings, and what the command prints.

    .venv/bin/python tests/docs/messages.py [FILE]...

Each string of the code that reads like prose is a line: where it is, and its text. Comments, attributes, tests and
texts that users do not read (SQL, templates, patterns) are left out. For reviews: read each as someone who has never
seen the code. `style.py` checks their words.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ["crates/*/src/*.rs", "bindings/*/src/*.rs"]
# Files without messages for users: data, generated code, and texts in other formats.
EXEMPT = re.compile(
    r"/(tests|llama_cpp_page|reference|signatures|hints)\.rs$"
    r"|/template/(emit|functions|kind|parse|print|printf)\.rs$"
)

# The tokens of a Rust file that matter for finding strings.
_TOKENS = re.compile(
    r"""
    (?P<comment> //[^\n]* | /\*.*?\*/ )
  | (?P<attribute> \#!?\[ (?: [^\[\]"] | "(?:[^"\\]|\\.)*" | \[[^\]]*\] )* \] )
  | (?P<raw> b?r(?P<hashes>\#*)" (?P<raw_text>.*?) "(?P=hashes) )
  | (?P<string> (?P<prefix>[bc]?)" (?P<text> (?:[^"\\]|\\.)* ) " )
  | (?P<character> b?'(?:[^'\\\n]|\\[^\n]{1,8}?)' )
    """,
    re.X | re.S,
)
_TESTS = re.compile(r"^#\[cfg\(test\)\]\n(?:#\[[^\n]*\]\n)*mod \w+ \{.*?^\}\n?", re.M | re.S)
_WORDS = re.compile(r"\b[A-Za-z][a-z']+\b")


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each message of a file."""
    code = path.read_text(encoding="utf-8")
    code = _TESTS.sub(lambda tests: "\n" * tests[0].count("\n"), code)
    for token in _TOKENS.finditer(code):
        if token["prefix"] in {"b", "c"}:
            continue
        text = token["text"] if token["string"] else token["raw_text"]
        if text is None:
            continue
        text = re.sub(r"\\\n\s*", "", text).replace("\\n", "\n").replace('\\"', '"').strip()
        if is_prose(text):
            yield code.count("\n", 0, token.start()) + 1, text


def is_prose(text: str) -> bool:
    """Whether a string is a phrase, not a name, a path, a pattern or a piece of a program."""
    if any(mark in text for mark in ("::", "=>", "{%", "(?", "<|", "\\d", "</")):
        return False
    return len(_WORDS.findall(without_values(text))) >= 2 and " " in text.strip()


def without_values(text: str) -> str:
    """A message without values, code and flags."""
    return re.sub(r"\{[^{}]*\}|`[^`]*`|--[\w-]+", " ", text)


def tracked() -> list[str]:
    """The files that are listed."""
    command = ["git", "ls-files", "-z", *FOLDERS]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name and not EXEMPT.search(name)]


def main(names: list[str]) -> int:
    count = 0
    for name in names or tracked():
        for line, text in messages(ROOT / name):
            print(f"{name}:{line}: {text}")
            count += 1
    print(f"{count} messages", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
