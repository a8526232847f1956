"""A progress bar on standard error, for people alone: where nobody looks, in a script's log, there is none."""

import sys
from collections.abc import Callable
from typing import Final

WIDTH: Final = 30

Show = Callable[[str, int, int], None]


def make_progress() -> Show | None:
    """Returns what shows a label with done and total, drawn anew at each percent; None where nobody looks."""
    if not sys.stderr.isatty():
        return None
    drawn = ("", -1)

    def show(label: str, done: int, total: int) -> None:
        nonlocal drawn
        percent = 100 * done // max(1, total)
        if (label, percent) != drawn:
            drawn = (label, percent)
            sys.stderr.write(draw(label, percent) + ("\n" if done >= total else ""))
            sys.stderr.flush()

    return show


def draw(label: str, percent: int) -> str:
    """Returns the bar, drawn over the one before it."""
    filled = WIDTH * percent // 100
    return f"\r{label} [{'#' * filled}{'.' * (WIDTH - filled)}] {percent:3} %"
