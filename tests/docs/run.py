"""Runs every code block of the documentation against real models.

    .venv/bin/python tests/docs/run.py [--language LANGUAGE]... [PAGE]...

All Python, JavaScript, Rust and shell blocks of README.md, docs/ and the packages' README.md run,
those in tabs too. The blocks of one language on one page are one program (`programs.py` says how),
which runs in a folder of its own with the models of `MODELS` in it. Programs pull
from a registry on loopback, where every model is the demo model; the store of a program that does not
pull contains the models that are loaded by name. A comment right before a block changes that:

    <!-- not run: REASON -->    the block is not run, and the reason is reported
    <!-- output -->             this `text` block is what the block before it prints; after a group
                                of tabs, what the last block of each tab prints
    <!-- input -->              the same for what it reads from standard input

A `console` block is a session: its commands, after `$ `, run, and the rest is their output.

Requires `make build`, the Python package in the environment of the interpreter that runs this, and the
Node.js package built in bindings/node.
"""

import argparse
import atexit
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import programs
from blocks import Block, PageError, parse

ROOT = Path(__file__).resolve().parents[2]
# As in the Makefile, so that nothing is recompiled.
BUILD = "cargo build --release --features full".split()
MODELS = {
    "model.gguf": "small",
    "large-model.gguf": "large",
    "encoder.gguf": "encoder",
    "reranker.gguf": "reranker",
    "vision.gguf": "tiny",
    "mmproj-vision.gguf": "projector",
}
# A picture for programs.
PICTURE = ROOT / "tests/docs/cat.png"
# Models that programs find in the store, as if they had been pulled, and that they can pull: the demo
# model under these names.
STORED = (("llama3.2", "1b"), ("llama3.3", "70b"))
# The same as a file in a Hugging Face repository.
REPOSITORY = "user/repo-GGUF/repo-Q4_K_M.gguf"
# The name of a program's store in its folder.
STORE = ".store"
DEMO = ROOT / "models/demo/demo.gguf"
# The draft model for it, as a file next to the models.
DRAFT = ROOT / "models/demo/draft.gguf"
# Maximum time in seconds for all blocks of one language on one page.
TIME_LIMIT = 300
# The beginnings of failures that another block has caused.
CASCADES = ("not built: ", "not reached: ")


@dataclass
class Outcome:
    """The outcome of a block: `failure` is None if it passed."""

    block: Block
    failure: str | None = None


@dataclass
class Program:
    """All blocks of one language on one page that are run."""

    language: str
    blocks: list[Block]

    @property
    def page(self) -> Path:
        return self.blocks[0].page

    @property
    def pulls(self) -> bool:
        """Whether it starts with an empty store."""
        return any(re.search(r"\bpull\b", block.source) for block in self.blocks)


class Workshop:
    """The folder in which programs are built and run, and their common files."""

    def __init__(self, target: Path):
        self.target = target
        self.release = target / "release"
        self.folder = target / "docs"
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "home").mkdir(parents=True)
        self.models = {}
        self.crates: dict[str, Path] = {}
        self.registry: str | None = None

    def prepare(self, languages: set[str]) -> None:
        artifacts = _built_crates()
        for name, preset in MODELS.items():
            if name in self.models:
                continue
            testkit = self.release / "mullama-testkit"
            self.models[name] = Path(_output_of([str(testkit), "path", preset]).strip())
        self.registry = self._serve()
        if "rust" in languages:
            self.crates = artifacts
        if languages & {"javascript", "typescript"}:
            # `import 'mullama'` finds it from every subfolder.
            modules = self.folder / "node_modules"
            modules.mkdir()
            (modules / "mullama").symlink_to(ROOT / "bindings" / "node", target_is_directory=True)

    def _serve(self) -> str:
        """Starts a registry, which ends with this process, and returns its address."""
        served = self.folder / "served"
        for name, tag in STORED:
            link = served / "registry/library" / name / tag / "model.gguf"
            link.parent.mkdir(parents=True)
            link.symlink_to(DEMO)
        link = served / "hf" / REPOSITORY
        link.parent.mkdir(parents=True)
        link.symlink_to(DEMO)
        command = [self.release / "mullama-test-registry", served]
        registry = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        atexit.register(registry.kill)
        return registry.stdout.readline().strip()

    def scratch(self, program: Program) -> Path:
        """The folder in which a program runs."""
        page = "-".join(program.page.with_suffix("").parts)
        folder = self.folder / page / program.language
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, path in self.models.items():
            (folder / name).symlink_to(path)
        for extra in (DRAFT, PICTURE):
            (folder / extra.name).symlink_to(extra)
        if not program.pulls:
            fill_store(folder / STORE, DEMO)
        return folder

    def environment(self, folder: Path) -> dict[str, str]:
        """The environment of a program that runs in this folder."""
        home = self.folder / "home"
        real_home = Path.home()
        # If a test suite has its own modules, its examples use them.
        kept = {"MULLAMA_BACKENDS", "MULLAMA_WARMUP"}
        env = {name: value for name, value in os.environ.items() if name in kept or not name.startswith("MULLAMA_")}
        env |= {
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
            "CARGO_HOME": env.get("CARGO_HOME", str(real_home / ".cargo")),
            "RUSTUP_HOME": env.get("RUSTUP_HOME", str(real_home / ".rustup")),
            "PATH": os.pathsep.join([str(self.release), str(Path(sys.executable).parent), env["PATH"]]),
            "MULLAMA_MODELS": str(folder / STORE),
            "NO_COLOR": "1",
            "TERM": "dumb",
        }
        if self.registry:
            env |= {"MULLAMA_REGISTRY": self.registry, "HF_ENDPOINT": self.registry}
        return env


def fill_store(store: Path, model: Path) -> None:
    """Creates a store of models in Ollama's layout, in which every name refers to the same model."""

    def blob(content: bytes) -> dict:
        digest = hashlib.sha256(content).hexdigest()
        path = store / "blobs" / f"sha256-{digest}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    kind = "application/vnd.ollama.image.model"
    config = blob(json.dumps({"model_format": "gguf", "architecture": "amd64", "os": "linux"}).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json"} | config,
        "layers": [{"mediaType": kind} | blob(model.read_bytes())],
    }
    for name, tag in STORED:
        path = store / "manifests/registry.ollama.ai/library" / name / tag
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest))


def _output_of(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"docs: `{' '.join(command)}` failed")
    return done.stdout


def _built_crates() -> dict[str, Path]:
    """Library crates of the workspace's build, by name."""
    crates = {}
    for line in _output_of([*BUILD, "--message-format=json"]).splitlines():
        message = json.loads(line)
        # Dependencies of build scripts are included a second time, without optimisation.
        if message.get("reason") == "compiler-artifact" and message["profile"]["opt_level"] != "0":
            for file in message["filenames"]:
                if file.endswith(".rlib"):
                    crates[message["target"]["name"].replace("-", "_")] = Path(file)
    return crates


# --- building a program: each returns the command that runs it, or the text of a failure ---------


def _build_python(program: Program, folder: Path, _: Workshop) -> list[str] | str:
    script = folder / "page.py"
    script.write_text(programs.python(program.blocks))
    return [sys.executable, str(script)]


def _build_javascript(program: Program, folder: Path, _: Workshop) -> list[str] | str:
    for block in program.blocks:
        # Node.js does not support `require` and a top-level `await` in the same file.
        if programs.uses_require(block):
            script = folder / "block.cjs"
            script.write_text("\n" * (block.line - 1) + block.source)
            checked = subprocess.run(["node", "--check", str(script)], capture_output=True, text=True)
            if checked.returncode:
                return checked.stderr
    script = folder / "page.mjs"
    script.write_text(programs.javascript(program.blocks))
    return ["node", str(script)]


# Removes the types from a module, with a source map.
STRIP_TYPES = """\
const { readFileSync, writeFileSync } = require('node:fs');
const [compiler, from, to] = process.argv.slice(1);
const { transpileModule } = require(compiler);
const compilerOptions = { module: 'esnext', target: 'es2022', inlineSourceMap: true };
const { outputText } = transpileModule(readFileSync(from, 'utf8'), { compilerOptions, fileName: from });
writeFileSync(to, outputText);
"""


def _build_typescript(program: Program, folder: Path, _: Workshop) -> list[str] | str:
    source, script = folder / "page.mts", folder / "page.mjs"
    source.write_text(programs.javascript(program.blocks))
    compiler = ROOT / "bindings/node/node_modules/typescript"
    stripped = subprocess.run(["node", "-e", STRIP_TYPES, compiler, source, script], capture_output=True, text=True)
    return stripped.stderr if stripped.returncode else ["node", "--enable-source-maps", str(script)]


def _build_rust(program: Program, folder: Path, workshop: Workshop) -> list[str] | str:
    source, binary = folder / "page.rs", folder / "page"
    source.write_text(programs.rust(program.blocks))
    release = workshop.crates["mullama"].parent
    command = ["rustc", "--edition", "2024", str(source), "-o", str(binary), "-C", "debuginfo=0"]
    for kind in "dependency", "native":
        command += ["-L", f"{kind}={release / 'deps'}"]
    command += ["-C", f"link-arg=-Wl,-rpath,{release}"]
    names = set(re.findall(r"\b([a-z_]\w*)::", source.read_text()))
    for name in sorted({"mullama"} | names & workshop.crates.keys()):
        command += ["--extern", f"{name}={workshop.crates[name]}"]
    built = subprocess.run(command, capture_output=True, text=True)
    return built.stderr if built.returncode else [str(binary)]


def _build_shell(program: Program, folder: Path, _: Workshop) -> list[str] | str:
    script = folder / "page.sh"
    script.write_text(programs.shell(program.blocks))
    return ["bash", str(script)]


BUILDERS: dict[str, Callable[[Program, Path, Workshop], list[str] | str]] = {
    "python": _build_python,
    "javascript": _build_javascript,
    "typescript": _build_typescript,
    "rust": _build_rust,
    "shell": _build_shell,
}


# --- running -------------------------------------------------------------------------------------


def run_program(program: Program, workshop: Workshop) -> list[Outcome]:
    """Runs a program and returns the outcome of each block."""
    folder = workshop.scratch(program)
    command = BUILDERS[program.language](program, folder, workshop)
    if isinstance(command, str):
        return _blame(program, _page_lines(command, folder, program))
    (folder / "stdin").write_text("".join(block.input for block in program.blocks))
    out, err = open(folder / "stdout", "wb"), open(folder / "stderr", "wb")
    with open(folder / "stdin", "rb") as asked, out, err:
        try:
            status = subprocess.run(
                command,
                cwd=folder,
                env=workshop.environment(folder),
                stdin=asked,
                stdout=out,
                stderr=err,
                timeout=TIME_LIMIT,
            ).returncode
            problem = f"exit status {status}" if status >= 0 else f"killed by signal {-status}"
        except subprocess.TimeoutExpired:
            status, problem = 1, f"still running after {TIME_LIMIT} s"
    stdout = programs.split_output((folder / "stdout").read_text(errors="replace"))
    stderr = programs.split_output((folder / "stderr").read_text(errors="replace"))
    reached = max(stderr, default=0 if status else -1)
    outcomes = []
    for index, block in enumerate(program.blocks):
        failure = None
        if status and index == reached:
            failure = problem + "\n" + _page_lines(stderr.get(index, ""), folder, program)
            if printed := stdout.get(index, ""):
                failure += "\nstandard output:\n" + printed
        elif index > reached:
            failure = "not reached: the program ended before it"
        else:
            failure = _wrong_output(block, stdout.get(index, ""))
        outcomes.append(Outcome(block, failure))
    return outcomes


def _blame(program: Program, errors: str) -> list[Outcome]:
    """Outcomes of a program that could not be built: the errors are those of the first block that they refer to."""
    lines = {int(line) for line in re.findall(rf"{re.escape(str(program.page))}:(\d+)", errors)}
    guilty = next(
        (b for b in program.blocks if any(b.line <= line <= programs.end_line(b) for line in lines)),
        program.blocks[0],
    )
    elsewhere = f"not built: see {guilty.where}"
    return [Outcome(block, errors if block is guilty else elsewhere) for block in program.blocks]


def _page_lines(text: str, folder: Path, program: Program) -> str:
    """The errors with the page as their file; the line numbers are the same."""
    return re.sub(rf"(file://)?{re.escape(str(folder))}/(page|block)\.\w+", str(program.page), text)


def _wrong_output(block: Block, printed: str) -> str | None:
    expected = block.expected
    if block.language == "console":
        expected = programs.console_output(block.source)
    if expected is None or expected.strip() == printed.strip():
        return None
    return f"expected output:\n{expected}\nprinted:\n{printed}"


def collect(pages: list[Path]) -> tuple[list[Program], list[Block]]:
    """The programs of all pages, and the blocks that are not run."""
    runs: dict[tuple[Path, str], Program] = {}
    skipped = []
    problems = []
    for page in pages:
        try:
            blocks = parse((ROOT / page).read_text(encoding="utf-8"), page)
        except PageError as error:
            problems.append(str(error))
            continue
        for block in blocks:
            if block.skip_reason:
                skipped.append(block)
                continue
            language = "shell" if block.language == "console" else block.language
            runs.setdefault((page, language), Program(language, [])).blocks.append(block)
        if (page, "typescript") in runs:
            # Blocks common to JavaScript and TypeScript are included.
            run = [block for block in blocks if not block.skip_reason]
            runs[page, "typescript"] = Program("typescript", programs.typescript(run))
    if problems:
        sys.exit("\n".join(problems))
    return list(runs.values()), skipped


def report(outcomes: list[Outcome], skipped: list[Block]) -> int:
    """Prints failures, skips and counts; returns the number of failures."""
    failed = [outcome for outcome in outcomes if outcome.failure]
    for outcome in failed:
        block = outcome.block
        print(f"\nFAILED {block.where} ({block.language})")
        if outcome.failure.startswith(CASCADES):
            print(f"  {outcome.failure}")
            continue
        print("".join(f"  | {line}\n" for line in block.source.splitlines()), end="")
        print("".join(f"  {line}\n" for line in outcome.failure.splitlines()), end="")
    if skipped:
        print("\nnot run:")
        for block in skipped:
            print(f"  {block.where} ({block.language}): {block.skip_reason}")
    print()
    languages = sorted({o.block.language for o in outcomes} | {b.language for b in skipped})
    for language in languages:
        run = [outcome for outcome in outcomes if outcome.block.language == language]
        bad = sum(outcome.failure is not None for outcome in run)
        left = sum(block.language == language for block in skipped)
        print(f"  {language}: {len(run)} run, {bad} failed, {left} not run")
    print(f"docs: {len(outcomes) - len(failed)} passed, {len(failed)} failed, {len(skipped)} skipped")
    return len(failed)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the code blocks of the documentation.")
    parser.add_argument("pages", nargs="*", type=Path, help="default: all")
    parser.add_argument("--language", action="append", choices=sorted(BUILDERS))
    parser.add_argument("--jobs", type=int, default=2, help="programs at once")
    parser.add_argument(
        "--models",
        choices=["made", "demo"],
        default="made",
        help="what the model files are: made for it, or the demo model, for slow GPUs",
    )
    arguments = parser.parse_args()

    pages = [page.resolve() for page in arguments.pages]
    if not pages:
        pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "bindings").glob("*/README.md")]
    pages = sorted(page.relative_to(ROOT) for page in pages)
    programs_to_run, skipped = collect(pages)
    if arguments.language:
        programs_to_run = [p for p in programs_to_run if p.language in arguments.language]
        skipped = [block for block in skipped if block.language in arguments.language]

    workshop = Workshop(ROOT / "target")
    if arguments.models == "demo":
        workshop.models = {name: DEMO for name in MODELS}
    workshop.prepare({program.language for program in programs_to_run})
    with ThreadPoolExecutor(arguments.jobs) as pool:
        results = pool.map(lambda program: run_program(program, workshop), programs_to_run)
        outcomes = [outcome for result in results for outcome in result]
    return 1 if report(outcomes, skipped) else 0


if __name__ == "__main__":
    sys.exit(main())
