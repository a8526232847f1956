"""Tests of edge/pressure.py."""

import os
import time

import pytest

from edge.pressure import Pressure


def work(seconds: float) -> None:
    """Uses so much of the processor."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@pytest.mark.parametrize("is_told", [True, False])
def test_work_counts_and_sleep_does_not(monkeypatch: pytest.MonkeyPatch, *, is_told: bool) -> None:
    """What a thread has run counts, at least; where Linux tells nothing more, that alone."""
    if not is_told:
        monkeypatch.setattr(os, "open", _refuse)
    pressure = Pressure()
    monkeypatch.undo()
    ran, began = time.thread_time(), pressure.read()
    work(0.1)
    assert pressure.read() - began >= 0.09
    assert (pressure._stat >= 0) is is_told
    if not is_told:
        assert pressure.read() - began <= time.thread_time() - ran
    pressure.close()
    assert pressure._stat < 0
    pressure.close()


def _refuse(*_: object) -> int:
    raise FileNotFoundError
