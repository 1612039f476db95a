"""Progress bars for loading and downloads: tqdm's if it is installed, else a line of text."""

from __future__ import annotations

import sys
import time
import warnings
from importlib import import_module

# The same as `typing.TYPE_CHECKING`, without the import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mullama._native import PullProgress

# Seconds after which a bar appears that was not requested.
_DELAY = 1.0
_WIDTH = 30


def loading_bar(delayed: bool) -> Callable[[float], None]:
    """A function that shows the loaded fraction as a bar."""
    bar = _bar(delayed, "loading", 100, bar_format="{l_bar}{bar}| {elapsed}")

    def show(fraction: float) -> None:
        bar.update(100 * fraction - bar.n)
        if fraction >= 1:
            bar.close()

    return show


def pull_bar(delayed: bool) -> Callable[[PullProgress], None]:
    """A function that shows the progress of a pull as a bar."""
    bar = _bar(delayed, "resolving", 0, unit="B", unit_scale=True)

    def show(progress: PullProgress) -> None:
        bar.desc = f"{progress.phase}: "
        bar.total = progress.total
        bar.update(progress.completed - bar.n)
        if progress.phase == "done":
            bar.close()

    return show


def _bar(delayed: bool, title: str, total: int, **options: Any) -> Any:
    delay = _DELAY if delayed else 0
    try:
        with warnings.catch_warnings():
            # tqdm warns in a notebook without ipywidgets, and shows its bar as text.
            warnings.simplefilter("ignore")
            tqdm = import_module("tqdm.auto").tqdm
    except ImportError:
        return _TextBar(title, total, delay)
    return tqdm(desc=title, total=total, delay=delay, **options)


class _TextBar:
    """A bar on one line of standard error, with the part of tqdm's interface that is used here."""

    def __init__(self, title: str, total: float, delay: float) -> None:
        self.desc = title
        self.n = 0.0
        self.total = total
        self._since = time.monotonic() + delay
        self._shown = ""

    def update(self, more: float) -> None:
        self.n += more
        if time.monotonic() < self._since or sys.stderr is None:
            return
        fraction = min(self.n / self.total, 1.0) if self.total else 0.0
        bar = ("#" * round(_WIDTH * fraction)).ljust(_WIDTH, ".")
        line = f"{self.desc.rstrip(': ')} [{bar}] {100 * fraction:3.0f}%"
        if line != self._shown:
            print("\r" + line.ljust(len(self._shown)), end="", file=sys.stderr, flush=True)
            self._shown = line

    def close(self) -> None:
        if self._shown:
            self._shown = ""
            print(file=sys.stderr, flush=True)

    # After an error or a cancellation, the bar stays, and further output starts on a new line.
    __del__ = close
