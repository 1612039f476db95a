"""Locates the parts of this installation and loads the native module, or explains why it fails."""

import os
import sys

from mullama._version import __version__

FOLDER = os.path.dirname(os.path.abspath(__file__))
# The engine.
LIBRARIES = os.path.join(FOLDER, "lib")
REINSTALL = f"run `python -m pip install --force-reinstall --no-deps mullama=={__version__}`"


def backend_dirs() -> list[str]:
    """The folders of installed GPU packages: they are in `mullama_backends`, wherever Python
    searches for packages."""
    found: list[str] = []
    for entry in sys.path:
        folder = os.path.join(os.path.abspath(entry), "mullama_backends")
        try:
            with os.scandir(folder) as items:
                found += sorted(item.path for item in items if item.is_dir())
        except OSError:
            continue
    return found


def load() -> None:
    """Loads the native module and registers GPU packages. An `ImportError` explains what to do."""
    if sys.platform == "win32" and os.path.isdir(LIBRARIES):
        os.add_dll_directory(LIBRARIES)
    try:
        from mullama import _native
    except ImportError as error:
        raise ImportError(_why(error), name="mullama._native", path=FOLDER) from error
    if _native.__version__ != __version__:
        raise ImportError(
            f"the native module in {FOLDER} is of mullama {_native.__version__}, and the files "
            f"beside it are of {__version__}: {REINSTALL}"
        )
    # A process loads only one library of a given name.
    engine = _native._engine_dir()
    if engine is not None and os.path.realpath(engine) != os.path.realpath(LIBRARIES):
        raise ImportError(
            f"the engine of another installation is loaded, from {engine}, and that of {LIBRARIES} "
            "cannot be loaded beside it: uninstall one of them, or import mullama before what "
            "loads the other; LD_LIBRARY_PATH must not name a folder with an engine"
        )
    _native._add_backend_dirs(backend_dirs())


def _why(error: ImportError) -> str:
    """Explains why the native module cannot be loaded, and what to do."""
    names = [name for name in os.listdir(FOLDER) if name.startswith("_native.")]
    modules = [name for name in names if not name.endswith(".pyi")]
    if not modules and os.path.exists(os.path.join(FOLDER, "../../pyproject.toml")):
        return (
            f"{FOLDER} is the source of mullama, and not an installation: run `pip install "
            "./bindings/python` in the repository, and start Python in another folder"
        )
    if not modules:
        return f"the native module of mullama is missing from {FOLDER}: {REINSTALL}"
    if not os.path.isdir(LIBRARIES):
        return f"the engine of mullama is missing: there is no {LIBRARIES}: {REINSTALL}"
    if "GLIBC" in str(error):
        return (
            f"{error}: this build of mullama needs a newer system: build it on this one, with "
            "`pip install ./bindings/python` in a clone of its repository"
        )
    here = f"{sys.implementation.name} {sys.version.split()[0]} on {sys.platform}"
    return (
        f"the native module of mullama, {', '.join(modules)} in {FOLDER}, cannot be loaded by "
        f"{here}: {error}: it is damaged, or for another platform: {REINSTALL}"
    )


load()
