"""The examples of the documentation as type checkers see them: each page as one file.

Blocks keep their line numbers. Blocks of one language on a page follow one another, as when they run (`programs.py`);
those that are not run are checked all the same, unless they use what is not installed here.
"""

import re
from dataclasses import replace
from pathlib import Path

import programs
from blocks import Block, parse

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "bindings").glob("*/README.md"))]
# What examples of other projects import.
FOREIGN = ("llama_cpp", "node-llama-cpp", "import ollama")


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of a page in these languages that can be checked."""
    found = parse(page.read_text(encoding="utf-8"), page.relative_to(ROOT))
    return [
        block for block in found if block.language in languages and not any(name in block.source for name in FOREIGN)
    ]


def file_name(page: Path, suffix: str) -> str:
    """A file's name for a page, which says where the page is."""
    return "_".join(page.relative_to(ROOT).with_suffix("").parts).replace("-", "_") + suffix


def python(page: Path) -> str | None:
    """All Python of a page, on the lines on which the page has it."""
    lines: list[str] = []
    for block in blocks(page, "python"):
        lines += [""] * (block.line - 1 - len(lines)) + block.source.splitlines()
    return "\n".join(lines) + "\n" if lines else None


def javascript(page: Path) -> str | None:
    """All JavaScript of a page as an ES module, on the lines on which the page has it."""
    return _module(blocks(page, "javascript"))


def typescript(page: Path) -> str | None:
    """The same as TypeScript, with the blocks that are for TypeScript."""
    return _module(programs.typescript(blocks(page, "javascript", "typescript")))


def _module(found: list[Block]) -> str | None:
    found = [replace(block, source=_imported(block.source)) for block in found]
    return programs.javascript(found) if found else None


def _imported(source: str) -> str:
    """The source with `import` in place of `require`, whose types a module does not see."""
    return re.sub(r"^const (\{[^}]*\}) = require\(('[^']*')\);", r"import \1 from \2;", source, flags=re.M)
