"""Writes the tables of `guide/planning.md` and `which-model.md`: plans of models by their published shapes.

`--check` compares instead of writing. The command is `target/release/mullama`, or the one in the variable MULLAMA.
"""

import functools
import json
import os
import subprocess
import tempfile
from pathlib import Path

from tables import table, write_or_check

ROOT = Path(__file__).parent.parent
PAGE = Path(__file__).parent / "guide/planning.md"
WHICH_MODEL = Path(__file__).parent / "which-model.md"
# The exit status of a plan that does not fit; a table shows it like any other plan.
DOES_NOT_FIT = 7
COMMAND = os.environ.get("MULLAMA", str(ROOT / "target/release/mullama"))
GIB = 1 << 30

# The figures are those of the `config.json` that each model was published with.
SHAPES = {
    "Llama 3.2 1B": "architecture=llama,block_count=16,embedding_length=2048,"
    "feed_forward_length=8192,attention.head_count=32,attention.head_count_kv=8,vocab_size=128256,"
    "tied=true",
    "Llama 3.2 3B": "architecture=llama,block_count=28,embedding_length=3072,"
    "feed_forward_length=8192,attention.head_count=24,attention.head_count_kv=8,vocab_size=128256,"
    "tied=true",
    "Llama 3.1 8B": "architecture=llama,block_count=32,embedding_length=4096,"
    "feed_forward_length=14336,attention.head_count=32,attention.head_count_kv=8,vocab_size=128256",
    "Qwen3 14B": "architecture=qwen3,block_count=40,embedding_length=5120,"
    "feed_forward_length=17408,attention.head_count=40,attention.head_count_kv=8,"
    "attention.key_length=128,attention.value_length=128,vocab_size=151936",
    "Qwen3 32B": "architecture=qwen3,block_count=64,embedding_length=5120,"
    "feed_forward_length=25600,attention.head_count=64,attention.head_count_kv=8,"
    "attention.key_length=128,attention.value_length=128,vocab_size=151936",
    "Mixtral 8x7B": "architecture=llama,block_count=32,embedding_length=4096,"
    "feed_forward_length=14336,attention.head_count=32,attention.head_count_kv=8,"
    "expert_count=8,expert_used_count=2,vocab_size=32000",
    "Llama 3.1 70B": "architecture=llama,block_count=80,embedding_length=8192,"
    "feed_forward_length=28672,attention.head_count=64,attention.head_count_kv=8,vocab_size=128256",
}
# Models of `which-model.md`, the smallest first: their names in Ollama's registry, and those above.
DOWNLOADS = {
    "llama3.2:1b": "Llama 3.2 1B",
    "llama3.2:3b": "Llama 3.2 3B",
    "llama3.1:8b": "Llama 3.1 8B",
    "qwen3:14b": "Qwen3 14B",
    "qwen3:30b": "Qwen3 30B-A3B",
    "qwen3:32b": "Qwen3 32B",
    "llama3.1:70b": "Llama 3.1 70B",
}
SHAPES_OF_DOWNLOADS = SHAPES | {
    "Qwen3 30B-A3B": "architecture=qwen3moe,block_count=48,embedding_length=2048,"
    "feed_forward_length=6144,expert_feed_forward_length=768,attention.head_count=32,"
    "attention.head_count_kv=4,attention.key_length=128,attention.value_length=128,"
    "expert_count=128,expert_used_count=8,vocab_size=151936",
}
# A quarter of the memory of small machines is taken by other programs.
DDR4, DDR5 = ["--host-bandwidth", "2x DDR4-3200"], ["--host-bandwidth", "2x DDR5-5600"]
MACHINES = {
    "8 GB, no GPU": ["--host-memory", "6GiB", *DDR4],
    "16 GB, no GPU": ["--host-memory", "12GiB", *DDR4],
    "32 GB, no GPU": ["--host-memory", "26GiB", *DDR5],
    "64 GB, no GPU": ["--host-memory", "56GiB", *DDR5],
    **{name: ["--device", name] for name in ("M4 16GB", "M4 Pro 24GB", "M4 Max 64GB")},
    **{
        name: ["--device", name, "--host-memory", "26GiB", *DDR5]
        for name in ("RTX 4060", "RTX 3060 12GB", "RTX 4060 Ti 16GB", "RTX 4090", "RTX 5090", "2x RTX 3090")
    },
    "H100 SXM5 80GB": ["--device", "H100 SXM5 80GB", "--host-memory", "120GiB"],
}
# Tokens per second that are comfortable for chat, as in a plan's verdict; and that exceed reading speed.
COMFORTABLE, FAST = 8, 20
QUANTISATIONS = ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"]
CARDS = ["6GiB", "8GiB", "12GiB", "16GiB", "24GiB", "2x 24GiB", "80GiB"]
CONTEXTS = [4096, 8192, 32768, 131072]


class Planner:
    """Runs the command for a machine without known devices."""

    def __init__(self, cache):
        self.environment = {**os.environ, "XDG_CACHE_HOME": cache, "MULLAMA_BACKEND": "cpu"}

    def plan(self, model, quantisation, *flags, host=("--host-memory", "128GiB")):
        shape = f"{SHAPES_OF_DOWNLOADS[model]},quantization={quantisation}"
        fixed = [*host, "--alternatives=false", "--json"]
        command = [COMMAND, "plan", "--shape", shape, *flags, *fixed]
        done = subprocess.run(command, env=self.environment, stdout=subprocess.PIPE, check=False)
        if done.returncode not in (0, DOES_NOT_FIT):
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
        return json.loads(done.stdout)


def held(plan):
    return sum(plan["devices"][0][part] for part in ("weights", "kv", "compute"))


def memory(planner):
    rows = []
    for model in SHAPES:
        whole = ["--device", "640GiB", "-ngl", "-1", "-c", "8192"]
        plans = [planner.plan(model, name, *whole) for name in QUANTISATIONS]
        rows.append([model, *[f"{held(plan) / GIB:.1f}" for plan in plans]])
    return table(["Model", *QUANTISATIONS], rows, "---:")


def cache(planner):
    rows = []
    for model in SHAPES:
        cells = []
        for kind in ("f16", "q8_0"):
            for context in CONTEXTS:
                whole = ["--device", "640GiB", "-ngl", "-1", "-c", str(context)]
                plan = planner.plan(model, "Q4_K_M", *whole, "--kv-cache-type", kind)
                cells.append(f"{plan['devices'][0]['kv'] / GIB:.2f}")
        rows.append([model, *cells])
    header = [f"{kind}, {context // 1024}k" for kind in ("f16", "q8_0") for context in CONTEXTS]
    return table(["Model", *header], rows, "---:")


def cards(planner):
    """Layers on cards of each size: all, all without the experts of some layers, or their number."""
    rows = []
    for model in SHAPES:
        cells = []
        for card in CARDS:
            plan = planner.plan(model, "Q4_K_M", "--device", card, "-c", "8192")
            layers, all_layers = plan["n_gpu_layers"], plan["n_layers"]
            whole = f"all − {plan['n_cpu_moe']}" if plan["n_cpu_moe"] else "all"
            cells.append(whole if layers == all_layers else f"{layers} of {all_layers}")
        rows.append([model, *cells])
    return table(["Model", *CARDS], rows, "---:")


def offload(planner):
    """Placement and speed of a model that exceeds a card, for growing parts of it on the card."""
    rows = []
    for card in ("RTX 3060 12GB", "RTX 4060 Ti 16GB", "RTX 4090", "RTX 5090", "2x RTX 3090", "RTX 6000 Ada"):
        machine = ["--device", card, "--host-bandwidth", "2x DDR5-5600"]
        plan = planner.plan("Llama 3.1 70B", "Q4_K_M", *machine, "-c", "8192")
        sizes = [sum(device[part] for part in ("weights", "kv", "compute")) for device in plan["devices"]]
        host = sum(plan["host"][part] for part in ("weights", "kv", "compute"))
        layers = f"{plan['n_gpu_layers']} of {plan['n_layers']}"
        speed = f"{plan['predicted']['decode_tps']:.1f}"
        rows.append([card, layers, f"{sum(sizes) / GIB:.1f}", f"{host / GIB:.1f}", speed])
    return table(
        ["Card", "Layers on the card", "GiB on the card", "GiB of system RAM", "Tokens per second"], rows, "---:"
    )


def speeds(planner):
    rows = []
    for layers in (0, 10, 20, 30, 40, 81):
        cells = []
        for devices in ("RTX 4090", "RTX 3090", "H100 SXM5 80GB"):
            machine = ["--device", devices, "--host-bandwidth", "2x DDR5-5600"]
            plan = planner.plan("Llama 3.1 70B", "Q4_K_M", *machine, "-ngl", str(layers))
            speed = plan["predicted"]["decode_tps"]
            cells.append(f"{speed:.1f}" if plan["fits"] else "does not fit")
        rows.append([str(layers), *cells])
    return table(["Layers on the GPU", "RTX 4090", "RTX 3090", "H100 SXM5"], rows, "---:")


def rules(planner):
    """Layers by the rule "nine tenths of the card, divided by the size of a layer", and as planned."""
    rows = []
    cases = [
        ("Llama 3.1 70B", "RTX 4090", 24, 8192),
        ("Llama 3.1 70B", "RTX 4090", 24, 32768),
        ("Qwen3 32B", "RTX 4060 Ti 16GB", 16, 8192),
        ("Qwen3 32B", "RTX 4060 Ti 16GB", 16, 32768),
        ("Llama 3.1 8B", "RTX 3050 6GB", 6, 8192),
        ("Llama 3.1 8B", "RTX 3050 6GB", 6, 32768),
    ]
    for model, card, size, context in cases:
        plan = planner.plan(model, "Q4_K_M", "--device", card, "-c", str(context))
        each = plan["model"]["size"] / (plan["n_layers"] - 1)
        rule = min(int(size * GIB * 0.9 / each), plan["n_layers"])
        planned = plan["n_gpu_layers"]
        rows.append([f"{model}, {card}", f"{context // 1024}k", str(rule), str(planned)])
    return table(["Model and card", "Context", "By the rule", "As planned"], rows, "---:")


def speed_on(planner, name, quantisation, machine):
    """Tokens per second of a download, and the plan; no speed if it does not fit into memory."""
    plan = planner.plan(DOWNLOADS[name], quantisation, *MACHINES[machine], "-c", "8192", host=())
    fits = plan["fits"] and not plan["pages"] and plan["predicted"]
    return (plan["predicted"]["decode_tps"] if fits else None), plan


def choices(planner):
    """The largest model that is fast enough for each machine, with more bits per weight if the speed allows it."""
    rows = []
    for machine in MACHINES:
        speeds = ((name, speed_on(planner, name, "Q4_K_M", machine)[0] or 0) for name in reversed(DOWNLOADS))
        name = next(name for name, speed in speeds if speed >= COMFORTABLE)
        for quantisation in ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"):
            speed, plan = speed_on(planner, name, quantisation, machine)
            if (speed or 0) >= FAST:
                break
        size = plan["model"]["size"] / 1e9
        rows.append([machine, f"`{name}`", quantisation, f"{size:.1f}", f"{speed:.0f}"])
    return table(["Machine", "Model", "Quantisation", "GB to download", "Tokens per second"], rows, "---:")


def machines(planner):
    rows = []
    for machine in MACHINES:
        speeds = [speed_on(planner, name, "Q4_K_M", machine)[0] for name in DOWNLOADS]
        rows.append([machine, *[f"{speed:.0f}" if speed else "–" for speed in speeds]])
    return table(["Machine", *[f"`{name}`" for name in DOWNLOADS]], rows, "---:")


TABLES = {"memory": memory, "cache": cache, "cards": cards, "offload": offload, "speeds": speeds, "rules": rules}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        planner = Planner(folder)
        pages = {PAGE: TABLES, WHICH_MODEL: {"choices": choices, "machines": machines}}
        write_or_check(
            {
                page: {name: functools.partial(make, planner) for name, make in tables.items()}
                for page, tables in pages.items()
            }
        )
