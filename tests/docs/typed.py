"""The examples of the documentation for type checkers: each page as one file.

Line numbers are those of the page. Blocks of one language on a page are concatenated, as when they run (`programs.py`).
Blocks that are not run are checked as well, unless they use packages that are not installed.
"""

import re
from dataclasses import replace
from pathlib import Path

import programs
from blocks import Block, parse

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "bindings").glob("*/README.md"))]
# Imports in examples of other projects.
FOREIGN = ("llama_cpp", "node-llama-cpp", "import ollama", "import OpenAI", "from transformers")


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of a page in these languages that can be type-checked."""
    found = parse(page.read_text(encoding="utf-8"), page.relative_to(ROOT))
    return [
        block for block in found if block.language in languages and not any(name in block.source for name in FOREIGN)
    ]


def file_name(page: Path, suffix: str) -> str:
    """A file name for a page, derived from its path."""
    return "_".join(page.relative_to(ROOT).with_suffix("").parts).replace("-", "_") + suffix


def python(page: Path) -> str | None:
    """All Python code of a page, on the same lines as on the page."""
    lines: list[str] = []
    for block in blocks(page, "python"):
        lines += [""] * (block.line - 1 - len(lines)) + block.source.splitlines()
    return "\n".join(lines) + "\n" if lines else None


def javascript(page: Path) -> str | None:
    """All JavaScript code of a page as an ES module, on the same lines as on the page."""
    return _module(blocks(page, "javascript"))


def typescript(page: Path) -> str | None:
    """The same as TypeScript, including the blocks for TypeScript."""
    return _module(programs.typescript(blocks(page, "javascript", "typescript")))


def _module(found: list[Block]) -> str | None:
    found = [replace(block, source=_imported(block.source)) for block in found]
    return programs.javascript(found) if found else None


def _imported(source: str) -> str:
    """The source with `import` instead of `require`, which has no types in a module."""
    return re.sub(r"^const (\{[^}]*\}) = require\(('[^']*')\);", r"import \1 from \2;", source, flags=re.M)
