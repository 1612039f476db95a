"""Measures mullama from Python against the floor; `README.md` says how.

Samples go to standard output, a JSON object a line; a summary goes to standard error.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from statistics import median

# Imported first: the floor uses the engine's libraries that mullama has loaded.
import mullama

HERE = Path(__file__).parent
SETTINGS = json.loads((HERE / "settings.json").read_text())
# The sizes of the logical and the physical batch: mullama's defaults, which it does not expose.
BATCH = (2048, 512)
STARTS = 5

IMPORT = """
import time
start = time.perf_counter()
import mullama
print(time.perf_counter() - start)
"""

# The clock is the system's, which parent and child share.
FIRST_TOKEN = """
import time
from mullama import Model
for chunk in Model("demo").stream("The capital of France is", temperature=0):
    print(time.monotonic())
    break
"""


class Floor:
    """The raw loop of `src/floor.rs`, in this process."""

    def __init__(self, library, model, n_threads):
        self.lib = ctypes.CDLL(str(library))
        pointer, tokens = ctypes.c_void_p, ctypes.POINTER(ctypes.c_int32)
        size, seconds = ctypes.c_size_t, ctypes.c_double
        self.lib.floor_open.argtypes = [ctypes.c_char_p] + [ctypes.c_uint32] * 4
        self.lib.floor_open.restype = pointer
        self.lib.floor_prefill.argtypes = [pointer, tokens, size, tokens]
        self.lib.floor_prefill.restype = seconds
        self.lib.floor_decode.argtypes = [pointer, tokens, size, size, tokens]
        self.lib.floor_decode.restype = seconds
        self.lib.floor_close.argtypes = [pointer]
        self.lib.floor_close.restype = None
        self.lib.floor_settle.argtypes = []
        self.lib.floor_settle.restype = None
        self.lib.floor_others.argtypes = []
        self.lib.floor_others.restype = seconds
        self.lib.floor_undisturbed.argtypes = [seconds, seconds]
        self.lib.floor_undisturbed.restype = ctypes.c_bool
        check_engine()
        path = str(model.path).encode()
        self.handle = self.lib.floor_open(path, model.context_size, *BATCH, n_threads)
        if not self.handle:
            sys.exit("bench.py: the floor could not be opened")

    def prefill(self, prompt):
        """The time of a prompt and one token in seconds, and that token."""
        token = (ctypes.c_int32 * 1)()
        seconds = self.lib.floor_prefill(self.handle, array(prompt), len(prompt), token)
        return checked(seconds), list(token)

    def decode(self, prompt, n_new):
        """The time from the first new token to the last in seconds, and all new tokens."""
        tokens = (ctypes.c_int32 * n_new)()
        seconds = self.lib.floor_decode(self.handle, array(prompt), len(prompt), n_new, tokens)
        return checked(seconds), list(tokens)

    def close(self):
        self.lib.floor_close(self.handle)


def array(tokens):
    return (ctypes.c_int32 * len(tokens))(*tokens)


def checked(seconds):
    if seconds < 0:
        sys.exit("bench.py: the floor failed")
    return seconds


def check_engine():
    """Fails if the floor has loaded a second engine, whose speed it would measure."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return
    mapped = {line.split(maxsplit=5)[5] for line in maps.read_text().splitlines() if "/" in line}
    for name in ("libllama.so", "libggml.so", "libggml-base.so"):
        copies = sorted(path for path in mapped if Path(path).name.startswith(name))
        if len(copies) != 1:
            sys.exit(f"bench.py: there should be one {name} in this process: {copies}")


def streamed(model, prompt, n_new):
    """Like `Floor.decode`, with mullama: from the first chunk to the end of the stream."""
    stream = model.stream(prompt, temperature=0, ignore_eos=True, max_tokens=n_new)
    next(stream)
    start = time.perf_counter()
    for _ in stream:
        pass
    return time.perf_counter() - start, stream.completion.tokens


def generated(model, prompt):
    """Like `Floor.prefill`, with mullama."""
    start = time.perf_counter()
    completion = model.generate(prompt, temperature=0, ignore_eos=True, max_tokens=1)
    return time.perf_counter() - start, completion.tokens


def alternate(rounds, lib, prompt, floor, ours):
    """Measures both sides in each round, in alternating order. They must generate the same tokens.
    A round that other programs disturb is repeated, as long as there are fewer repetitions than
    rounds. The first round is a warm-up."""
    times = {floor: [], ours: []}
    repeats, disturbed, warm = rounds, 0, False
    while len(times[floor]) < rounds:
        tokens = prompt()
        order = (floor, ours) if len(times[floor]) % 2 == 0 else (ours, floor)
        start, before = time.perf_counter(), lib.floor_others()
        round_ = {}
        for side in order:
            lib.floor_settle()
            round_[side] = side(tokens)
        elapsed = time.perf_counter() - start
        calm = lib.floor_undisturbed(lib.floor_others() - before, elapsed)
        if round_[floor][1] != round_[ours][1]:
            sys.exit("bench.py: floor and mullama did not generate the same")
        if not warm:
            warm = True
        elif not calm and repeats:
            repeats -= 1
        else:
            disturbed += not calm
            for side, (seconds, _) in round_.items():
                times[side].append(seconds)
    return times[floor], times[ours], disturbed


def streaming_prompt(model, floor, prompt):
    """Returns a prompt after which the first token has text: both sides start measuring there."""
    for _ in range(100):
        tokens = prompt()
        text = model.detokenize(floor.prefill(tokens)[1], skip_special=True)
        if text and "\ufffd" not in text:
            return tokens
    sys.exit("bench.py: the model begins no text")


def measure(name, path, options):
    """Measures decoding and prefill with one model."""
    sizes = SETTINGS["models"][name]
    rounds = options.rounds or sizes["rounds"]
    model = mullama.Model(path, n_threads=options.threads, prefix_cache=0)
    floor = Floor(options.floor, model, options.threads)
    random = Random(1)

    def draw(length):
        return random.choices(range(model.n_vocab), k=length)

    fixed = streaming_prompt(model, floor, lambda: draw(SETTINGS["prompt"]))
    times = alternate(
        rounds,
        floor.lib,
        lambda: fixed,
        lambda prompt: floor.decode(prompt, sizes["decode"]),
        lambda prompt: streamed(model, prompt, sizes["decode"]),
    )
    report("decode", name, sizes["decode"] - 1, *times)
    times = alternate(
        rounds,
        floor.lib,
        lambda: draw(sizes["prefill"]),
        floor.prefill,
        lambda prompt: generated(model, prompt),
    )
    report("prefill", name, sizes["prefill"], *times)
    floor.close()
    model.close()


def report(what, model, tokens, floor, ours, disturbed):
    sample = {"what": what, "language": "Python", "model": model, "tokens": tokens}
    times = {"floor": floor, "mullama": ours, "disturbed": disturbed}
    print(json.dumps({**sample, **times}), flush=True)
    rates = [tokens / median(times) for times in (floor, ours)]
    ratio = median(raw / own for raw, own in zip(floor, ours, strict=True))
    summary = f"floor {rates[0]:.1f} t/s, mullama {rates[1]:.1f} t/s ({ratio:.3f})"
    print(f"Python {model} {what}: {summary}, {disturbed} rounds disturbed", file=sys.stderr)


def run(code):
    # As a program usually starts: without the variable that `run.sh` sets for computations.
    env = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, env=env)
    if result.returncode:
        sys.exit(f"bench.py: a process failed: {result.stderr}")
    return float(result.stdout)


def starts():
    """The time of the import, and from the start of a process to the first token."""

    def first_token():
        start = time.monotonic()
        return run(FIRST_TOKEN) - start

    for what, once in (("import", lambda: run(IMPORT)), ("first token", first_token)):
        once()
        times = [once() for _ in range(STARTS)]
        sample = {"what": what, "language": "Python", "model": "demo", "tokens": 0}
        print(json.dumps({**sample, "floor": [], "mullama": times, "disturbed": 0}), flush=True)
        least, middle = min(times) * 1e3, median(times) * 1e3
        print(f"Python {what}: {middle:.1f} ms, at least {least:.1f}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--floor", type=Path, required=True, help="the library mullama_floor")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rounds", type=int, help="instead of those of settings.json")
    parser.add_argument("models", nargs="*", metavar="NAME=PATH")
    options = parser.parse_args()
    # Loads the engine's modules, even if no model is measured.
    mullama.gpu.devices()
    for model in options.models:
        name, _, path = model.partition("=")
        measure(name, path, options)
    starts()


if __name__ == "__main__":
    main()
