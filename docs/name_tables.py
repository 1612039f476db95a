"""Writes the tables of the pages in `coming-from`: other projects' names of options, and mullama's, from
`crates/mullama-core/data/other_names.json`. `--check` compares instead of writing.

The file lists projects. Each has places where names are used (a function, a Modelfile, a command line), with the
language in which mullama's names are shown and the table of the project's page that lists them. An entry has the names
of one thing, and mullama's `option` for it, a `note` in Markdown, or both.
"""

import json
from pathlib import Path

from tables import camel, flag, table, write_or_check

ROOT = Path(__file__).parent.parent
PAGES = Path(__file__).parent / "coming-from"
PROJECTS = json.loads((ROOT / "crates/mullama-core/data/other_names.json").read_text(encoding="utf-8"))
# How each language writes the name of an option.
WRITTEN = {"python": str, "node": camel, "shell": flag}


def here(entry, language):
    """mullama's name for an entry, and notes about it."""
    parts = []
    if "option" in entry:
        parts.append(f"`{WRITTEN[language](entry['option'])}`")
    if "note" in entry:
        parts.append(entry["note"])
    return "; ".join(parts).replace("|", "\\|")


def names(project, place):
    """The table of one place."""
    rows = [
        [", ".join(f"`{name}`" for name in entry["names"]), here(entry, place["language"])]
        for entry in place["entries"]
    ]
    return table([project["project"], "mullama"], rows)


def page(project):
    """The page of a project."""
    return PAGES / f"{project['project'].lower().replace('.', '-')}.md"


if __name__ == "__main__":
    write_or_check(
        {
            page(project): {
                place["table"]: lambda project=project, place=place: names(project, place)
                for place in project["places"]
            }
            for project in PROJECTS
        }
    )
