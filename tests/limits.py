#!/usr/bin/env python3
"""Runs each Rust test, and each file of Python tests, with insufficient resources: 1 GiB less address space than it uses,
and fewer threads.

A test may then fail with an error that names the limit. It must not be ended by a signal, hang, or fail otherwise.
Linux only. Usage: limits.py [--all] [NAME...]: only the suites of these names (`python` for the Python tests). Without
`--all`, tests of more than 20 seconds are skipped and counted. Node.js is not run: V8 ends the process itself when
address space or threads run out.
"""

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

GIB = 1 << 30
# A user without other processes: the limit applies to all threads of a user, and does not apply to root.
NOBODY = 65534
# Suites that set limits themselves, that need no engine, or that use the bare engine without our checks.
LEFT_OUT = {"limits", "layers", "mullama_floor", "architectures", "broken", "models"}
# Tests in which the engine also runs without the guards of the core, to compare with; the test of a thread whose work
# the engine's own thread does if none can be started; a test that counts the threads of a queue; a test of 64 threads of its own, which the C library ends if
# one of them cannot allocate its thread-local storage; and one that runs Cargo.
NOT_TRIED = re.compile(
    "bare_engine|match_the_quantiser|deadline_watch_fires_once_after_the_grace_period"
    "|abandoned_background_work|concurrent_embedding_calls_share_batches"
    "|all_llama_cpp_flags_are_known"
)
# Messages of tests that failed because of a limit.
REASONS = re.compile(
    r"OutOfMemory|out of memory|no more memory|not enough memory|Cannot allocate memory|memory allocation|insufficient memory"
    r"|MemoryError|Resource temporarily unavailable|can't start new thread|failed to spawn thread|failed to map segment"
    r"|Connection reset by peer|cannot start (a|another) (thread|process)|RLIMIT"
)
LONGEST = 20.0
# Less is not enough for the libraries and the memory that the C library reserves for a thread.
LEAST = 192 << 20
PATIENCE = 180.0


@dataclass
class Test:
    """A program to run with insufficient resources."""

    name: str
    command: list[str]
    folder: Path
    # Whether an unprivileged user can run it: limits of threads do not apply to root.
    is_public: bool = True
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Run:
    status: int | None  # None: it took too long
    output: str
    seconds: float
    address_space: int
    threads: int


def suites() -> list[tuple[str, str, Path]]:
    """Names, files and packages' folders of the Rust test programs."""
    command = ["cargo", "test", "--release", "--features", "full", "--no-run", "--message-format=json"]
    built = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    messages = map(json.loads, built.stdout.splitlines())
    found = [
        (message["target"]["name"], message["executable"], Path(message["manifest_path"]).parent)
        for message in messages
        if message.get("executable") and message["profile"]["test"]
    ]
    return sorted(suite for suite in found if suite[0] not in LEFT_OUT)


def rust_tests(names: list[str]) -> Iterator[Test]:
    """The tests of the suites of these names, or of all."""
    # As `cargo test` does.
    libraries = {"LD_LIBRARY_PATH": f"{Path('target/release').resolve()}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
    for suite, program, package in suites():
        if names and suite not in names:
            continue
        listing = [program, "--list", "--format", "terse"]
        listed = subprocess.run(listing, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | libraries)
        tests = [line.removesuffix(": test") for line in listed.stdout.splitlines() if line.endswith(": test")]
        for test in tests:
            if not NOT_TRIED.search(test):
                command = [program, test, "--exact", "--test-threads", "1"]
                yield Test(f"{suite}::{test}", command, package, environment=libraries)


def python_tests() -> Iterator[Test]:
    """The files of the Python tests, for the package that is installed."""
    python = Path(".venv/bin/python").absolute()
    is_public = not python.resolve().is_relative_to("/root")
    for file in sorted(Path("bindings/python/tests").glob("test_*.py")):
        command = [
            str(python),
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--tb=native",
            str(file.relative_to("bindings/python")),
        ]
        yield Test(f"python::{file.stem}", command, Path("bindings/python"), is_public)


def run(test: Test, folder: str, limits: dict[int, int], patience: float) -> Run:
    """Runs one test; measures the most address space and threads that it had."""

    def prepare() -> None:
        os.setsid()
        # Background programs of a shell ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if resource.RLIMIT_NPROC in limits and os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        for which, most in limits.items():
            resource.setrlimit(which, (most, most))

    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        process = subprocess.Popen(
            test.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=prepare,
            cwd=test.folder,
            # If memory is exhausted, printing a backtrace ends the process.
            env={
                **os.environ,
                **test.environment,
                "HOME": folder,
                "XDG_CACHE_HOME": folder,
                "TMPDIR": folder,
                "RUST_BACKTRACE": "0",
            },
        )
        space = threads = 0
        status = None
        while (seconds := time.monotonic() - started) < patience:
            try:
                text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
                space = max(space, *(int(peak) << 10 for peak in re.findall(r"VmPeak:\s*(\d+)", text)), 0)
                threads = max(threads, *(int(count) for count in re.findall(r"Threads:\s*(\d+)", text)))
            except OSError:
                pass
            if (status := process.poll()) is not None:
                break
            time.sleep(0.002)
        else:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.seek(0)
        return Run(status, log.read().decode(errors="replace"), seconds, space, threads)


def verdict(result: Run) -> str | None:
    """The problem with the result of a test, if there is one."""
    if result.status is None:
        return f"did not end within {PATIENCE:.0f} s"
    if result.status < 0:
        return f"ended by {signal.Signals(-result.status).name}"
    # In brackets, it is the reason why a driver cannot be used.
    if re.search(r"(?<!\()signal: ", result.output):
        return "a program that it started was ended by a signal"
    if result.status not in (0, 127) and not REASONS.search(result.output):
        return "failed without a word of memory or threads"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    home = Path.home()
    os.environ.setdefault("CARGO_HOME", str(home / ".cargo"))
    os.environ.setdefault("RUSTUP_HOME", str(home / ".rustup"))
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    outcomes = {"well": 0, "refused": 0}
    with tempfile.TemporaryDirectory() as free_folder:
        rust = rust_tests(arguments.names) if arguments.names != ["python"] else iter(())
        python = python_tests() if not arguments.names or "python" in arguments.names else iter(())
        for test in chain(rust, python):
            free = run(test, free_folder, {}, PATIENCE if arguments.all else LONGEST)
            if free.status is None:
                print(f"test {test.name} ... skipped: it takes more than {free.seconds:.0f} s", flush=True)
                counts["skipped"] += 1
                continue
            if free.status != 0:
                print(free.output)
                print(f"test {test.name} ... FAILED: without a limit", flush=True)
                counts["failed"] += 1
                continue
            # The libraries alone take more than half of it.
            space = max(free.address_space - GIB, free.address_space // 2, LEAST)
            threads = max(free.threads // 2, 1)
            tried = {}
            if space < free.address_space:
                tried[f"{space >> 20} MiB of {free.address_space >> 20}"] = {resource.RLIMIT_AS: space}
            if test.is_public or os.geteuid() != 0:
                tried[f"{threads} threads of {free.threads}"] = {resource.RLIMIT_NPROC: threads}
            else:
                print(f"test {test.name} ... skipped with fewer threads: only root can run this Python", flush=True)
                counts["skipped"] += 1
            for what, limits in tried.items():
                # Another user cannot write the files of the run before.
                with tempfile.TemporaryDirectory() as folder:
                    os.chmod(folder, 0o777)
                    limited = run(test, folder, limits, PATIENCE)
                problem = verdict(limited)
                if problem:
                    print(limited.output[-4000:])
                    print(f"test {test.name} with {what} ... FAILED: {problem}", flush=True)
                    counts["failed"] += 1
                else:
                    outcome = "well" if limited.status == 0 else "refused"
                    outcomes[outcome] += 1
                    print(f"test {test.name} with {what} ... ok: {outcome}", flush=True)
                    counts["passed"] += 1
    print(f"with less than they need, {outcomes['well']} passed and {outcomes['refused']} were refused")
    print("limits: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    return int(counts["failed"] > 0 or not counts["passed"])


if __name__ == "__main__":
    sys.exit(main())
