"""Everything that `tests/seeds.md` names exists, and runs the code that the table states."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks import parse
from links import _FENCED

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "tests/seeds.md"
# A reason for which a block is not run.
NOT_RUN = "not run: "


@dataclass
class Row:
    """One row: `here` is the code that runs, `run_by` what runs it."""

    where: str
    block: str
    here: list[str]
    run_by: str


def cells(line):
    """The cells of a row; `\\|` is a character."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def rows():
    found = []
    for number, line in enumerate(PAGE.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("|") and not line.startswith(("| Block |", "|---")):
            block, here, run_by = cells(line)
            found.append(Row(f"{PAGE.name}:{number}", block, re.findall(r"`([^`]+)`", here), run_by))
    return found


ROWS = rows()


def section(path, anchor):
    """The blocks that run between a heading of a page and the next one."""
    text = path.read_text(encoding="utf-8")
    headings = [
        (number, re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-"))
        for number, line in enumerate(_FENCED.sub(lambda code: "\n" * code[0].count("\n"), text).splitlines(), 1)
        if re.match(r"#{1,6} ", line)
    ]
    start = next(number for number, slug in headings if slug == anchor)
    end = next((number for number, _ in headings if number > start), text.count("\n") + 2)
    blocks = parse(text, path.relative_to(ROOT))
    return "\n".join(block.source for block in blocks if start < block.line < end and not block.skip_reason)


def function(path, name):
    """The text of a function or test, to the line that ends it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    definition = re.compile(rf"( *)(?:pub(?:\(\w+\))? |async )*(?:fn|def) {name}\(|( *)test\('{re.escape(name)}'")
    start, indent = next(
        (number, len(found[1] or found[2] or ""))
        for number, line in enumerate(lines)
        if (found := definition.match(line))
    )
    for end in range(start + 1, len(lines)):
        line = lines[end]
        is_python_end = path.suffix == ".py" and line.strip() and len(line) - len(line.lstrip()) <= indent
        if is_python_end or re.match(rf" {{{indent}}}\}}", line):
            break
    else:
        end = len(lines)
    return "\n".join(lines[start:end])


def sources(row):
    """The texts that a row names."""
    for target in re.findall(r"\]\(([^)]+)\)", row.run_by):
        name, _, anchor = target.partition("#")
        path = (PAGE.parent / name).resolve()
        yield section(path, anchor) if anchor else path.read_text(encoding="utf-8")
    for name, test in re.findall(r"`([\w./-]+)::(\w+)`", row.run_by):
        yield function(ROOT / name, test)


@pytest.mark.parametrize("row", ROWS, ids=[row.where for row in ROWS])
def test_named_tests_run_the_code(row):
    assert row.block
    texts = list(sources(row))
    if row.run_by.startswith(NOT_RUN):
        assert len(row.run_by) > len(NOT_RUN) + 10 and not row.here, "a block that is not run has a reason and no code"
        return
    assert texts, "nothing runs it"
    for code in row.here:
        assert any(code in text for text in texts), f"{code} is in none of {row.run_by}"
    if not row.here:
        assert "::" in row.run_by, "a section of a page needs the code that it runs"


def test_page_has_all_tables_and_rows():
    titles = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("## ")]
    assert len(titles) == 4
    assert len(ROWS) > 80, "the page has lost rows, or how they are written has changed"
