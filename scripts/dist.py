"""Creates the archive of the command: the program, the engine, and completions for shells.

    python3 scripts/dist.py

Takes the release build, and writes target/dist/mullama-VERSION-PLATFORM.tar.gz: the same bytes for the same
build. It contains `bin/mullama`, the engine in `lib/mullama` (on Windows next to the program, where its loader
searches), completions for shells, README and licence.
"""

import gzip
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import version

ROOT = Path(__file__).resolve().parents[1]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
WINDOWS = os.name == "nt"

# The file below a prefix where each shell searches for completions.
COMPLETIONS = {
    "bash": "share/bash-completion/completions/mullama",
    "elvish": "share/elvish/lib/mullama.elv",
    "fish": "share/fish/vendor_completions.d/mullama.fish",
    "powershell": "share/powershell/mullama.ps1",
    "zsh": "share/zsh/site-functions/_mullama",
}


def platform_name() -> str:
    """The name of this platform in npm packages: `linux-x64-gnu`."""
    machine = platform.machine().lower()
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(machine, machine)
    if sys.platform == "linux":
        return f"linux-{machine}-{'gnu' if platform.libc_ver()[0] == 'glibc' else 'musl'}"
    return f"win32-{machine}-msvc" if WINDOWS else f"{sys.platform}-{machine}"


def lay_out(folder: Path) -> None:
    """Copies all files to their places in the archive."""
    binaries = folder / "bin"
    engine = binaries if WINDOWS else folder / "lib" / "mullama"
    for made in (binaries, engine):
        made.mkdir(parents=True, exist_ok=True)
    program = binaries / f"mullama{'.exe' if WINDOWS else ''}"
    stage = ["sh", "scripts/stage-engine.sh", engine.as_posix(), "mullama", program.name]
    subprocess.run(stage, cwd=ROOT, check=True)
    (engine / program.name).rename(program)
    for shell, place in COMPLETIONS.items():
        done = subprocess.run([program, "completions", shell], check=True, capture_output=True)
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(done.stdout)
    shutil.copy(ROOT / "crates/mullama-cli/README.md", folder / "README.md")
    shutil.copy(ROOT / "LICENSE", folder / "LICENSE")


def pack(folder: Path, archive: Path) -> None:
    """Packs a folder reproducibly: names are sorted, without owners and times."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        programs = ("mullama-probe", "mullama-worker")
        program = (
            member.isdir() or member.name.split("/")[1:2] == ["bin"] or any(name in member.name for name in programs)
        )
        member.mode = 0o755 if program else 0o644
        return member

    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in [folder, *sorted(folder.rglob("*"))]:
            tar.add(path, path.relative_to(folder.parent).as_posix(), recursive=False, filter=anonymous)
    archive.parent.mkdir(parents=True, exist_ok=True)
    with archive.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(unpacked.getvalue())


def main() -> None:
    name = f"mullama-{version.current(ROOT)}-{platform_name()}"
    archive = TARGET / "dist" / f"{name}.tar.gz"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / name
        lay_out(folder)
        pack(folder, archive)
        unpacked = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{archive.relative_to(TARGET.parent)}: {archive.stat().st_size:,} bytes, {unpacked:,} unpacked")


if __name__ == "__main__":
    main()
