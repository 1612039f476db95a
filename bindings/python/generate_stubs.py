"""Writes `python/mullama/options.py`: what calls take, from the core's own tables of options.

Run it after an option has changed. `--check` compares instead of writing.
"""

import sys
import textwrap
from pathlib import Path

from mullama import _native

TARGET = Path(__file__).parent / "python/mullama/options.py"

HEAD = '''"""What calls take as keyword arguments, for type checkers and for reading.

Every option can be left out or be None, which both mean its default.

Written by `generate_stubs.py` from the options of the core; do not edit.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypeAlias, TypedDict

from mullama._tools import Tool

__all__ = [
    "ChatOptions",
    "EmbedOptions",
    "GenerateOptions",
    "KvCacheType",
    "LoadOptions",
    "Lora",
    "PlanOptions",
    "RerankOptions",
]

KvCacheType: TypeAlias = Literal[
    "f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"
]
"""The number format of the KV cache."""

Lora: TypeAlias = (
    str | PathLike[str] | Sequence[str | PathLike[str] | tuple[str | PathLike[str], float]]
)
"""LoRA adapters: a path, or a list of paths and of pairs of a path and a scale."""
'''

CLASSES = [
    ("load", "LoadOptions", "TypedDict", "What loading a model takes."),
    ("generate", "GenerateOptions", "TypedDict", "What a generation takes."),
    ("chat", "ChatOptions", "GenerateOptions", "What a chat takes."),
    ("embed", "EmbedOptions", "TypedDict", "What an embedding takes."),
    ("rerank", "RerankOptions", "TypedDict", "What a reranking takes."),
    ("plan", "PlanOptions", "TypedDict", "What a plan takes beside its devices."),
]


def docstring(text):
    """A docstring of one level's indentation, in lines of at most 100 characters."""
    text = " ".join(text.split())
    lines = textwrap.wrap(f'"""{text}"""', 96, break_long_words=False, break_on_hyphens=False)
    return textwrap.indent("\n".join(lines), "    ")


def generate():
    """The text of `options.py`."""
    specs = _native._option_specs()
    parts = [HEAD]
    for wanted, name, base, doc in CLASSES:
        total = ", total=False"
        parts.append(f'\n\nclass {name}({base}{total}):\n    """{doc}"""\n')
        for options, option, python, text in specs:
            if options == wanted:
                parts.append(f"\n    {option}: {python} | None\n{docstring(text)}\n")
    return "".join(parts)


if __name__ == "__main__":
    text = generate()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
    elif TARGET.read_text(encoding="utf-8") != text:
        sys.exit(f"{TARGET} is out of date: run generate_stubs.py")
