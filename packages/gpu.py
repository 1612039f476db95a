"""Creates the packages of a GPU backend, for Python and for Node.js, from its built module.

    python packages/gpu.py PACKAGE MODULE --out FOLDER [--library FILE]...
    python packages/gpu.py PACKAGE --feature

`crates/mullama-sys/backends.json` is the table of backends with their packages (CUDA has two), `gpu.md` the
description of each. A package contains the module, the libraries that it requires, and
`mullama-backend.json`, which describes it; the core compares versions before it loads anything. `--feature`
prints the Cargo feature that builds the module.
"""

import argparse
import gzip
import io
import json
import platform
import shutil
import string
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from pyproject_metadata import Readme, StandardMetadata

import wheels
from wheels import version

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TABLE = json.loads((ROOT / "crates/mullama-sys/backends.json").read_text())
# The packages by name; fields that a package lacks are those of its backend.
PACKAGES = {name: {**row, **package} for row in TABLE for name, package in row.get("packages", {}).items()}
SUMMARY = "The {title} backend of mullama"
# A library that modules are linked to, and that is in mullama's own package.
ENGINE = "libggml-base.so.*"
# The time that npm writes, so that the same files give the same archive.
NPM_TIME = 499162500


@dataclass
class Platform:
    """A platform, by npm's names."""

    npm: str
    os: str
    cpu: str
    libc: str | None

    @classmethod
    def here(cls) -> "Platform":
        """This machine's."""
        machine = platform.machine().lower()
        cpu = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(machine, machine)
        if sys.platform == "linux":
            libc = "glibc" if platform.libc_ver()[0] == "glibc" else "musl"
            npm = f"linux-{cpu}-{'gnu' if libc == 'glibc' else libc}"
            return cls(npm, "linux", cpu, libc)
        if sys.platform == "win32":
            return cls(f"win32-{cpu}-msvc", "win32", cpu, None)
        return cls(f"darwin-{cpu}", "darwin", cpu, None)


@dataclass
class Package:
    """One backend's package for one package manager."""

    backend: str
    name: str
    install: str
    needs: str
    version: str
    files: list[Path]

    def readme(self) -> str:
        """The description that the registry shows."""
        template = string.Template((HERE / "gpu.md").read_text())
        title = PACKAGES[self.backend]["title"]
        return template.substitute(package=self.name, title=title, needs=self.needs, install=self.install)

    def content(self) -> dict[str, bytes]:
        """The contents of both kinds: the module, its libraries, and the file that the core reads."""
        label = {"package": self.name, "version": self.version, "install": self.install + _between(self.install)}
        files = {file.name: file.read_bytes() for file in self.files}
        return {**files, "mullama-backend.json": (json.dumps(label, indent=2) + "\n").encode()}


def _between(install: str) -> str:
    """The text between a package's name and its version."""
    return "==" if install.startswith("pip") else "@"


def wheel(package: Package, out: Path) -> Path:
    """The package for Python. Its folder is found by its path: `mullama_backends/BACKEND`."""
    row = PACKAGES[package.backend]
    needed = [f"mullama=={package.version}", *row.get("python", {}).get("requires", [])]
    metadata = StandardMetadata(
        name=package.name,
        version=Version(package.version),
        description=SUMMARY.format(**row),
        license="MIT",
        requires_python=SpecifierSet(">=3.11"),
        dependencies=[Requirement(one) for one in needed],
        readme=Readme(package.readme(), None, "text/markdown"),
    )
    place = f"mullama_backends/{package.backend}"
    files = {f"{place}/{name}": wheels.File(content) for name, content in package.content().items()}
    return wheels.tag(wheels.pack(out, metadata, "py3-none", files), [ENGINE, *row["elsewhere"]])


def tarball(package: Package, where: Platform, out: Path) -> Path:
    """The package for Node.js, as `npm pack` would make it."""
    described = {
        "name": package.name,
        "version": package.version,
        "description": SUMMARY.format(**PACKAGES[package.backend]),
        "license": "MIT",
        "repository": {"type": "git", "url": "git+https://github.com/mullama/mullama.git"},
        "os": [where.os],
        "cpu": [where.cpu],
        **({"libc": [where.libc]} if where.libc else {}),
        "peerDependencies": {"mullama": package.version},
        # Yarn must not leave the module in an archive, from which nothing can be loaded.
        "preferUnplugged": True,
        "publishConfig": {"access": "public"},
    }
    files = {
        "package.json": (json.dumps(described, indent=2) + "\n").encode(),
        "README.md": package.readme().encode(),
        "LICENSE": (ROOT / "LICENSE").read_bytes(),
        **package.content(),
    }
    path = out / f"{package.name.removeprefix('@').replace('/', '-')}-{package.version}.tgz"
    with (
        path.open("wb") as file,
        gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o644, NPM_TIME
            archive.addfile(entry, io.BytesIO(content))
    return path


def packages(backend: str, module: Path, libraries: list[Path], out: Path) -> list[Path]:
    """Both packages of a backend, for this machine's platform."""
    row, where, number = PACKAGES[backend], Platform.here(), version()
    if module.stem.removeprefix("lib") != row["module"]:
        raise wheels.Problem(f"the module of {backend} is {row['module']}, and not {module.name}")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(shutil.copy2(file, scratch)) for file in [module, *libraries]]
        if sys.platform == "linux":
            subprocess.run(["strip", *files], check=True)
        name = f"mullama-{backend}"
        searching = _searching(files, row.get("python", {}).get("folders", []))
        python = Package(backend, name, f"pip install {name}", row["needs"], number, searching)
        name = f"@mullama/{where.npm}-{backend}"
        needs = " and ".join([row["needs"], *([row["node"]] if "node" in row else [])])
        node = Package(backend, name, f"npm install {name}", needs, number, files)
        made = [wheel(python, Path(scratch)), tarball(node, where, Path(scratch))]
        return [Path(shutil.move(path, out / path.name)) for path in made]


def _searching(files: list[Path], folders: list[str]) -> list[Path]:
    """Copies that also search for libraries in these folders of other packages."""
    if not folders or sys.platform != "linux":
        return files
    # From `mullama_backends/BACKEND`, see `wheel`.
    paths = ":".join(["$ORIGIN", *(f"$ORIGIN/../../{folder}" for folder in folders)])
    place = files[0].parent / "searching"
    place.mkdir()
    copies = [Path(shutil.copy2(file, place)) for file in files]
    for copy in copies:
        subprocess.run(["patchelf", "--set-rpath", paths, copy], check=True)
    return copies


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes the packages of a GPU backend.")
    parser.add_argument("package", choices=sorted(PACKAGES))
    parser.add_argument("module", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=ROOT / "target/packages")
    parser.add_argument("--library", type=Path, action="append", default=[], help="a library that travels along")
    parser.add_argument("--feature", action="store_true", help="print the Cargo feature that builds the module")
    arguments = parser.parse_args()
    try:
        if arguments.feature:
            print(PACKAGES[arguments.package]["name"])
            return 0
        if not arguments.module:
            parser.error("name the module")
        print(*packages(arguments.package, arguments.module, arguments.library, arguments.out), sep="\n")
    except wheels.Problem as problem:
        print(f"gpu: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
