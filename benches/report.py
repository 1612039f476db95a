"""Converts samples (standard input, one JSON object per line) to one table in Markdown."""

import json
import os
import platform
import sys
from pathlib import Path
from statistics import median

# The project's targets: ratios to the floor, and times in milliseconds.
RATIO = {"decode": "≥ 0.97", "prefill": "≥ 0.97", "embed": "≥ 0.95", "embed in batches": "> 1", "memory": "≤ 1.10"}
TIME = {
    ("import", "Python"): "about 30 ms",
    ("first token", "Python"): "about 100 ms",
    ("first token", "Node.js"): "about 150 ms",
}


def pooled(samples):
    """Merges the samples of each measurement from all processes."""
    together = {}
    for sample in samples:
        of = together.setdefault((sample["language"], sample["model"], sample["what"]), sample)
        if of is not sample:
            for key in ("floor", "mullama", "disturbed"):
                of[key] += sample[key]
    return list(together.values())


def row(*cells):
    return "| " + " | ".join(cells) + " |"


def rows(samples):
    for sample in samples:
        what, language, model = (sample[key] for key in ("what", "language", "model"))
        floor, ours, tokens = (sample[key] for key in ("floor", "mullama", "tokens"))
        if not floor:
            target = TIME.get((what, language), "")
            values = f"{median(ours) * 1e3:.1f} ms (at least {min(ours) * 1e3:.1f})"
            yield row(what, language, model, "", values, "", target)
            continue
        if tokens:
            unit = "t/s"
            shown = [f"{tokens / median(times):.1f} {unit}" for times in (floor, ours)]
            ratio = median(raw / own for raw, own in zip(floor, ours, strict=True))
        else:
            shown = [f"{median(kib) / 1024:.1f} MiB" for kib in (floor, ours)]
            ratio = median(own / raw for raw, own in zip(floor, ours, strict=True))
        yield row(what, language, model, *shown, f"{ratio:.3f}", RATIO[what])


def delivery(samples):
    """The cost of a streamed token beyond the floor's, and beyond that of one streamed to Rust."""
    costs = {}
    for sample in samples:
        if (sample["what"], sample["model"]) == ("decode", "demo"):
            pairs = zip(sample["floor"], sample["mullama"], strict=True)
            cost = median(own - raw for raw, own in pairs) / sample["tokens"]
            costs[sample["language"]] = cost * 1e6
    for language, cost in costs.items():
        above = f", {cost - costs['Rust']:+.1f} on Rust" if language != "Rust" and "Rust" in costs else ""
        yield row("a token's way", language, "demo", "", f"{cost:.1f} µs{above}", "", "")


def machine(threads):
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = named[0].partition(":")[2].strip() if named else cpu
    load = os.getloadavg()[0]
    return f"{cpu}, {os.cpu_count()} processors, {threads} threads, load {load:.1f} at the end."


def main():
    samples = pooled(json.loads(line) for line in sys.stdin if line.strip())
    print("# Measured\n")
    print(machine(sys.argv[1]) + "\n")
    print(row("what", "language", "model", "floor", "mullama", "ratio (median)", "target"))
    print(row("---", "---", "---", "---:", "---:", "---:", "---"))
    for line in [*rows(samples), *delivery(samples)]:
        print(line)
    disturbed = sum(sample["disturbed"] for sample in samples)
    total = sum(len(sample["floor"]) for sample in samples if sample["tokens"])
    print(f"\nOther programs ran during {disturbed} of {total} rounds.")


if __name__ == "__main__":
    main()
