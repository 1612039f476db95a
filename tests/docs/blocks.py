"""Fenced code blocks of a Markdown page, with the directives for running them from its comments."""

import re
from dataclasses import dataclass, field
from pathlib import Path

# Languages of fences -> the language that runs the block.
RUNNABLE = {
    "python": "python",
    "py": "python",
    "javascript": "javascript",
    "js": "javascript",
    "mjs": "javascript",
    "cjs": "javascript",
    "typescript": "typescript",
    "rust": "rust",
    "bash": "shell",
    "sh": "shell",
    "shell": "shell",
    "console": "console",
}

# Not programs: never run. `ts` is for the declarations of references.
EXEMPT = {"csv", "diff", "gbnf", "ini", "jinja", "json", "jsonl", "text", "toml", "ts", "yaml"}

_FENCE = re.compile(r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
_COMMENT = re.compile(r"^\s*<!--\s*(?P<text>.*?)\s*-->\s*$")
_TAB = re.compile(r'^(?P<indent>[ \t]*)===(?P<new>!?)\+?\s+"[^"]*"\s*$')


class PageError(Exception):
    """A page that violates the rules. Each problem is `(line, text)`."""

    def __init__(self, page: Path, problems: list[tuple[int, str]]):
        super().__init__("\n".join(f"{page}:{line}: {text}" for line, text in problems))
        self.problems = problems


@dataclass
class Block:
    """One fenced block. Line numbers count from 1."""

    page: Path
    fence_line: int
    language: str
    source: str
    indent: str
    # A pair (group of tabs, tab in it) for each level of tabs around the block.
    tabs: tuple[tuple[int, int], ...] = ()
    skip_reason: str | None = None
    expected: str | None = None
    expected_line: int = 0
    # Its standard input.
    input: str = ""

    @property
    def line(self) -> int:
        """The first line of the code itself."""
        return self.fence_line + 1

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass
class _Scan:
    page: Path
    lines: list[str]
    blocks: list[Block] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)


def _info_language(info: str) -> str:
    """The language of a fence: `python title="x"` and `{.python .annotate}` both mean python."""
    info = info.strip()
    if info.startswith("{"):
        classes = re.findall(r"\.([\w+-]+)", info)
        return classes[0].lower() if classes else ""
    return info.split()[0].lower() if info else ""


def _width(indent: str) -> int:
    return len(indent.expandtabs(4))


def _dedent(line: str, width: int) -> str:
    line = line.expandtabs(4) if line[: len(line) - len(line.lstrip())].count("\t") else line
    blank = len(line) - len(line.lstrip(" "))
    return line[min(width, blank) :]


def parse(text: str, page: Path) -> list[Block]:
    """The runnable blocks of a page in order, including those that are not run.

    Raises PageError for a block without a language, for one in an unknown language without a reason,
    and for a comment that belongs to no block.
    """
    scan = _Scan(page, text.splitlines())
    _scan_page(scan)
    if scan.problems:
        raise PageError(page, scan.problems)
    return scan.blocks


def _scan_page(scan: _Scan) -> None:
    tabs: list[tuple[int, int, int]] = []  # indent, group, tab
    groups = 0
    directives: list[tuple[int, str]] = []
    number = 0
    if scan.lines and scan.lines[0].strip() == "---":  # front matter
        number = next((n + 1 for n, line in enumerate(scan.lines) if n and line.strip() == "---"), 0)
    while number < len(scan.lines):
        line = scan.lines[number]
        number += 1
        if not line.strip():
            continue
        if comment := _COMMENT.match(line):
            directive = comment["text"]
            if directive in ("input", "output") or re.match(r"not run\b", directive):
                directives.append((number, directive))
            continue
        indent = _width(line[: len(line) - len(line.lstrip())])
        if tab := _TAB.match(line):
            tabs = [entry for entry in tabs if entry[0] <= indent]
            if tabs and tabs[-1][0] == indent and not tab["new"]:
                tabs[-1] = (indent, tabs[-1][1], tabs[-1][2] + 1)
            else:
                tabs = [entry for entry in tabs if entry[0] < indent]
                groups += 1
                tabs.append((indent, groups, 0))
        else:
            tabs = [entry for entry in tabs if entry[0] < indent]
        if fence := _FENCE.match(line):
            path = tuple((group, tab) for _, group, tab in tabs)
            number = _take_block(scan, number, fence, path, directives)
        else:
            for at, directive in directives:
                scan.problems.append((at, f"`{directive}` stands before no code block"))
        directives = []
    for at, directive in directives:
        scan.problems.append((at, f"`{directive}` stands before no code block"))


def _take_block(scan: _Scan, number: int, fence, tabs, directives) -> int:
    """Reads a block whose fence is on line `number`; returns the number of its last line."""
    start = number
    width = _width(fence["indent"])
    closing = re.compile(rf"^\s*{re.escape(fence['fence'][0])}{{{len(fence['fence'])},}}\s*$")
    code = []
    while number < len(scan.lines) and not closing.match(scan.lines[number]):
        code.append(_dedent(scan.lines[number], width))
        number += 1
    if number == len(scan.lines):
        scan.problems.append((start, "the code block is never closed"))
    source = "".join(line + "\n" for line in code)
    name = _info_language(fence["info"])

    reason = None
    kind = None
    for at, directive in directives:
        if directive in ("input", "output"):
            kind = directive
            continue
        reason = directive.removeprefix("not run").removeprefix(":").strip()
        if not reason:
            scan.problems.append((at, "say why the block is not run: `not run: REASON`"))

    if kind:
        if name != "text":
            scan.problems.append((start, f"an {kind} is a `text` block"))
        elif targets := _targets(scan.blocks, tabs):
            for block in targets:
                if kind == "input":
                    block.input = source
                else:
                    block.expected, block.expected_line = source, start + 1
        else:
            scan.problems.append((start, f"there is no block before this {kind}"))
    elif name in RUNNABLE:
        scan.blocks.append(Block(scan.page, start, RUNNABLE[name], source, fence["indent"], tabs, skip_reason=reason))
    elif not name:
        scan.problems.append((start, "the code block names no language"))
    elif name not in EXEMPT:
        if reason is None:
            scan.problems.append((start, f"nothing runs `{name}`: say why in `<!-- not run: REASON -->`"))
        scan.blocks.append(Block(scan.page, start, name, source, fence["indent"], tabs, skip_reason=reason))
    return number + 1


def _targets(blocks: list[Block], tabs: tuple) -> list[Block]:
    """The previous block, or, after a group of tabs, the last block of each tab that has no output
    yet."""
    if not blocks:
        return []
    last = blocks[-1]
    if last.tabs == tabs:
        return [last]
    depth = len(tabs)
    if len(last.tabs) <= depth or last.tabs[:depth] != tabs:
        return []
    group = last.tabs[depth][0]
    by_tab = {
        block.tabs[depth][1]: block
        for block in blocks
        if len(block.tabs) > depth and block.tabs[:depth] == tabs and block.tabs[depth][0] == group
    }
    return [block for block in by_tab.values() if block.expected is None and block.language != "console"]
