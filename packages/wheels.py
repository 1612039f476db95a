"""Creates, reads and tags wheels.

    python packages/wheels.py tag WHEEL [--elsewhere LIBRARY]...

gives a wheel the platform tag that auditwheel determines from the versions of the symbols that its files
require, and prints the new file's path. A library that is neither in the wheel nor on
every system of that tag is an error, unless it is from another source (a driver's, the engine's).
Nothing in the wheel is renamed, copied or changed.
"""

import argparse
import base64
import fnmatch
import hashlib
import json
import os
import platform
import stat
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pyproject_metadata import StandardMetadata

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class File:
    """A file in a wheel."""

    content: bytes
    runs: bool = False


Files = dict[str, File]


class Problem(Exception):
    """The reason why a wheel cannot be created, in one line."""


def version() -> str:
    """The version of every package."""
    command = [sys.executable, str(ROOT / "scripts/version.py"), "current"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def this_platform() -> str:
    """The platform of this machine, as in the names of wheels that have not been audited."""
    machine = platform.machine().lower()
    if sys.platform == "darwin":
        major, _, _ = os.environ.get("MACOSX_DEPLOYMENT_TARGET", "11.0").partition(".")
        return f"macosx_{major}_0_{machine}"
    return f"{'win' if sys.platform == 'win32' else 'linux'}_{machine}"


def pack(folder: Path, metadata: StandardMetadata, python: str, files: Files) -> Path:
    """Creates the wheel of a project for an interpreter (`py3-none`) on this platform from its files."""
    stem = f"{metadata.name.replace('-', '_')}-{metadata.version}"
    info, tag = f"{stem}.dist-info", f"{python}-{this_platform()}"
    metadata.license_files = [Path("LICENSE")]
    about = ["Wheel-Version: 1.0", "Generator: mullama", "Root-Is-Purelib: false", f"Tag: {tag}", ""]
    scripts = [f"{name} = {function}" for name, function in metadata.scripts.items()]
    described = {
        "METADATA": bytes(metadata.as_rfc822()),
        "WHEEL": "\n".join(about).encode(),
        "licenses/LICENSE": (ROOT / "LICENSE").read_bytes(),
        **({"entry_points.txt": "\n".join(["[console_scripts]", *scripts, ""]).encode()} if scripts else {}),
    }
    return write(folder, stem, tag, {**files, **{f"{info}/{name}": File(text) for name, text in described.items()}})


def read(wheel: Path) -> Files:
    """The files of a wheel in order, except its list of files (`RECORD`)."""
    with zipfile.ZipFile(wheel) as archive:
        infos = [info for info in archive.infolist() if not info.filename.endswith(".dist-info/RECORD")]
        return {
            info.filename: File(archive.read(info), bool(info.external_attr >> 16 & stat.S_IXUSR)) for info in infos
        }


def write(folder: Path, stem: str, tag: str, files: Files) -> Path:
    """Packs files and their list into `STEM-TAG.whl`. The same files give the same wheel."""
    path = folder / f"{stem}-{tag}.whl"
    record = f"{stem}.dist-info/RECORD"
    lines = [*(_recorded(name, file.content) for name, file in files.items()), f"{record},,"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, file in {**files, record: File("\n".join([*lines, ""]).encode())}.items():
            # Of 1 January 1980.
            info = zipfile.ZipInfo(name)
            # Created on Unix, so that the mode has an effect.
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | (0o755 if file.runs else 0o644)) << 16
            archive.writestr(info, file.content, zipfile.ZIP_DEFLATED, compresslevel=9)
    return path


def _recorded(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}"


def audit(wheel: Path) -> dict:
    """The report of auditwheel."""
    command = [sys.executable, "-m", "auditwheel", "show", "--json", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Problem(f"auditwheel: {done.stderr.strip()}")
    return json.loads(done.stdout)


def platform_tag(wheel: Path, elsewhere: list[str]) -> str:
    """The tag of the oldest systems that the wheel runs on."""
    found = audit(wheel)
    unknown = [
        library
        for library in found["external_libs"]
        if not any(fnmatch.fnmatchcase(library, pattern) for pattern in elsewhere)
    ]
    if unknown:
        raise Problem(f"{wheel.name} needs {', '.join(unknown)}, which it does not bring along")
    if found["unsupported_isa"]:
        raise Problem(f"{wheel.name} needs instructions that not every processor of its platform has")
    return found["sym_tag"]


def tag(wheel: Path, elsewhere: list[str]) -> Path:
    """Replaces a wheel by one with the correct platform tag."""
    name, number, python, abi, found = wheel.stem.split("-")
    if not found.startswith("linux_"):
        # On macOS and Windows, the tag is already known.
        return wheel
    found = platform_tag(wheel, elsewhere)
    files = read(wheel)
    metadata = files[f"{name}-{number}.dist-info/WHEEL"]
    lines = [line for line in metadata.content.decode().splitlines() if not line.startswith("Tag: ")]
    metadata.content = "\n".join([*lines, f"Tag: {python}-{abi}-{found}", ""]).encode()
    wheel.unlink()
    tagged = write(wheel.parent, f"{name}-{number}", f"{python}-{abi}-{found}", files)
    if platform_tag(tagged, elsewhere) != found:
        raise Problem(f"{tagged.name} is not what its name says")
    return tagged


def main() -> int:
    parser = argparse.ArgumentParser(description="Creates, reads and tags wheels.")
    parser.add_argument("command", choices=["tag"])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--elsewhere", action="append", default=[], metavar="LIBRARY", help="a library, or a pattern")
    arguments = parser.parse_args()
    try:
        print(tag(arguments.wheel, arguments.elsewhere))
    except Problem as problem:
        print(f"wheels: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
