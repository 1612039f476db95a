"""Checks that relative links in Markdown files have existing targets.

    python3 tests/docs/links.py

Files and the headings after `#` are checked; addresses on the web are not.
"""

import re
import sys
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[2]
# Folders with files that are not part of the project.
FOREIGN = {".git", ".venv", "node_modules", "site", "target"}

_INLINE = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_REFERENCE = re.compile(r"^\s*\[[^\]]+\]:\s+<?([^\s>]+)>?", re.M)
# Within a paragraph; may contain line breaks.
_QUOTED = re.compile(r"(`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)\1(?!`)", re.S)
_FENCED = re.compile(r"^([ \t]*)(`{3,}|~{3,}).*?^[ \t]*\2[`~]*[ \t]*$", re.M | re.S)


def without_code(text: str) -> str:
    """The text without its code, with the same line numbers."""
    for code in _FENCED, _QUOTED:
        text = code.sub(lambda found: "\n" * found[0].count("\n"), text)
    return text


def _anchors(text: str) -> set[str]:
    """The anchors of headings, by GitHub's rule, which MkDocs shares for plain headings."""
    text = _FENCED.sub("", text)
    anchors: set[str] = set(re.findall(r"\bid=\"([^\"]+)\"", text))
    for heading in re.findall(r"^#{1,6}\s+(.*?)\s*#*$", text, re.M):
        if explicit := re.search(r"\{\s*#([\w.-]+)[^}]*\}$", heading):
            anchors.add(explicit[1])
            continue
        heading = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        # GitHub numbers repeated headings with `-1`, MkDocs with `_1`.
        repeats = sum(
            anchor == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", anchor) is not None for anchor in anchors
        )
        anchors |= {f"{slug}-{repeats}", f"{slug}_{repeats}"} if repeats else {slug}
    return anchors


def broken_links(page: Path) -> list[tuple[int, str, str]]:
    """Line, target and problem of each broken link of a page."""
    text = without_code(page.read_text(encoding="utf-8"))
    broken = []
    found = [*_INLINE.finditer(text), *_REFERENCE.finditer(text)]
    for link in sorted(found, key=lambda link: link.start(1)):
        target = link[1]
        if re.match(r"[a-z][a-z+.-]*:|//", target, re.I):
            continue
        line = text.count("\n", 0, link.start(1)) + 1
        path, _, anchor = target.partition("#")
        file = (page.parent / unquote(path)) if path else page
        if not file.exists():
            broken.append((line, target, "there is no such file"))
        elif anchor and file.suffix == ".md" and anchor not in _anchors(file.read_text(encoding="utf-8")):
            broken.append((line, target, "there is no such heading"))
    return broken


def main() -> int:
    pages = [page for page in sorted(ROOT.rglob("*.md")) if not FOREIGN & set(page.relative_to(ROOT).parts)]
    count = 0
    for page in pages:
        for line, target, problem in broken_links(page):
            print(f"{page.relative_to(ROOT)}:{line}: {target}: {problem}")
            count += 1
    print(f"links: {len(pages)} pages, {count} broken links")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
