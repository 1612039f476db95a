"""Runs the tests that need a GPU and writes the results; see `run.sh` for its use."""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE / "python/mullama"
LIBRARIES = PACKAGE / "lib"
COMMAND = LIBRARIES / "mullama"
# Possible folders of the libraries with which a module is linked, in addition to NVIDIA's Python packages.
LIBRARY_FOLDERS = ["/usr/local/cuda/lib64", "/opt/rocm/lib"]
CAPITAL = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
# The examples of the documentation's page on GPUs, with the largest model as both of its models.
EXAMPLES = """
from mullama import Model, gpu

model = Model("model.gguf", n_gpu_layers=-1)
model2 = Model("model.gguf", n_gpu_layers=35)
print(f"CUDA available: {gpu.cuda_available()}")
print(f"Metal available: {gpu.metal_available()}")
model = Model("model.gguf", n_gpu_layers=-1)
print(f"GPU layers loaded: {model.gpu_layers}")
assert model.gpu_layers == model.n_layers + 1
model = Model("model.gguf",
    n_gpu_layers=-1,
    context_size=4096,
    batch_size=1024  # Higher = better GPU utilization
)
print(model.generate("Once", max_tokens=8))
model = Model("model.gguf", n_gpu_layers=-1, context_size=1024)
print(model.placement)
"""
TWO_DEVICES = {
    "cuda": {"GGML_CUDA_DEVICES": "2"},
    "vulkan": {"GGML_VK_VISIBLE_DEVICES": "0,0", "MULLAMA_WARMUP": "0"},
}
SPLIT_EXAMPLE = """
from mullama import Model

model = Model("large-model.gguf",
    n_gpu_layers=-1,
    tensor_split=[0.6, 0.4]  # 60% GPU 0, 40% GPU 1
)
print(model.placement)
assert sum(device.layers > 0 for device in model.placement.devices) >= 2
print(model.generate("Once", max_tokens=8))
"""


@dataclass
class Step:
    """A step of the test run."""

    name: str
    # passed, failed, skipped
    outcome: str
    seconds: float = 0.0
    # Lines for the report.
    findings: list[str] = field(default_factory=list)


class Failure(Exception):
    """A problem that a step has found."""


class Skipped(Exception):
    """The reason why a step cannot run with this backend."""


class Device:
    """The machine, which runs the steps."""

    def __init__(self, out: Path, minutes: float) -> None:
        self.out = out
        self.deadline = time.monotonic() + minutes * 60
        self.steps: list[Step] = []
        self.scratch = Path(tempfile.mkdtemp())
        backends = sorted(path for path in (HERE / "backends").iterdir())
        self.kinds = [path.name for path in backends]
        self.environment = os.environ | {
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, [LIBRARIES, *library_folders()])),
            "MULLAMA_BACKENDS": os.pathsep.join(map(str, [LIBRARIES, *backends])),
            "PYTHONPATH": str(PACKAGE.parent),
            "XDG_CACHE_HOME": str(self.scratch / "cache"),
            "MULLAMA_MODELS": str(self.scratch / "store"),
        }

    def run(
        self,
        *command: str | Path,
        limit: float = 120,
        status: int | None = 0,
        cwd: Path | None = None,
        **environment: str,
    ) -> str:
        """The output of a command, errors last. Its status must be `status`, unless that is None."""
        result = subprocess.run(
            [str(word) for word in command],
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=max(1.0, min(limit, self.deadline + 60 - time.monotonic())),
            cwd=cwd or self.scratch,
            check=False,
        )
        text = result.stdout + result.stderr
        with (self.out / f"{len(self.steps):02}.log").open("a") as log:
            log.write(f"$ {' '.join(map(str, command))}\n{text}\nstatus {result.returncode}\n\n")
        if status is not None and result.returncode != status:
            raise Failure(f"{Path(command[0]).name} ended with {result.returncode}: {text[-600:]}")
        return text

    def step(self, name: str, body: Callable[[], list[str]]) -> None:
        """Runs one step and records its result."""
        start = time.monotonic()
        if start > self.deadline:
            step = Step(name, "skipped", findings=["the time was up"])
        else:
            try:
                step = Step(name, "passed", findings=body())
            except Skipped as reason:
                step = Step(name, "skipped", findings=[str(reason)])
            except (Failure, subprocess.TimeoutExpired, OSError) as error:
                step = Step(name, "failed", findings=[str(error)])
            step.seconds = round(time.monotonic() - start, 1)
        for folder in (HERE, self.scratch):
            step.findings = [finding.replace(f"{folder}/", "") for finding in step.findings]
        self.steps.append(step)
        print(f"{step.outcome:8}{name} ({step.seconds} s)", *step.findings, sep="\n        ", flush=True)
        self.write()

    def write(self) -> None:
        """Writes all results so far."""
        about = machine(self)
        results = {"machine": about, "steps": [asdict(step) for step in self.steps]}
        (self.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
        (self.out / "gpu-results.md").write_text(page(about, self.steps))


def library_folders() -> list[Path]:
    """The existing folders with run-time libraries of vendors."""
    folders = [Path(folder) for folder in LIBRARY_FOLDERS]
    for site in sys.path:
        folders += sorted(Path(site).glob("nvidia/*/lib"))
    return [folder for folder in folders if folder.is_dir()]


def machine(device: Device) -> dict[str, str]:
    """A description of the machine."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    cards = ""
    if shutil.which(query[0]):
        cards = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    commit = HERE / "commit"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cards": cards or "none that nvidia-smi lists",
        "backends": ", ".join(device.kinds),
        "cores": str(os.cpu_count()),
        "libc": " ".join(platform.libc_ver()),
        "commit": commit.read_text().strip() if commit.exists() else "",
    }


def page(about: dict[str, str], steps: list[Step]) -> str:
    """The page of the documentation."""
    rows = [f"| {step.name} | {step.outcome} | {step.seconds} |" for step in steps]
    details = []
    for step in steps:
        if step.findings:
            details += [f"### {step.name}", "", "```text", *step.findings, "```", ""]
    return "\n".join(
        [
            "# Results on GPUs",
            "",
            "Written by `tests/device/run.sh` on the machine that it names.",
            "",
            *(f"- {key}: {value}" for key, value in about.items()),
            "",
            "| Step | Outcome | Seconds |",
            "| --- | --- | ---: |",
            *rows,
            "",
            *details,
        ]
    )


def rust_tests(device: Device, name: str, **environment: str) -> list[str]:
    """The results of a Rust test program."""
    limit = 200
    text = device.run(
        HERE / "tests" / name, "--test-threads=1", "--show-output", limit=limit, status=None, **environment
    )
    summary = re.findall(r"^test result: .*$", text, re.MULTILINE)
    if not summary:
        raise Failure(f"{name} ended without a result: {text[-600:]}")
    failed = re.findall(r"^test (\S+) \.\.\. FAILED", text, re.MULTILINE)
    skipped = re.findall(r"^.*skipped: .*$", text, re.MULTILINE)
    if failed:
        panics = re.findall(r"panicked at [^\n]*\n[^\n]*", text)
        raise Failure("\n".join([*summary, *failed, *panics]))
    return summary + skipped


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    device = Device(out, arguments.minutes)
    # Tests create their models in the folder in which they were built.
    Path((HERE / "checkout").read_text().strip(), "target").mkdir(parents=True, exist_ok=True)
    for program in [COMMAND, LIBRARIES / "mullama-probe", LIBRARIES / "mullama-worker", *(HERE / "tests").iterdir()]:
        program.chmod(0o755)
    run_all(device)
    device.write()
    failed = sum(step.outcome == "failed" for step in device.steps)
    skipped = sum(step.outcome == "skipped" for step in device.steps)
    print(f"{len(device.steps) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


def run_all(device: Device) -> None:
    """Runs every step, the fast and informative ones first."""
    run, kit, bench = device.run, HERE / "tests/mullama-testkit", HERE / "tests/mullama-bench"
    cuda = "cuda" in device.kinds
    # What makes two devices of one card. Of the backends, only these can.
    two = next((TWO_DEVICES[kind] for kind in device.kinds if kind in TWO_DEVICES), {})
    models: dict[str, str] = {}

    def devices() -> list[str]:
        text = run(COMMAND, "devices")
        if not re.search(r"^(CUDA|Vulkan|ROCm|GPUOpenCL)\d*\b", text, re.MULTILINE):
            raise Failure(f"there is no GPU:\n{text}")
        return text.splitlines()

    def ask(*options: str, model: str = "demo", prompt: str = CAPITAL, status: int | None = 0, **more: str) -> str:
        """The answer with greedy sampling."""
        command = (COMMAND, "run", model, "--temperature", "0", *options, prompt)
        return run(*command, status=status, **more).strip()

    def answers() -> list[str]:
        found = []
        for layers in ("-1", "0", "auto", "4"):
            text = ask("--n-gpu-layers", layers)
            found.append(f"n_gpu_layers {layers}: {text}")
            if ANSWER not in text or "no GPU" in text:
                raise Failure("\n".join(found))
        return found

    # The large model takes a long time, so it is created while other steps run.
    making = None
    if time.monotonic() < device.deadline:
        making = subprocess.Popen(
            [kit, "path", "1b", device.scratch],
            env=device.environment | {"MULLAMA_BACKEND": "cpu"},
            stdout=subprocess.PIPE,
            text=True,
        )

    def make_models() -> list[str]:
        if making is None:
            raise Skipped("the time was up")
        models["large"] = run(kit, "path", "large", device.scratch).strip().splitlines()[-1]
        printed, _ = making.communicate(timeout=max(1.0, device.deadline - time.monotonic()))
        models["1b"] = printed.strip()
        for name in ("model.gguf", "large-model.gguf"):
            (device.scratch / name).symlink_to(models["1b"])
        return [f"{name}: {Path(path).stat().st_size} bytes" for name, path in models.items()]

    def examples() -> list[str]:
        lines = run(sys.executable, "-c", EXAMPLES).splitlines()
        if not two:
            return [*lines, "one device: the example with tensor_split is left out"]
        return lines + run(sys.executable, "-c", SPLIT_EXAMPLE, **two).splitlines()

    def processor() -> list[str]:
        """Quantised weights use other kernels, which the demo model does not cover."""
        options = ("--max-tokens", "8", "--verbose", "--n-gpu-layers", "0")
        text = ask(*options, model=models["1b"], prompt="Once")
        return [line for line in text.splitlines() if "rate" in line or "layers" in line]

    def same_tokens() -> list[str]:
        found, differing = [], 0
        for prompt in (CAPITAL, "What is the capital of Japan?", "Tell me a story.", "What is 2 + 2?"):
            # Without warnings, which differ.
            options = {"prompt": prompt, "MULLAMA_LOG": "off"}
            texts = {ask("--max-tokens", "48", "--n-gpu-layers", layers, **options) for layers in ("0", "-1")}
            differing += len(texts) > 1
            found.append(f"{'DIFFERENT' if len(texts) > 1 else 'same'}: {prompt}")
        if differing:
            raise Failure("\n".join(found))
        return found

    def planned() -> list[str]:
        pairs = [f"{name}={models[name]}" for name in ("large", "1b") if name in models]
        return run(bench, "placement", *pairs, limit=180).splitlines()

    def capped() -> list[str]:
        found = []
        for gib in ("2", "8", "20"):
            options = ("--max-tokens", "4", "--verbose")
            text = ask(*options, model=models["1b"], prompt="Once", MULLAMA_GPU_MEMORY=f"{gib}GiB")
            layers = re.findall(r".*layers.*", text)
            found.append(f"{gib} GiB: {layers[0].strip() if layers else 'no word of layers'}")
        return found

    def refused() -> list[str]:
        options = ("--n-gpu-layers", "-1")
        text = ask(*options, model=models["1b"], prompt="Once", status=None, MULLAMA_GPU_MEMORY="300MiB")
        if "does not fit" not in text:
            raise Failure(f"not refused: {text[-600:]}")
        return text.splitlines()

    def no_devices() -> list[str]:
        text = run(COMMAND, "devices", CUDA_VISIBLE_DEVICES="")
        if re.search(r"^CUDA\d", text, re.MULTILINE):
            raise Failure(f"a GPU is listed:\n{text}")
        return text.splitlines()

    def splits() -> list[str]:
        if not two:
            raise Skipped("this backend makes one device of one card")
        found = []
        for mode in ("layer", "row", "tensor", "none"):
            for main in ("0", "1"):
                options = ("--n-gpu-layers", "-1", "--split-mode", mode, "--main-gpu", main)
                found.append(f"split_mode {mode}, main_gpu {main}: {ask(*options, **two)}")
        if not all(ANSWER in line for line in found):
            raise Failure("\n".join(found))
        return found

    # The CPU's module is needed in addition to the GPU's.
    with_gpu = {"MULLAMA_BACKEND": ",".join(["cpu", *device.kinds])}

    def speeds() -> list[str]:
        pairs = (f"1b={models['1b']}", "demo=demo")
        text = run(bench, "measure", "--rounds", "3", *pairs, limit=180, **with_gpu)
        # Each measurement is also printed as JSON, for programs.
        return [line for line in text.splitlines() if not line.startswith("{")]

    def many() -> list[str]:
        what = (f"1b={models['1b']}", "5", "together", "shared", "turn", "fairness")
        return run(bench, "many", *what, limit=240, **with_gpu).splitlines()

    def predicted() -> list[str]:
        return run(bench, "speeds", limit=240).splitlines()

    device.step("devices are listed", devices)
    device.step("the demo model answers, on the GPU, on the processor, and on both", answers)
    device.step("greedy tokens are the processor's", same_tokens)
    if cuda:
        device.step("no visible device", no_devices)
    device.step("two devices: split modes and the main GPU", splits)
    for name in ("devices", "budget", "workers"):
        device.step(f"the Rust tests: {name}", lambda name=name: rust_tests(device, name, **two))
    device.step("models are made", make_models)
    if models:
        device.step("the processor computes with quantised weights", processor)
        device.step("the page's Python examples", examples)
        device.step("auto on capped memory", capped)
        device.step("what does not fit is refused before it is loaded", refused)
        device.step("speed alone, against a bare loop", speeds)
        device.step("speed of many requests", many)
        device.step("what is planned, and what is allocated", planned)
    if making is not None:
        making.kill()
    device.step("predicted and measured speeds", predicted)


if __name__ == "__main__":
    sys.exit(main())
