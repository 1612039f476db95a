"""Writes the tables of the pages `reference/errors.md` and `reference/options.md` from the installed package and
the help of the command; and reports items that `reference/python.md` lacks.

`--check` compares instead of writing. The command is `target/release/mullama`, or the one in the variable MULLAMA.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import mullama
from mullama import _native, errors
from tables import camel, flag, table, write_or_check

ROOT = Path(__file__).parent.parent
REFERENCE = Path(__file__).parent / "reference"
COMMAND = os.environ.get("MULLAMA", str(ROOT / "target/release/mullama"))
# Options that flags set, by their table.
ON_THE_COMMAND_LINE = {"load", "generate", "chat"}
# Options whose values are functions, which no flag sets.
FUNCTIONS = {"logits_processors"}


def words(name):
    """`DoesNotFit` in upper case, as in Node.js: `DOES_NOT_FIT`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()


def exit_statuses():
    """Exit status by kind, from the command's help."""
    text = subprocess.check_output([COMMAND, "help"], text=True)
    found = re.findall(r"^ +(\d+)  ([A-Z]\w+) ", text.split("Exit codes:")[1], re.M)
    return {kind: status for status, kind in found}


def error_table():
    statuses = exit_statuses()
    rows = []
    for kind, *_ in _native._error_kinds():
        error = getattr(errors, f"{kind}Error")
        builtin = [base.__name__ for base in error.__bases__ if base is not errors.MullamaError]
        python = " and ".join(f"`{name}`" for name in [error.__name__, *builtin])
        doc = " ".join(error.__doc__.split()).rstrip(".")
        rows.append([f"`{kind}`", doc, python, f"`{words(kind)}`", statuses[kind]])
    return table(["Kind", "When", "Python", "Node.js", "Exit status"], rows)


def option_table(wanted):
    """A table of options. Their names are on separate lines, which leaves space for the descriptions."""
    rows = []
    for group, name, _, doc in _native._option_specs():
        if group != wanted:
            continue
        names = [name, camel(name)]
        if wanted in ON_THE_COMMAND_LINE and name not in FUNCTIONS:
            names.append(flag(name))
        rows.append(["<br>".join(f"`{one}`" for one in dict.fromkeys(names)), " ".join(doc.split())])
    shell = ", shell" if wanted in ON_THE_COMMAND_LINE else ""
    return table([f"Python, Node.js{shell}", "Meaning"], rows)


def left_out():
    """Public items of the package that its reference lacks."""
    listed = re.findall(r"^::: mullama\.(\w+)$", (REFERENCE / "python.md").read_text(), re.M)
    # All items of these modules are in the reference.
    listed += ["__version__", *errors.__all__, *mullama.gpu.__all__]
    return sorted(set(mullama.__all__) - set(listed))


OPTIONS = ["load", "cuda", "generate", "chat", "embed", "rerank", "plan"]

if __name__ == "__main__":
    if names := left_out():
        sys.exit(f"{REFERENCE / 'python.md'} leaves out {', '.join(names)}")
    write_or_check(
        {
            REFERENCE / "errors.md": {"errors": error_table},
            REFERENCE / "options.md": {name: lambda name=name: option_table(name) for name in OPTIONS},
        }
    )
