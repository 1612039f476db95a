"""The command: `mullama`, or `python -m mullama`."""

import signal
import sys

from mullama import _native


def main() -> None:
    """Runs the command with the arguments of this process, and exits with its status."""
    # The command does not return to Python before its end, so Python could not handle the signal.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # -P: files of the current folder are not importable.
    itself = [sys.executable, "-P", "-m", "mullama"]
    sys.exit(_native._run_command(["mullama", *sys.argv[1:]], itself))


if __name__ == "__main__":
    main()
