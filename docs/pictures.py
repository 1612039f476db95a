"""Draws the pictures of the documentation, as SVG files in `assets`: the architecture, `mullama plan`, `mullama run`.

`--check` compares instead of writing. The command is `target/release/mullama`, or the one in the variable MULLAMA.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

from plan_tables import COMMAND, SHAPES

ROOT = Path(__file__).parent.parent
ASSETS = Path(__file__).parent / "assets"

# --- the command, as a terminal shows it ----------------------------------------------------------

FONT_SIZE, LINE_HEIGHT, ADVANCE, MARGIN = 14, 20, 8.43, 20
COLUMNS = 88

QUESTIONS = ["What is the capital of France?", "Say the alphabet."]
PLAN = ["--device", "2x RTX 3090", "--context-size", "8192", "--host-memory", "64GiB", "--alternatives=false"]


def session(commands, cache):
    """The lines of a terminal: commands and their output. `commands` are pairs of the shown command and its arguments."""
    environment = {**os.environ, "XDG_CACHE_HOME": cache, "MULLAMA_BACKEND": "cpu"}
    lines = []
    for shown, arguments in commands:
        command = [COMMAND, *arguments]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{shlex.join(command)} ended with {done.returncode}: {done.stderr}")
        lines += [f"$ {shown}", *done.stdout.rstrip().splitlines(), ""]
    return lines[:-1]


def clipped(line):
    """The line, truncated to the width of the terminal."""
    return line if len(line) <= COLUMNS else line[: COLUMNS - 1] + "…"


def terminal(title, lines):
    """Lines in a window, commands in another colour."""
    width = round(COLUMNS * ADVANCE) + 2 * MARGIN
    height = len(lines) * LINE_HEIGHT + 2 * MARGIN
    texts = []
    for index, line in enumerate(map(clipped, lines)):
        colour = "#7ee787" if line.startswith("$ ") else "#e6edf3"
        at = MARGIN + (index + 1) * LINE_HEIGHT - 6
        # The width of its characters, independent of the font.
        wide = f' textLength="{len(line) * ADVANCE:.0f}" lengthAdjust="spacingAndGlyphs"' if line else ""
        texts.append(f'<text xml:space="preserve" x="{MARGIN}" y="{at}" fill="{colour}"{wide}>{escape(line)}</text>')
    style = f"text {{ font-family: Menlo, Consolas, 'DejaVu Sans Mono', monospace; font-size: {FONT_SIZE}px; }}"
    box = f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>'
    return svg(title, width, height, style, [box, *texts])


def plan(cache):
    shape = f"{SHAPES['Llama 3.1 70B']},quantization=Q4_K_M"
    shown = 'mullama plan --shape "architecture=llama,block_count=80,..." --device "2x RTX 3090"'
    lines = session([(shown, ["plan", "--shape", shape, *PLAN])], cache)
    return terminal("mullama plan: where a model would be placed, and how fast it would run", lines)


def run(cache):
    options = ["run", "demo", "--temperature", "0"]
    commands = [(f'mullama {" ".join(options)} "{question}"', [*options, question]) for question in QUESTIONS]
    return terminal("mullama run: a question and its answer", session(commands, cache))


# --- the architecture -----------------------------------------------------------------------------

WIDTH, ROW, GAP = 860, 64, 14


def backends():
    """The names of all GPU backends."""
    listed = json.loads((ROOT / "crates/mullama-sys/backends.json").read_text(encoding="utf-8"))
    return [backend["title"] for backend in listed]


def layers():
    """Rows of boxes from top to bottom, each with its title, its caption, its share of the width and its kind."""
    return [
        [
            ("Python package", "bindings/python", 1, "user"),
            ("Node.js package", "bindings/node", 1, "user"),
            ("Rust programs", "crate mullama", 1, "user"),
            ("Command mullama", "crates/mullama-cli", 1, "user"),
        ],
        [
            ("Core", "crates/mullama-core: chat, scheduler, sampling, embeddings, planner", 3, "own"),
            ("Hub", "crates/mullama-hub: names, store, downloads", 2, "own"),
        ],
        [
            ("Engine as a library", "crates/mullama-sys: shim, kernels, modules", 3, "own"),
            ("Files and basics", "crates/mullama-gguf, crates/mullama-base", 2, "own"),
        ],
        [("llama.cpp and ggml", "weights, graphs, KV cache", 1, "engine")],
        [
            ("CPU modules", "one per generation of processors", 2, "engine"),
            ("GPU modules", ", ".join(backends()), 3, "engine"),
        ],
    ]


def architecture(_cache):
    boxes = []
    for row, cells in enumerate(layers()):
        shares = sum(share for _, _, share, _ in cells)
        width = WIDTH - 2 * MARGIN - GAP * (len(cells) - 1)
        x, y = float(MARGIN), MARGIN + row * (ROW + GAP)
        for title, caption, share, kind in cells:
            wide = width * share / shares
            middle = x + wide / 2
            boxes += [
                f'<rect class="{kind}" x="{x:.0f}" y="{y}" width="{wide:.0f}" height="{ROW}" rx="6"/>',
                f'<text class="title" x="{middle:.0f}" y="{y + 27}">{escape(title)}</text>',
                f'<text x="{middle:.0f}" y="{y + 47}">{escape(caption)}</text>',
            ]
            x += wide + GAP
    height = 2 * MARGIN + len(layers()) * (ROW + GAP) - GAP
    style = (
        "text { font-family: system-ui, sans-serif; font-size: 12px; fill: #1f2328; text-anchor: middle; } "
        ".title { font-size: 15px; font-weight: 600; } "
        "rect { stroke-width: 1; } "
        ".user { fill: #ddf4ff; stroke: #54aeff; } "
        ".own { fill: #dafbe1; stroke: #4ac26b; } "
        ".engine { fill: #fff8c5; stroke: #d4a72c; }"
    )
    return svg("The parts of mullama: each uses those below it", WIDTH, height, style, boxes)


# --- files ----------------------------------------------------------------------------------------


def svg(title, width, height, style, body):
    """An SVG file."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", f"<style>{style}</style>", *body, "</svg>\n"])


PICTURES = {"architecture.svg": architecture, "plan.svg": plan, "run.svg": run}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        for name, draw in PICTURES.items():
            path, made = ASSETS / name, draw(cache)
            if "--check" not in sys.argv[1:]:
                path.write_text(made, encoding="utf-8")
            elif not path.exists() or path.read_text(encoding="utf-8") != made:
                sys.exit(f"{path} is out of date: run `make reference`")
