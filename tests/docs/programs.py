"""Combines the blocks of one language on one page to a program.

Later blocks see the names of earlier ones and may declare them again: Python blocks share their
globals, JavaScript, TypeScript and Rust blocks are in nested scopes, shell blocks are one script. Every program
has the code on the lines on which the page has it, so the line numbers of errors are the page's.

Before each block, the program writes a mark to standard output and standard error, so that `run.py` can
assign the output to blocks.
"""

import json
import re
from dataclasses import replace

from blocks import Block

# Opens and closes a mark; programs never print it themselves.
MARK = "\x1e"


class _Page:
    """A text whose lines are written at given line numbers."""

    def __init__(self):
        self._lines: dict[int, str] = {}

    def add(self, line: int, text: str) -> None:
        self._lines[line] = self._lines.get(line, "") + text

    def add_block(self, block: Block, source: str | None = None) -> None:
        for offset, text in enumerate((block.source if source is None else source).splitlines()):
            self.add(block.line + offset, text)

    def text(self) -> str:
        last = max(self._lines, default=0)
        return "".join(self._lines.get(line, "") + "\n" for line in range(1, last + 1))


def end_line(block: Block) -> int:
    """The line of the block's closing fence."""
    return block.line + len(block.source.splitlines())


# --- Python --------------------------------------------------------------------------------------

_PYTHON = """\
import linecache, os, sys, traceback
def _run(blocks):
    scope = {{"__name__": "__main__"}}
    for index, (page, line, source) in enumerate(blocks):
        for stream, fd in ((sys.stdout, 1), (sys.stderr, 2)):
            stream.flush()
            os.write(fd, f"{mark}{{index}}{mark}".encode())
        source = "\\n" * (line - 1) + source
        linecache.cache[page] = (len(source), None, source.splitlines(keepends=True), page)
        try:
            exec(compile(source, page, "exec"), scope)
        except Exception as error:
            traceback.print_exception(type(error), error, error.__traceback__.tb_next)
            sys.exit(1)
_run({blocks})
"""


def python(blocks: list[Block]) -> str:
    """A script that runs the blocks with shared globals."""
    listed = [(str(block.page), block.line, block.source) for block in blocks]
    return _PYTHON.format(mark=MARK, blocks=repr(listed))


# --- JavaScript ----------------------------------------------------------------------------------

_IMPORT = re.compile(r"^import\s+(?:(?P<what>[^'\"]+?)\s+from\s+)?(['\"])(?P<module>[^'\"]+)\2;?", re.M)


def javascript(blocks: list[Block]) -> str:
    """An ES module. `import` is only allowed at its top, where the statements are collected."""
    page = _Page()
    head = ["import { writeSync as __write } from 'node:fs';"]
    # TypeScript infers the type from the default.
    head.append(f"const __mark = (n = 0) => {{ __write(1, `{MARK}${{n}}{MARK}`); __write(2, `{MARK}${{n}}{MARK}`); }};")
    if any(uses_require(block) for block in blocks):
        head.append("import { createRequire as __createRequire } from 'node:module';")
        head.append("const require = __createRequire(import.meta.url);")
    imports = []
    for index, block in enumerate(blocks):
        for found in _IMPORT.finditer(block.source):
            imports.append((found["what"], found["module"]))
        # Newlines are preserved, so that line numbers do not change.
        source = _IMPORT.sub(lambda found: "\n" * found[0].count("\n"), block.source)
        page.add(block.fence_line, f"{{ __mark({index});")
        page.add_block(block, source)
    page.add(end_line(blocks[-1]), "}" * len(blocks))
    return _with_head(page, blocks[0].fence_line, " ".join(head + _merged_imports(imports)))


def typescript(blocks: list[Block]) -> list[Block]:
    """The blocks of a page for a reader who uses TypeScript: a tab for TypeScript replaces the one for JavaScript,
    if there is one."""
    replaced = {block.tabs[-1][0] for block in blocks if block.language == "typescript" and block.tabs}
    chosen = [
        block
        for block in blocks
        if block.language == "typescript"
        or (block.language == "javascript" and not (block.tabs and block.tabs[-1][0] in replaced))
    ]
    return [replace(block, language="typescript") for block in chosen]


def _with_head(page: _Page, line: int, head: str) -> str:
    lines = page.text().splitlines(keepends=True)
    lines[line - 1] = head + " " + lines[line - 1]
    return "".join(lines)


def _merged_imports(imports: list[tuple[str | None, str]]) -> list[str]:
    """Import statements with each module and each of its names once."""
    statements = []
    names: dict[str, list[str]] = {}
    for what, module in imports:
        if what and (braces := re.fullmatch(r"\{(.*)\}", what.strip(), re.S)):
            known = names.setdefault(module, [])
            known += [name for name in map(str.strip, braces[1].split(",")) if name and name not in known]
        else:
            statement = f"import {what} from {json.dumps(module)};" if what else f"import {json.dumps(module)};"
            if statement not in statements:
                statements.append(statement)
    return statements + [
        f"import {{ {', '.join(known)} }} from {json.dumps(module)};" for module, known in names.items()
    ]


def uses_require(block: Block) -> bool:
    return re.search(r"\brequire\(", block.source) is not None


# --- Rust ----------------------------------------------------------------------------------------


def rust(blocks: list[Block]) -> str:
    """A program with one function. A block with its own `main` is separate, in a module.

    As in rustdoc, `# ` before a line hides it from readers, and is removed here.
    """
    page = _Page()
    head = (
        "#![allow(warnings)] "
        "fn __mark(n: usize) { use std::io::Write as _; "
        'print!("\\u{1e}{n}\\u{1e}"); eprint!("\\u{1e}{n}\\u{1e}"); '
        "std::io::stdout().flush().unwrap(); } "
        "fn __check(end: impl std::process::Termination) "
        "{ if end.report() != std::process::ExitCode::SUCCESS { std::process::exit(1) } } "
        "fn main() -> Result<(), Box<dyn std::error::Error>> {"
    )
    depth = 0
    for index, block in enumerate(blocks):
        source = re.sub(r"^(\s*)# ", r"\1", block.source, flags=re.M)
        source = re.sub(r"^\s*#$", "", source, flags=re.M)
        if re.search(r"^(pub )?(async )?fn main\(", source, re.M):
            page.add(block.fence_line, f"__mark({index}); mod __block_{index} {{")
            page.add_block(block, source)
            page.add(end_line(block), f"pub fn __run() {{ crate::__check(main()) }} }} __block_{index}::__run();")
        else:
            page.add(block.fence_line, f"{{ __mark({index});")
            page.add_block(block, source)
            page.add(end_line(block), ";")
            depth += 1
    page.add(end_line(blocks[-1]) + 1, "}" * depth + " Ok(()) }")
    return _with_head(page, blocks[0].fence_line, head)


# --- shell ---------------------------------------------------------------------------------------

_SHELL = (
    "set -Eeuo pipefail; "
    "__mark() { printf '\\036%s\\036' \"$1\"; printf '\\036%s\\036' \"$1\" >&2; }; "
    "trap 'echo \"line $LINENO: exit status $?\" >&2' ERR; "
)


def shell(blocks: list[Block]) -> str:
    """A bash script that stops at the first command that fails."""
    page = _Page()
    for index, block in enumerate(blocks):
        page.add(block.fence_line, f"__mark {index}")
        source = console_commands(block.source) if block.language == "console" else block.source
        page.add_block(block, source)
    return _with_head(page, blocks[0].fence_line, _SHELL)


def console_commands(source: str) -> str:
    """The commands of a session: lines that start with `$ `, with continuations that start with `> `."""
    lines = []
    for line in source.splitlines():
        lines.append(line[2:] if line.startswith(("$ ", "> ")) else "")
    return "".join(line + "\n" for line in lines)


def console_output(source: str) -> str:
    """The output in a session, between its commands."""
    lines = [line for line in source.splitlines() if not line.startswith(("$ ", "> "))]
    return "".join(line + "\n" for line in lines)


def split_output(text: str) -> dict[int, str]:
    """The output of each block, by index."""
    parts = re.split(f"{MARK}(\\d+){MARK}", text)
    return {int(index): part for index, part in zip(parts[1::2], parts[2::2], strict=True)}
