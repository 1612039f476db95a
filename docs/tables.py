"""Generated parts of files, between the comments `table: NAME` and `end`."""

import re
import sys
from pathlib import Path

OPTIONS = Path(__file__).parents[1] / "crates/mullama-core/src/options"
# Flags of the command whose names differ from their options.
FLAGS = {
    option: flag
    for file in OPTIONS.glob("*.rs")
    for option, flag in re.findall(r'^ {8}(\w+)\b.*; flag "([\w-]+)"', file.read_text(encoding="utf-8"), re.MULTILINE)
}


def camel(name):
    """An option's name in Node.js."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def flag(name):
    """An option's flag on the command line."""
    return f"--{FLAGS.get(name, name).replace('_', '-')}"


def table(header, rows, align="---"):
    """A table of Markdown; `align` is that of all columns but the first."""
    lines = [header, ["---", *[align] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def filled(text, tables, comment="<!-- {} -->"):
    """The text of a page with its tables regenerated; `tables` are functions by name."""
    for name, make in tables.items():
        start, end = comment.format(f"table: {name}") + "\n", "\n" + comment.format("end")
        head, rest = text.split(start, 1)
        text = head + start + "\n" + make() + "\n" + end + rest.split(end, 1)[1]
    return text


def write_or_check(pages):
    """Writes pages, given with their tables; with `--check` on the command line, ends the program where one
    is not what would be written."""
    for page, tables in pages.items():
        text = page.read_text(encoding="utf-8")
        made = filled(text, tables, "# {}") if page.suffix == ".toml" else filled(text, tables)
        if "--check" not in sys.argv[1:]:
            page.write_text(made, encoding="utf-8")
        elif text != made:
            sys.exit(f"{page} is out of date: run `make reference`")
