"""The command: `python -m mullama` is `mullama`, the program that the package brings along."""

import os
import sys

from mullama._install import LIBRARIES, REINSTALL, backend_dirs

# Folders of GPU packages, for the program.
HANDED_ON = "MULLAMA_BACKEND_PACKAGES"


def main() -> None:
    """Becomes the program `mullama`, with the arguments of this process."""
    program = os.path.join(LIBRARIES, "mullama.exe" if sys.platform == "win32" else "mullama")
    environment = dict(os.environ)
    # The program looks for modules beside itself; it knows nothing of Python's packages.
    folders = [*environment.get(HANDED_ON, "").split(os.pathsep), *backend_dirs()]
    environment[HANDED_ON] = os.pathsep.join(filter(None, folders))
    try:
        if sys.platform == "win32":
            sys.exit(_run(program, environment))
        os.execve(program, ["mullama", *sys.argv[1:]], environment)
    except OSError as error:
        sys.exit(f"mullama: the command cannot be started: {error}: {REINSTALL}")


def _run(program: str, environment: dict[str, str]) -> int:
    """Windows cannot replace a process: this one waits, and leaves interrupts to the other."""
    import signal
    import subprocess

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return subprocess.call([program, *sys.argv[1:]], env=environment)


if __name__ == "__main__":
    main()
