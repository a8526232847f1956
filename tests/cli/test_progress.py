"""Progress: drawn for people, and nothing in a log."""

import io
import sys

import pytest

from cli.progress import draw, make_progress


class Terminal(io.StringIO):
    """A standard error that somebody looks at."""

    def isatty(self) -> bool:
        return True


def test_a_bar() -> None:
    """The bar fills with the percentage."""
    assert draw("x", 0) == f"\rx [{'.' * 30}]   0 %"
    assert draw("x", 50) == f"\rx [{'#' * 15}{'.' * 15}]  50 %"


def test_nothing_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody looks there is nothing to show it with."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert make_progress() is None


def test_each_percent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar is drawn at each new percent, and its line ends when all is done; nothing to do is all done."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    show = make_progress()
    assert show is not None
    for done in (0, 1, 500, 501, 1000):
        show("a", done, 1000)
    show("b", 0, 0)
    bars = [draw("a", 0), draw("a", 50), draw("a", 100) + "\n", draw("b", 0) + "\n"]
    assert terminal.getvalue() == "".join(bars)
