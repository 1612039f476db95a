"""Generates files for type checkers and readers from the native module's own metadata:

- `_native.pyi`, from the types and the documentation comments of its Rust code,
- `options.py`, from the core's tables of options, and `src/signatures.rs`, which has their names
  for `inspect.signature`,
- the classes of `errors.py`, their names in `__init__.py`, and the type in `_kinds.py`, from the
  core's table of error kinds.

Run it with the installed package after one of these has changed. `--check` only compares.
"""

import ast
import builtins
import json
import re
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path

from mullama import _native

PACKAGE = Path(__file__).parent / "python/mullama"

# Where names are from that hints in Rust do not write in full.
MODULES = [
    "collections.abc",
    "os",
    "typing",
    "mullama.options",
    "mullama._chat",
    "mullama._message",
]

# Methods of every object, which are omitted.
LEFT_OUT = {"__reduce__", "_restore", "__repr__", "__str__"}

# Members of classes that neither the module nor a table declares.
EXTRA = {
    "Embeddings": "def __buffer__(self, flags: int, /) -> memoryview: ...",
    "NotFoundError": '''
errno = errno.ENOENT

@property
def filename(self) -> str | None:
    """The path that does not exist."""
    return self.context.get("path")
''',
}

# The part of `errors.py` and `__init__.py` after this line is generated.
ERRORS_BEGIN = "# Written by `generate_stubs.py` from the core's kinds of errors; do not edit.\n"

OPTIONS_HEAD = '''"""Keyword arguments of calls, for type checkers and as documentation.

Every option can be omitted or be None; both mean its default.

Written by `generate_stubs.py` from the options of the core; do not edit.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypeAlias, TypedDict

from mullama._tools import Tool

__all__ = [
    "ChatOptions",
    "CudaSettings",
    "EmbedOptions",
    "GenerateOptions",
    "KvCacheType",
    "LoadOptions",
    "LogitsProcessor",
    "Lora",
    "PlanOptions",
    "RerankOptions",
    "SamplerKind",
]

KvCacheType: TypeAlias = Literal[
    "f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"
]
"""The data type of the KV cache."""

Lora: TypeAlias = (
    str | PathLike[str] | Sequence[str | PathLike[str] | tuple[str | PathLike[str], float]]
)
"""LoRA adapters: a path, or a list of paths and of pairs of a path and a scale."""

LogitsProcessor: TypeAlias = Callable[[list[int], "memoryview[float]"], None]
"""Changes the logits of the next token in place. It is called with the tokens so far (negative ones
stand for pictures), and with a buffer of `float32`, one for each token of the vocabulary, which
NumPy takes without a copy. The buffer is invalid after the call."""

SamplerKind: TypeAlias = Literal[
    "penalties", "dry", "top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "xtc", "temperature"
]
"""A sampler that can be put in an order."""
'''

OPTION_CLASSES = [
    ("cuda", "CudaSettings", "TypedDict", "Settings of the CUDA backend."),
    ("load", "LoadOptions", "TypedDict", "Options of loading a model."),
    ("generate", "GenerateOptions", "TypedDict", "Options of a generation."),
    ("chat", "ChatOptions", "GenerateOptions", "Options of a chat."),
    ("embed", "EmbedOptions", "TypedDict", "Options of an embedding."),
    ("rerank", "RerankOptions", "TypedDict", "Options of a reranking."),
    ("plan", "PlanOptions", "TypedDict", "Options of a plan, in addition to its devices."),
]


def introspection():
    """The metadata that PyO3 embeds in the module's file: JSON objects, each preceded by its
    length."""
    content = Path(_native.__file__).read_bytes()
    for found in re.finditer(rb'(?s)(.{4})(?=\{")', content):
        end = found.end() + int.from_bytes(found[1], sys.byteorder)
        if content[end - 1 : end] == b"}":
            try:
                yield json.loads(content[found.end() : end])
            except ValueError:
                continue


class Names(ast.NodeTransformer):
    """Replaces qualified names by simple ones, and collects the imports for them."""

    def __init__(self, known):
        self.known = {*known, *dir(builtins)}
        self.imports = set()

    def visit_Attribute(self, node):
        """`typing.Any`."""
        self.imports.add((ast.unparse(node.value), node.attr))
        return ast.Name(node.attr)

    def visit_Name(self, node):
        """`Any`."""
        if node.id not in self.known:
            places = [place for place in MODULES if hasattr(import_module(place), node.id)]
            self.imports.add((places[0], node.id))
        return node


class Stub:
    """The stub of the native module."""

    def __init__(self):
        items = list(introspection())
        (self.module,) = (item for item in items if item["type"] == "module")
        self.classes = {item["id"]: item["name"] for item in items if item["type"] == "class"}
        self.names = Names(self.classes.values())
        self.members = {}
        for item in items:
            top = self.module["id"] if item.get("id") in self.module["members"] else None
            self.members.setdefault(item.get("parent", top), []).append(item)

    def text(self):
        """The complete text, not yet formatted."""
        items = self.sorted(self.module, _native.__all__)
        body = [self.item(item) for item in items]
        return "\n".join(
            [
                docstring(self.module["doc"], 0),
                *(f"from {module} import {name}" for module, name in self.names.imports),
                f"__all__ = {sorted(item['name'] for item in items)}",
                *body,
            ]
        )

    def sorted(self, owner, names):
        """Attributes by name, methods in the order of the Rust code, and special methods last."""

        def place(item):
            if "@property" in self.decorators(item):
                return 0, item["name"]
            special = item["name"].startswith("__") and item["name"] != "__new__"
            return 2 if special else 1, names.index(item["name"])

        return sorted(self.members[owner["id"]], key=place)

    def item(self, item):
        """An item of the module."""
        if item["type"] == "class":
            return self.cls(item)
        if item["type"] == "function":
            return self.function(item)
        return f"{item['name']}: {self.hint(item['annotation'])}"

    def cls(self, item):
        """A class."""
        name = item["name"]
        bases = ", ".join(map(self.hint, item.get("bases", [])))
        members = self.sorted(item, [*vars(getattr(_native, name))])
        body = [
            *([docstring(item["doc"], 4)] if "doc" in item else []),
            *(self.function(member) for member in members if member["name"] not in LEFT_OUT),
            EXTRA.get(name, ""),
        ]
        head = [*self.decorators(item), f"class {name}({bases}):"]
        return "\n".join(head) + "\n" + textwrap.indent("\n\n".join(body), "    ")

    def function(self, item):
        """A function or a method."""
        name, decorators = item["name"], self.decorators(item)
        # The class, if `Self` can refer to it.
        own = None if "@staticmethod" in decorators else item.get("parent")
        parameters = self.parameters(item["arguments"])
        returns = self.hint(item["returns"], own)
        doc = textwrap.indent(docstring(item["doc"], 8), "    ") if "doc" in item else "    ..."
        if name == "__getitem__" and " | " in returns:
            # An index returns the first type, a slice the second.
            self.names.imports.add(("typing", "overload"))
            _, _, hints = parameters[1].partition(": ")
            return "\n".join(
                f"@overload\ndef {name}(self, index: {hint}, /) -> {returned}: ..."
                for hint, returned in zip(hints.split(" | "), returns.split(" | "), strict=True)
            )
        return "\n".join([*decorators, f"def {name}({', '.join(parameters)}) -> {returns}:", doc])

    def parameters(self, arguments):
        """The parameters of a signature."""

        def declared(kind, stars=""):
            parameters = arguments.get(kind, [])
            for parameter in [parameters] if stars else parameters:
                text = stars + parameter["name"]
                if "annotation" in parameter:
                    text += ": " + self.hint(parameter["annotation"])
                if "default" in parameter:
                    text += " = " + self.expression(parameter["default"])
                yield text

        before = [*declared("posonlyargs")]
        named = [*declared("kwonlyargs")]
        return [
            *before,
            *(["/"] if len(before) > 1 else []),
            *declared("args"),
            *(declared("vararg", "*") if "vararg" in arguments else ["*"] if named else []),
            *named,
            *(declared("kwarg", "**") if "kwarg" in arguments else []),
        ]

    def decorators(self, item):
        """The decorators of a function or a class, one per line."""
        return [f"@{self.hint(decorator)}" for decorator in item.get("decorators", [])]

    def hint(self, item, own=None):
        """A type; its names are added to the imports."""
        tree = ast.parse(self.expression(item, own), mode="eval")
        return ast.unparse(self.names.visit(tree))

    def expression(self, item, own=None):
        """An expression with qualified names."""

        def part(key):
            return self.expression(item[key], own)

        match item["type"]:
            case "constant":
                # The module's own hints are constants, too.
                return str(item.get("value"))
            case "name":
                return item["id"]
            case "attribute":
                return f"{part('value')}.{item['attr']}".removeprefix("builtins.")
            case "id":
                return "typing.Self" if item["id"] == own else self.classes[item["id"]]
            case "binop":
                return f"{part('left')} | {part('right')}"
            case "subscript":
                return f"{part('value')}[{part('slice')}]"
            case "tuple" | "list":
                elements = ", ".join(self.expression(element, own) for element in item["elts"])
                return elements if item["type"] == "tuple" else f"[{elements}]"


def docstring(text, indent):
    """A docstring for this indentation, in lines of at most 100 characters."""
    # The text before it is a signature with options, which the stub has in another form.
    text = text.split("\n--\n\n")[-1].strip()
    text = f'"""{text}"""' if "\n\n" not in text else f'"""{text}\n\n"""'
    options = {"width": 100 - indent, "break_long_words": False, "break_on_hyphens": False}
    paragraphs = [textwrap.fill(" ".join(part.split()), **options) for part in text.split("\n\n")]
    return "\n\n".join(paragraphs).replace('\n\n"""', '\n"""')


def options():
    """The text of `options.py`."""
    specs = _native._option_specs()
    parts = [OPTIONS_HEAD]
    for wanted, name, base, doc in OPTION_CLASSES:
        parts.append(f'\n\nclass {name}({base}, total=False):\n    """{doc}"""\n')
        for options, option, python, text in specs:
            if options == wanted:
                meaning = textwrap.indent(docstring(text, 4), "    ")
                parts.append(f"\n    {option}: {python} | None\n{meaning}\n")
    return "".join(parts)


SIGNATURES_HEAD = """\
//! Signatures of calls that take options, for `inspect.signature` and `help`.
//!
//! Written by `generate_stubs.py` from the options of the core; do not edit.

/// The first line of the documentation of what has the given name: its parameters, with all options
/// of a kind. It is for items with `text_signature = None`.
macro_rules! signature {
    ($name:literal, $parameters:literal, $options:ident) => {
        concat!($name, "(", $parameters, option_names!($options), ")\\n--\\n")
    };
}

/// The options of a kind, as keyword parameters.
#[rustfmt::skip]
macro_rules! option_names {
"""


def signatures():
    """The text of `signatures.rs`."""
    specs = _native._option_specs()
    parts = [SIGNATURES_HEAD]
    for wanted, _, base, _ in OPTION_CLASSES:
        kinds = {wanted, "generate"} if base == "GenerateOptions" else {wanted}
        names = [f"{name}=None" for kind, name, *_ in specs if kind in kinds]
        lines = textwrap.wrap(", ".join(names), 90)
        body = ' ",\n        "'.join(lines)
        parts.append(f'    ({wanted}) => {{ concat!(\n        "{body}",\n    ) }};\n')
    return "".join(parts) + "}\n"


def error_names():
    """The names of all classes of `errors.py`."""
    return sorted(["MullamaError", *(f"{kind}Error" for kind, *_ in _native._error_kinds())])


def written_by_hand(name):
    """The manually written part of a file."""
    return (PACKAGE / name).read_text(encoding="utf-8").split(ERRORS_BEGIN)[0] + ERRORS_BEGIN


def package():
    """The text of `__init__.py`."""
    return written_by_hand("__init__.py") + f"__all__ += {error_names()}"


def errors():
    """The text of `errors.py`."""
    parts = [written_by_hand("errors.py"), f"__all__ = {error_names()}\n"]
    for kind, doc, built_in in _native._error_kinds():
        # Every class of errors is an `Exception`.
        bases = ", ".join(["MullamaError", *({built_in} - {"Exception"})])
        body = docstring(doc, 4) + "\n" + EXTRA.get(f"{kind}Error", "")
        parts.append(f"\nclass {kind}Error({bases}):\n{textwrap.indent(body, '    ')}\n")
    return "".join(parts)


def kinds():
    """The text of `_kinds.py`."""
    names = ", ".join(repr(kind) for kind, *_ in _native._error_kinds())
    return f'''"""The kinds of errors, for type checkers.

Written by `generate_stubs.py` from the core's kinds of errors; do not edit.
"""

from typing import Literal, TypeAlias

__all__ = ["ErrorKind"]

ErrorKind: TypeAlias = Literal[{names}]
"""A kind of error."""
'''


def formatted(text, path):
    """The text of a file, formatted as by `make fmt`."""
    for command in (["check", "--quiet", "--fix", "--select", "I"], ["format", "--quiet"]):
        command = [sys.executable, "-m", "ruff", *command, "--stdin-filename", path, "-"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, input=text)
        text = done.stdout
    return text


if __name__ == "__main__":
    files = {
        "../../src/signatures.rs": signatures,
        "_native.pyi": Stub().text,
        "options.py": options,
        "_kinds.py": kinds,
        "errors.py": errors,
        "__init__.py": package,
    }
    for name, text in files.items():
        path = PACKAGE / name
        text = formatted(text(), path) if path.suffix != ".rs" else text()
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path} is out of date: run generate_stubs.py")
