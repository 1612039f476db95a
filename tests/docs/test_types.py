"""Every example passes the strict checks of its language's type checkers."""

import json
import re
import subprocess
import sys

import pytest

import typed

NODE = typed.ROOT / "bindings/node"
PYTHON_PAGES = [page for page in typed.PAGES if typed.python(page)]
# Errors that result only from combining the blocks of a page in one file: names that are declared or imported again.
MYPY = ["--strict", "--allow-redefinition", "--disable-error-code=no-redef"]
PYRIGHT = {
    "typeCheckingMode": "strict",
    "reportRedeclaration": False,
    "reportDuplicateImport": False,
}


def run(*command, cwd):
    return subprocess.run([*command, "."], cwd=cwd, capture_output=True, text=True)


def lines_of(output):
    """The lines of a file of mistakes for which a checker reports an error."""
    return {int(line) for line in re.findall(r"mistakes\.\w+[:(](\d+).*error", output)}


def mypy(folder):
    return run(sys.executable, "-m", "mypy", *MYPY, cwd=folder)


def pyright(folder):
    (folder / "pyrightconfig.json").write_text(json.dumps(PYRIGHT))
    return run(sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "--project", cwd=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The Python code of all pages, one file per page."""
    folder = tmp_path_factory.mktemp("typed")
    for page in PYTHON_PAGES:
        (folder / typed.file_name(page, ".py")).write_text(typed.python(page))
    return folder


@pytest.mark.parametrize("check", [mypy, pyright])
def test_python(folder, check):
    checked = check(folder)
    assert checked.returncode == 0, checked.stdout + checked.stderr


PYTHON_MISTAKES = """\
from mullama import Model, MullamaError
model = Model("demo")
model.chat([], temprature=0)
model.generate("Hello", max_tokens="many")
Model("demo", split_mode="rows")
print(MullamaError().kind == "NotFond")
print(model.capabilities.chats)
"""


@pytest.mark.parametrize("check", [mypy, pyright])
def test_mistakes_in_python_are_found(tmp_path, check):
    (tmp_path / "mistakes.py").write_text(PYTHON_MISTAKES)
    assert lines_of(check(tmp_path).stdout) == {3, 4, 5, 6, 7}


# JavaScript has no types for parameters and for caught errors.
TSC = {
    "strict": True,
    "noImplicitAny": False,
    "useUnknownInCatchVariables": False,
    "allowJs": True,
    "checkJs": True,
    "noEmit": True,
    "module": "node16",
    "moduleResolution": "node16",
    "target": "es2022",
    "lib": ["es2022", "esnext.disposable"],
    "types": ["node"],
    "typeRoots": [str(NODE / "node_modules/@types")],
    "preserveSymlinks": True,
}


def tsc(folder, files="*.mjs", **options):
    settings = {"compilerOptions": TSC | options, "include": [files]}
    (folder / "tsconfig.json").write_text(json.dumps(settings))
    (folder / "node_modules").mkdir()
    for name, package in {"mullama": NODE, "zod": NODE / "node_modules/zod"}.items():
        (folder / "node_modules" / name).symlink_to(package, target_is_directory=True)
    return run("node", NODE / "node_modules/typescript/bin/tsc", "--project", cwd=folder)


def test_javascript(tmp_path):
    for page in typed.PAGES:
        if text := typed.javascript(page):
            (tmp_path / typed.file_name(page, ".mjs")).write_text(text)
    checked = tsc(tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


JAVASCRIPT_MISTAKES = """\
import { Model, MullamaError } from 'mullama';
const model = await Model.load('demo');
await model.chat([], { temprature: 0 });
await model.generate('Hello', { maxTokens: 'many' });
await Model.load('demo', { splitMode: 'rows' });
model.close().catch((error) => error instanceof MullamaError && error.code === 'CLOSD');
console.log(model.capabilities.chats);
"""


def test_mistakes_in_javascript_are_found(tmp_path):
    (tmp_path / "mistakes.mjs").write_text(JAVASCRIPT_MISTAKES)
    assert lines_of(tsc(tmp_path).stdout) == {3, 4, 5, 6, 7}


# All strict checks apply to TypeScript.
TYPESCRIPT = {"noImplicitAny": True, "useUnknownInCatchVariables": True}


def test_typescript(tmp_path):
    for page in typed.PAGES:
        if text := typed.typescript(page):
            (tmp_path / typed.file_name(page, ".mts")).write_text(text)
    checked = tsc(tmp_path, "*.mts", **TYPESCRIPT)
    assert checked.returncode == 0, checked.stdout + checked.stderr


TYPESCRIPT_MISTAKES = """\
import { Model, type Message } from 'mullama';
const model = await Model.load('demo');
await model.chat([{ role: 'usr', content: 'Hello' }]);
const messages: Message[] = [{ role: 'usr', content: 'Hello' }];
try { model.tokenize('x'); } catch (error) { console.log(error.code); }
"""


def test_mistakes_in_typescript_are_found(tmp_path):
    (tmp_path / "mistakes.mts").write_text(TYPESCRIPT_MISTAKES)
    assert lines_of(tsc(tmp_path, "*.mts", **TYPESCRIPT).stdout) == {3, 4, 5}
